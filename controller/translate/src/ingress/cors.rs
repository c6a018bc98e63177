//! What ingress-nginx says of cross-origin requests, with its defaults written out, as the filter of Gateway API.

use crate::{form::Form, kinds::Cors};
use std::collections::BTreeMap;

const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const KNOWN_METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];
const HEADERS: &str =
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
const MAX_AGE_S: u32 = 1_728_000;

/// The filter, and the annotations of whose values something had to be left out.
pub(super) fn cors(annotations: &BTreeMap<&str, &str>) -> (Cors, Vec<&'static str>) {
    let mut left_out = Vec::new();
    let mut list = |key: &'static str, default: &str, holds: &dyn Fn(&str) -> bool| -> Vec<String> {
        let text = annotations.get(key).copied().unwrap_or(default);
        let mut words: Vec<String> = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match holds(word) {
                true if words.iter().any(|known| known == word) => {}
                true => words.push(word.to_owned()),
                false => left_out.push(key),
            }
        }
        // one that stands for all stands alone in Gateway API
        if words.iter().any(|word| word == "*") { vec!["*".to_owned()] } else { words }
    };
    let allow_origins = list("cors-allow-origin", "*", &|word| Form::ORIGIN.check(word).is_ok());
    let is_name = |word: &str| Form::HEADER_NAME.check(word).is_ok();
    let mut cors = Cors {
        allow_methods: list("cors-allow-methods", METHODS, &|word| KNOWN_METHODS.contains(&word)),
        allow_headers: list("cors-allow-headers", HEADERS, &is_name),
        expose_headers: list("cors-expose-headers", "", &is_name),
        allow_origins,
        ..Cors::default()
    };
    // browsers take no credentials where every origin is named by `*`, which is all that ingress-nginx says then
    let any = cors.allow_origins.iter().any(|origin| origin == "*");
    cors.allow_credentials = !any && annotations.get("cors-allow-credentials").is_none_or(|text| *text == "true");
    cors.max_age_s = match annotations.get("cors-max-age").map(|text| text.parse::<u32>()) {
        Some(Ok(seconds @ 1..=0x7fff_ffff)) => seconds,
        Some(_) => {
            left_out.push("cors-max-age");
            MAX_AGE_S
        }
        None => MAX_AGE_S,
    };
    left_out.dedup();
    (cors, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_ingress_nginx_without_its_credentials_for_everybody() {
        let (cors, left_out) = super::cors(&BTreeMap::new());
        assert_eq!((cors.allow_origins.as_slice(), cors.allow_credentials), (["*".to_owned()].as_slice(), false));
        assert_eq!((cors.allow_methods.len(), cors.allow_headers.len(), cors.max_age_s), (6, 9, MAX_AGE_S));
        assert!(left_out.is_empty());
    }

    #[test]
    fn what_gateway_api_cannot_say_is_named() {
        let annotations = [
            ("cors-allow-origin", "https://a.example, a.example"),
            ("cors-allow-methods", "GET, PURGE"),
            ("cors-max-age", "soon"),
        ];
        let (cors, left_out) = super::cors(&annotations.into_iter().collect());
        assert_eq!((cors.allow_origins, cors.allow_credentials), (vec!["https://a.example".to_owned()], true));
        assert_eq!(cors.allow_methods, ["GET"]);
        assert_eq!(left_out, ["cors-allow-origin", "cors-allow-methods", "cors-max-age"]);
    }
}
