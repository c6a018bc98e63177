//! Answers with a redirect whose Location is made of the request and the filter. Never forwards.

use super::{Context, Verdict, edited_path, vet_host, vet_path};
use crate::failure::Failure;
use headgate_config::Redirect;
use headgate_message::{RequestHead, ResponseHead};
use std::fmt::Write;

/// The answer; the query is kept, the fragment is the client's own affair.
pub(super) fn answer(redirect: &Redirect, head: &RequestHead, context: &Context<'_>) -> Verdict {
    let scheme = redirect.scheme.unwrap_or(head.scheme);
    let mut location = format!("{}://{}", scheme.as_str(), redirect.host.as_deref().unwrap_or(head.host()));
    let port = port(redirect, head, context);
    if port != scheme.default_port() {
        // A String takes every write.
        let _ = write!(location, ":{port}");
    }
    match &redirect.path {
        None => location.push_str(head.path()),
        Some(edit) => match edited_path(edit, head.path(), context.prefix_len) {
            Some(path) => location.push_str(&path),
            None => return Verdict::Fail(Failure::RewriteInvalid),
        },
    }
    if let Some(query) = head.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut answer = ResponseHead::new(redirect.status);
    answer.fields.push("location", location.as_bytes());
    Verdict::Answer(answer)
}

/// Source: Gateway API v1.7.0, HTTPRequestRedirectFilter.port.
fn port(redirect: &Redirect, head: &RequestHead, context: &Context<'_>) -> u16 {
    match (redirect.port, redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(scheme)) => scheme.default_port(),
        // A trusted hop ended TLS before us: the listener's port is not the one that its clients use.
        (None, None) if head.scheme != context.scheme => head.scheme.default_port(),
        (None, None) => context.listener_port,
    }
}

/// The redirect, or why it cannot be applied.
pub(super) fn vet(redirect: Redirect) -> Result<Redirect, String> {
    if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
        return Err(format!("{} is no redirect: write 301, 302, 303, 307 or 308", redirect.status));
    }
    redirect.path.as_ref().map_or(Ok(()), vet_path)?;
    redirect.host.as_deref().map_or(Ok(()), vet_host)?;
    Ok(redirect)
}

#[cfg(test)]
mod tests {
    use super::super::{Applied, apply_request, tests::request};
    use super::*;
    use headgate_config::{Filter, PathEdit, Scheme};

    const PLAIN: Redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };

    /// On a listener of `scheme` and `listener_port`, a request of `seen` scheme for `/old/lemon?q=1` matched by `/old`.
    fn location(redirect: Redirect, scheme: Scheme, listener_port: u16, seen: Scheme) -> String {
        let mut head = request("GET", "example.org:1234", "/old/lemon?q=1", &[]);
        head.scheme = seen;
        let context = Context { scheme, listener_port, prefix_len: Some(4), dice: &|| 0 };
        let filters = [Filter::Redirect(redirect)];
        match apply_request(&filters, &mut head, &context, &mut Applied::default()) {
            Verdict::Answer(answer) => {
                format!("{} {}", answer.status, answer.fields.get_str("location").unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_port_follows_scheme_and_listener() {
        use Scheme::{Http, Https};
        // What the conformance suite asks on listeners 80, 8080 and 443.
        for (listener, listener_port, scheme, port, made) in [
            (Http, 80, None, None, "http://example.org"),
            (Http, 80, None, Some(80), "http://example.org"),
            (Http, 80, None, Some(8080), "http://example.org:8080"),
            (Http, 80, Some(Https), None, "https://example.org"),
            (Http, 80, Some(Https), Some(443), "https://example.org"),
            (Http, 80, Some(Https), Some(8443), "https://example.org:8443"),
            (Http, 8080, None, None, "http://example.org:8080"),
            (Http, 8080, None, Some(80), "http://example.org"),
            (Http, 8080, Some(Https), None, "https://example.org"),
            (Http, 8080, Some(Https), Some(443), "https://example.org"),
            (Https, 443, None, None, "https://example.org"),
            (Https, 443, None, Some(8443), "https://example.org:8443"),
            (Https, 443, Some(Http), None, "http://example.org"),
            (Https, 443, Some(Http), Some(8080), "http://example.org:8080"),
        ] {
            let redirect = Redirect { scheme, port, ..PLAIN };
            let found = location(redirect, listener, listener_port, listener);
            assert_eq!(found, format!("302 {made}/old/lemon?q=1"), "{listener:?} {listener_port} {scheme:?} {port:?}");
        }
    }

    #[test]
    fn behind_a_trusted_hop_that_ends_tls_the_listener_port_is_not_named() {
        let found = location(PLAIN, Scheme::Http, 80, Scheme::Https);
        assert_eq!(found, "302 https://example.org/old/lemon?q=1");
    }

    #[test]
    fn host_path_and_status_are_replaced() {
        let host = || Some("new.org".to_owned());
        for (redirect, made) in [
            (Redirect { host: host(), status: 301, ..PLAIN }, "301 http://new.org/old/lemon?q=1"),
            (
                Redirect { path: Some(PathEdit::Prefix("/new".into())), status: 307, ..PLAIN },
                "307 http://example.org/new/lemon?q=1",
            ),
            (
                Redirect { host: host(), path: Some(PathEdit::Full("/all".into())), status: 308, ..PLAIN },
                "308 http://new.org/all?q=1",
            ),
        ] {
            assert_eq!(location(redirect, Scheme::Http, 80, Scheme::Http), made);
        }
    }
}
