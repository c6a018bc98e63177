//! From a URL of a redirect to what Gateway API says of one. Never a part of it left out.

use crate::{
    form::{Form, is_path},
    kinds::{PathModifier, Redirect},
};

/// Where ingress-nginx puts path and query of the request.
const SAME_PLACE: &str = "$request_uri";

/// A redirect to a path of the same host.
pub(super) fn to_path(path: &str) -> Redirect {
    Redirect { path: Some(PathModifier::Full(path.to_owned())), status: 302, ..Redirect::default() }
}

/// A redirect to a URL, `None` if it has no form.
pub(super) fn to_url(url: &str, status: u16) -> Option<Redirect> {
    let (url, path_stays) = match url.strip_suffix(SAME_PLACE) {
        Some(start) => (start, true),
        None => (url, false),
    };
    if url.contains(['$', '?', '#']) || ![301, 302, 303, 307, 308].contains(&status) {
        return None;
    }
    if url.starts_with('/') {
        return (!path_stays && is_path(url)).then(|| Redirect { status, ..to_path(url) });
    }
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let port = port.map(str::parse::<u16>).transpose().ok()?;
    let fits = matches!(scheme, "http" | "https") && Form::PRECISE_HOSTNAME.check(host).is_ok();
    let path = match (path_stays, path) {
        (true, "") => None,
        (false, "") => Some("/"),
        (false, path) if is_path(path) => Some(path),
        _ => return None,
    };
    fits.then(|| Redirect {
        scheme: Some(scheme.to_owned()),
        hostname: Some(host.to_owned()),
        port,
        path: path.map(|path| PathModifier::Full(path.to_owned())),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_whole_or_not_at_all() {
        let redirect = to_url("https://new.example:8443/there", 301).unwrap();
        assert_eq!((redirect.scheme.as_deref(), redirect.hostname.as_deref()), (Some("https"), Some("new.example")));
        assert_eq!((redirect.port, redirect.path), (Some(8443), Some(PathModifier::Full("/there".into()))));
        assert_eq!(to_url("https://new.example", 301).unwrap().path, Some(PathModifier::Full("/".into())));
        assert_eq!(to_url("https://new.example$request_uri", 308).unwrap().path, None);
        assert_eq!(to_url("/login", 302).unwrap().hostname, None);
        for none in ["https://a.example/?q=1", "https://$host/", "ftp://a.example", "a.example", "https://a_b", "/a b"]
        {
            assert_eq!(to_url(none, 301), None, "{none}");
        }
        assert_eq!(to_url("https://a.example", 410), None);
    }
}
