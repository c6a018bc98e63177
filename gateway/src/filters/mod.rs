//! What filters do to a request and its answer: one file a filter, pure over heads. Never I/O, never a look at configuration that was not vetted.

mod cors;
mod headers;
mod mirror;
mod redirect;
mod rewrite;
mod session;

pub use headers::{Edit, How, is_editable, remove_like};
pub use session::{Answerer, Brought, tell as tell_session, term as session_term};

use crate::failure::Failure;
use headgate_config::{BackendName, Filter, PathEdit, Scheme};
use headgate_message::{RequestHead, ResponseHead};

/// What the filters of a rule, or of an arm, make of a request.
#[derive(Debug)]
pub enum Verdict {
    /// On to the backend.
    Go,
    /// Answered here, without a body.
    Answer(ResponseHead),
    /// Answered here with a failure.
    Fail(Failure),
    /// A service must be asked, as the filter of this index says; those after it are not applied yet.
    Ask(usize),
}

/// What filters must know besides the head.
pub struct Context<'a> {
    /// Of the listener; the head's own may differ where a trusted hop says so.
    pub scheme: Scheme,
    /// The port that clients use for the listener.
    pub listener_port: u16,
    /// Bytes of the canonical path that the rule's prefix match took; `None` for another kind of match.
    pub prefix_len: Option<usize>,
    /// Random numbers, for mirrored shares.
    pub dice: &'a dyn Fn() -> u64,
}

/// What is kept of the request side: for the mirrors, and for the filters of the answer.
#[derive(Debug, Default)]
pub struct Applied {
    /// Backends that get a copy.
    pub mirrors: Vec<BackendName>,
    /// What an authorization service adds to the answer.
    pub answer_edits: Vec<Edit>,
    /// What the request brought of a session, where its rule or arm has one.
    pub session: Option<Box<Brought>>,
    // Kept because a later filter may edit the header away. Boxed text only for a rule with CORS and a request with an Origin.
    origin: Option<Box<str>>,
}

/// What filters of most requests keep: nothing.
pub static NOTHING_APPLIED: Applied =
    Applied { mirrors: Vec::new(), answer_edits: Vec::new(), session: None, origin: None };

impl Applied {
    /// In a box if there is anything, since most requests have nothing and are many while they wait.
    pub fn boxed(self) -> Option<Box<Self>> {
        let is_any = self.origin.is_some() || !self.mirrors.is_empty() || !self.answer_edits.is_empty();
        let is_any = is_any || self.session.is_some();
        is_any.then(|| Box::new(self))
    }
}

/// Makes filters fit for `apply_request` and `apply_response`: names lower-case, values trimmed, and each that cannot be applied
/// replaced by [`Filter::Unsupported`] with the reason, so that its rule answers 500 and nothing else changes.
/// Call it when a Table is compiled.
pub fn vet(filters: Vec<Filter>) -> Vec<Filter> {
    let vet_one = |filter| match filter {
        Filter::RequestHeaders(edit) => headers::vet(edit).map(Filter::RequestHeaders),
        Filter::ResponseHeaders(edit) => headers::vet(edit).map(Filter::ResponseHeaders),
        Filter::Redirect(redirect) => redirect::vet(redirect).map(Filter::Redirect),
        Filter::Rewrite(rewrite) => rewrite::vet(rewrite).map(Filter::Rewrite),
        Filter::Mirror { backend, fraction } => {
            mirror::vet(fraction).map(|fraction| Filter::Mirror { backend, fraction })
        }
        Filter::Cors(cors) => cors::vet(cors).map(Filter::Cors),
        Filter::ExternalAuth(auth) => Ok(Filter::ExternalAuth(auth)),
        Filter::Session(session) => session::vet(session).map(Filter::Session),
        Filter::Unsupported(what) => Err(what),
    };
    filters.into_iter().map(|filter| vet_one(filter).unwrap_or_else(Filter::Unsupported)).collect()
}

/// Applies vetted filters to a request, in order; stops at the first answer or question. First those of the rule, then those of the arm.
pub fn apply_request(
    filters: &[Filter],
    head: &mut RequestHead,
    context: &Context<'_>,
    applied: &mut Applied,
) -> Verdict {
    for (at, filter) in filters.iter().enumerate() {
        let verdict = match filter {
            Filter::RequestHeaders(edit) => {
                headers::edit(edit, &mut head.fields);
                Verdict::Go
            }
            Filter::ResponseHeaders(_) => Verdict::Go,
            Filter::Redirect(redirect) => redirect::answer(redirect, head, context),
            Filter::Rewrite(rewrite) => rewrite::rewrite(rewrite, head, context),
            Filter::Mirror { backend, fraction } => {
                if mirror::falls(*fraction, context.dice) {
                    applied.mirrors.push(backend.clone());
                }
                Verdict::Go
            }
            Filter::Cors(cors) => {
                applied.origin = head.fields.get_str("origin").map(Into::into);
                cors::preflight(cors, head).map_or(Verdict::Go, Verdict::Answer)
            }
            Filter::ExternalAuth(_) => Verdict::Ask(at),
            Filter::Session(spec) => {
                applied.session = Some(Box::new(session::read(spec, head)));
                Verdict::Go
            }
            Filter::Unsupported(_) => Verdict::Fail(Failure::FilterUnsupported),
        };
        if !matches!(verdict, Verdict::Go) {
            return verdict;
        }
    }
    Verdict::Go
}

/// Applies vetted filters to a final answer of the backend: those of the rule, then those of the arm.
pub fn apply_response(filters: &[Filter], applied: &Applied, head: &mut ResponseHead) {
    for filter in filters {
        match filter {
            Filter::ResponseHeaders(edit) => headers::edit(edit, &mut head.fields),
            Filter::Cors(cors) => cors::decorate(cors, applied.origin.as_deref(), &mut head.fields),
            Filter::RequestHeaders(_)
            | Filter::Redirect(_)
            | Filter::Rewrite(_)
            | Filter::Mirror { .. }
            | Filter::ExternalAuth(_)
            // told apart from the others, since it looks at the endpoint: `tell_session`
            | Filter::Session(_)
            | Filter::Unsupported(_) => {}
        }
    }
}

/// Decorates an answer of our own, so that a script may read why it failed; nothing else of a rule applies to it.
pub fn apply_own_answer(filters: &[Filter], applied: &Applied, head: &mut ResponseHead) {
    for filter in filters {
        if let Filter::Cors(cors) = filter {
            cors::decorate(cors, applied.origin.as_deref(), &mut head.fields);
        }
    }
}

/// The path that an edit makes; `None` for a prefix edit under a match that is no prefix.
///
/// Source: Gateway API v1.7.0, HTTPPathModifier: trailing slashes of prefix and replacement are ignored.
fn edited_path(edit: &PathEdit, path: &str, prefix_len: Option<usize>) -> Option<String> {
    let replacement = match edit {
        PathEdit::Full(full) => return Some(full.clone()),
        PathEdit::Prefix(replacement) => replacement,
    };
    let (prefix, _) = path.split_at_checked(prefix_len?)?;
    let rest = &path[prefix.trim_end_matches('/').len()..];
    let new = [replacement.trim_end_matches('/'), rest].concat();
    Some(if new.is_empty() { "/".to_owned() } else { new })
}

/// Refuses a replacement that no request could take.
fn vet_path(edit: &PathEdit) -> Result<(), String> {
    let text = match edit {
        PathEdit::Full(text) => text,
        PathEdit::Prefix(text) if text.is_empty() => return Ok(()),
        PathEdit::Prefix(text) => text,
    };
    headgate_message::canonical_path(text.as_bytes())
        .map(drop)
        .map_err(|bad| format!("the path {text:?} is {}: write a plain path that starts with /", bad.as_str()))
}

fn vet_host(host: &str) -> Result<(), String> {
    host.parse::<headgate_config::HostName>().map(drop).map_err(|invalid| invalid.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use headgate_config::{Cors, Fraction, HeaderEdit, OriginPattern, Redirect, Rewrite};
    use headgate_message::{Authority, Fields, Method, Span, Target};

    /// A request of `method` for `http://host/path?query`.
    pub(crate) fn request(method: &str, authority: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut all = Fields::default();
        let raw = all.store(target.as_bytes());
        let path = all.store(path.as_bytes());
        let query = query.map(|query| all.store(query.as_bytes()));
        for (name, value) in fields {
            all.push(name, value.as_bytes());
        }
        let mut head = RequestHead {
            method: Method::parse(method.as_bytes()).unwrap(),
            scheme: Scheme::Http,
            authority: Authority { text: Span::default(), host: Span::default(), port: None },
            target: Target { raw, path, query },
            fields: all,
        };
        head.set_authority(authority).unwrap();
        head
    }

    pub(super) fn apply(filters: &[Filter], head: &mut RequestHead, prefix_len: Option<usize>) -> Verdict {
        let context = Context { scheme: Scheme::Http, listener_port: 80, prefix_len, dice: &|| 0 };
        apply_request(filters, head, &context, &mut Applied::default())
    }

    fn mirror(service: &str, numerator: u32) -> Filter {
        let backend = BackendName::tcp("a", service, 80);
        Filter::Mirror { backend, fraction: Fraction { numerator, denominator: 100 } }
    }

    #[test]
    fn prefixes_are_replaced_as_the_table_of_the_api_says() {
        for (path, prefix, replacement, made) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo", "/", "/xyz", "/xyz/foo"),
            ("/", "/", "/xyz", "/xyz/"),
        ] {
            let edit = PathEdit::Prefix(replacement.into());
            assert_eq!(edited_path(&edit, path, Some(prefix.len())).as_deref(), Some(made), "{path} {prefix} {made}");
        }
        assert_eq!(edited_path(&PathEdit::Prefix("/x".into()), "/foo", None), None);
        assert_eq!(edited_path(&PathEdit::Prefix("/x".into()), "/foo", Some(9)), None);
    }

    #[test]
    fn filters_apply_in_order_and_stop_at_an_answer() {
        let edit = HeaderEdit { set: vec![("x-a".into(), "1".into())], ..Default::default() };
        let redirect = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
        let filters = [
            mirror("always", 100),
            Filter::RequestHeaders(edit),
            mirror("never", 0),
            Filter::Redirect(redirect),
            mirror("late", 100),
        ];
        let mut head = request("GET", "a.io", "/", &[]);
        let context = Context { scheme: Scheme::Http, listener_port: 80, prefix_len: None, dice: &|| 0 };
        let mut applied = Applied::default();
        assert!(matches!(apply_request(&filters, &mut head, &context, &mut applied), Verdict::Answer(_)));
        assert_eq!(head.fields.get("x-a"), Some(&b"1"[..]));
        assert_eq!(applied.mirrors.iter().map(|b| b.service.as_str()).collect::<Vec<_>>(), ["always"]);
    }

    #[test]
    fn what_cannot_be_applied_answers_500_for_its_rule() {
        let set = |name: &str, value: &str| {
            let edit = HeaderEdit { set: vec![(name.into(), value.into())], ..Default::default() };
            Filter::RequestHeaders(edit)
        };
        let path = |path| Filter::Rewrite(Rewrite { host: None, path: Some(path) });
        let redirect = |status| Redirect { scheme: None, host: Some("a.io".into()), port: None, path: None, status };
        for (filter, reason) in [
            (set("Host", "a"), "host"),
            (set("content-length", "1"), "content-length"),
            (set("a b", "1"), "a b"),
            (set("x-a", "1\r\nx-b: 2"), "x-a"),
            (path(PathEdit::Full("no-slash".into())), "no-slash"),
            (path(PathEdit::Full("/a?b".into())), "/a?b"),
            (path(PathEdit::Prefix("/../a".into())), "dot segment"),
            (Filter::Rewrite(Rewrite { host: Some("a b".into()), path: None }), "a b"),
            (Filter::Redirect(redirect(200)), "200"),
            (Filter::Cors(Cors { methods: vec!["A B".into()], ..Default::default() }), "A B"),
            (Filter::Unsupported("BodyModifier".into()), "BodyModifier"),
        ] {
            let vetted = vet(vec![filter.clone()]);
            assert!(
                matches!(&vetted[..], [Filter::Unsupported(why)] if why.contains(reason)),
                "{filter:?}: {vetted:?}"
            );
            let verdict = apply(&vetted, &mut request("GET", "a.io", "/", &[]), Some(1));
            assert!(matches!(verdict, Verdict::Fail(Failure::FilterUnsupported)));
        }
        let fine = vec![set("x-a", "1"), path(PathEdit::Prefix(String::new())), Filter::Redirect(redirect(308))];
        assert_eq!(vet(fine.clone()), fine);
        assert_eq!(vet(vec![set("X-A", " 1 ")]), [set("x-a", "1")]);
    }

    #[test]
    fn answers_of_ours_are_decorated_for_scripts_only() {
        let edit = HeaderEdit { set: vec![("x-a".into(), "1".into())], ..Default::default() };
        let cors = Cors { origins: vec![OriginPattern::Any], ..Default::default() };
        let filters = [Filter::ResponseHeaders(edit), Filter::Cors(cors)];
        let applied = Applied { origin: Some("https://a.io".into()), ..Default::default() };
        let mut own = ResponseHead::new(503);
        apply_own_answer(&filters, &applied, &mut own);
        assert!(own.fields.has("access-control-allow-origin") && !own.fields.has("x-a"));
        let mut theirs = ResponseHead::new(200);
        apply_response(&filters, &applied, &mut theirs);
        assert!(theirs.fields.has("access-control-allow-origin") && theirs.fields.has("x-a"));
    }
}
