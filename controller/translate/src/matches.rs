//! Matches: from those of HTTPRoute and GRPCRoute to those of the data plane. A match that cannot be decided is left out and told; it never becomes a wider one.

use crate::{
    conditions::{ConditionType, Finding, Reason},
    kinds::{GRPCMatch, GRPCMethod, HTTPMatch, HeaderMatch, PathKind, ValueKind},
    schema::FieldPath,
};
use headgate_config::{Match, PathMatch, ValueMatch, ValueTest};

/// The match of an HTTPRoute, or what of it cannot be decided.
pub(crate) fn http(matching: &HTTPMatch, at: &FieldPath) -> Result<Match, Finding> {
    let value = &matching.path.value;
    let path_at = at.key("path");
    let path = match &matching.path.kind {
        PathKind::Exact => PathMatch::Exact(canonical(value, &path_at)?.into()),
        PathKind::PathPrefix => PathMatch::Prefix(without_slash(&canonical(value, &path_at)?).into()),
        PathKind::RegularExpression => PathMatch::Regex(expression(value, &path_at.key("value"))?.into()),
        PathKind::Unknown(kind) => return Err(unsupported(kind, path_at.key("type"))),
    };
    Ok(Match {
        path,
        method: matching.method.clone(),
        headers: tests(&matching.headers, &at.key("headers"), true)?,
        queries: tests(&matching.queries, &at.key("queryParams"), false)?,
    })
}

/// The match of a GRPCRoute: a call is the path `/service/method`.
pub(crate) fn grpc(matching: &GRPCMatch, at: &FieldPath) -> Result<Match, Finding> {
    let path = match &matching.method {
        None => PathMatch::Prefix("/".into()),
        Some(call) => grpc_path(call, &at.key("method"))?,
    };
    Ok(Match { path, method: None, headers: tests(&matching.headers, &at.key("headers"), true)?, queries: Vec::new() })
}

fn grpc_path(call: &GRPCMethod, at: &FieldPath) -> Result<PathMatch, Finding> {
    match (&call.kind, &call.service, &call.method) {
        (ValueKind::Exact, Some(service), Some(method)) => Ok(PathMatch::Exact(format!("/{service}/{method}").into())),
        (ValueKind::Exact, Some(service), None) => Ok(PathMatch::Prefix(format!("/{service}").into())),
        (ValueKind::Exact, None, Some(method)) => {
            Ok(PathMatch::Regex(format!("/[^/]+/{}", regex::escape(method)).into()))
        }
        (ValueKind::RegularExpression, service, method) => {
            let part = |text: &Option<String>, key| match text {
                None => Ok("[^/]+".to_owned()),
                Some(text) => expression(text, &at.key(key)).map(|text| format!("(?:{text})")),
            };
            Ok(PathMatch::Regex(format!("/{}/{}", part(service, "service")?, part(method, "method")?).into()))
        }
        (ValueKind::Unknown(kind), ..) => Err(unsupported(kind, at.key("type"))),
        (_, None, None) => Ok(PathMatch::Prefix("/".into())),
    }
}

/// Of several tests of one name the first counts, as the specification says; names of headers know no case.
fn tests(list: &[HeaderMatch], at: &FieldPath, header: bool) -> Result<Vec<ValueMatch>, Finding> {
    let mut made: Vec<ValueMatch> = Vec::with_capacity(list.len());
    for (index, test) in list.iter().enumerate() {
        let name = if header { test.name.to_ascii_lowercase() } else { test.name.clone() };
        if made.iter().any(|known| known.name == name) {
            continue;
        }
        let at = at.index(index);
        let test = match &test.kind {
            ValueKind::Exact => ValueTest::Exact(test.value.clone()),
            ValueKind::RegularExpression => ValueTest::Regex(expression(&test.value, &at.key("value"))?),
            ValueKind::Unknown(kind) => return Err(unsupported(kind, at.key("type"))),
        };
        made.push(ValueMatch { name, test });
    }
    Ok(made)
}

/// The form in which requests are compared: escapes of unreserved characters decoded.
fn canonical(path: &str, at: &FieldPath) -> Result<String, Finding> {
    match headgate_message::canonical_path(path.as_bytes()) {
        Ok(canonical) => Ok(String::from_utf8_lossy(&canonical).into_owned()),
        Err(bad) => {
            let message = format!("{path:?} is {}, and no request has it", bad.as_str());
            let finding = Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at.key("value"), message);
            Err(finding.remedy("write a path that starts with one / and has no dot segments"))
        }
    }
}

/// A prefix counts whole segments, so a slash at its end says nothing.
fn without_slash(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    }
}

/// An expression that compiles as the data plane compiles it, anchored at both ends.
fn expression(text: &str, at: &FieldPath) -> Result<String, Finding> {
    const PROGRAM_BYTES_MAX: usize = 1 << 20;
    // Alone first: `a)|(?:b` is no expression, though it is one between our parentheses.
    let alone = regex::bytes::Regex::new(text);
    let anchored = alone
        .and_then(|_| regex::bytes::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PROGRAM_BYTES_MAX).build());
    match anchored {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let message = format!("{text:?} is no regular expression ({reason})");
            let finding = Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at.clone(), message);
            Err(finding
                .remedy("write RE2 syntax, without look-around and back-references; it must match the whole value"))
        }
    }
}

fn unsupported(kind: &str, at: FieldPath) -> Finding {
    let message = format!("type {kind} is not supported");
    Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at, message)
}
