//! Changes host or path of what goes to the backend. Never to a path that the parsers would refuse.

use super::{Context, Verdict, edited_path, vet_host, vet_path};
use crate::failure::Failure;
use headgate_config::Rewrite;
use headgate_message::RequestHead;

/// Rewrites the head in place; the query stays.
pub(super) fn rewrite(rewrite: &Rewrite, head: &mut RequestHead, context: &Context<'_>) -> Verdict {
    if let Some(edit) = &rewrite.path {
        let Some(path) = edited_path(edit, head.path(), context.prefix_len) else {
            return Verdict::Fail(Failure::RewriteInvalid);
        };
        // A vetted replacement is fine by itself, so it is the client's rest that makes a `//` or a dot segment of it.
        if head.set_path(&path).is_err() {
            return Verdict::Fail(Failure::BadTarget);
        }
    }
    if let Some(host) = &rewrite.host
        && head.set_authority(host).is_err()
    {
        return Verdict::Fail(Failure::RewriteInvalid);
    }
    Verdict::Go
}

/// The rewrite, or why it cannot be applied.
pub(super) fn vet(rewrite: Rewrite) -> Result<Rewrite, String> {
    rewrite.path.as_ref().map_or(Ok(()), vet_path)?;
    rewrite.host.as_deref().map_or(Ok(()), vet_host)?;
    Ok(rewrite)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, request};
    use super::*;
    use headgate_config::{Filter, PathEdit};

    fn rewritten(host: Option<&str>, path: Option<PathEdit>, target: &str, prefix: &str) -> Result<String, Failure> {
        let filters = [Filter::Rewrite(Rewrite { host: host.map(Into::into), path })];
        let mut head = request("GET", "a.io:8080", target, &[]);
        match apply(&filters, &mut head, Some(prefix.len())) {
            Verdict::Go => {
                let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
                Ok(format!("{}{}{query}", head.authority(), head.path()))
            }
            Verdict::Fail(failure) => Err(failure),
            Verdict::Answer(_) | Verdict::Ask(_) => panic!("a rewrite answers nothing"),
        }
    }

    #[test]
    fn host_and_path_change_and_the_query_stays() {
        let full = || Some(PathEdit::Full("/one".into()));
        let prefix = |text: &str| Some(PathEdit::Prefix(text.into()));
        for (host, path, target, matched, made) in [
            (None, full(), "/full/one/two?a=b", "/full/one", "a.io:8080/one?a=b"),
            (None, prefix("/one"), "/prefix/one/two", "/prefix/one", "a.io:8080/one/two"),
            (None, prefix("/"), "/strip-prefix/three", "/strip-prefix", "a.io:8080/three"),
            (None, prefix("/"), "/strip-prefix", "/strip-prefix", "a.io:8080/"),
            (None, prefix("/%61"), "/x/y", "/x", "a.io:8080/a/y"),
            (Some("One.Example.org"), None, "/x?q", "/", "one.example.org/x?q"),
            (Some("b.io"), prefix("/z"), "/x", "/x", "b.io/z"),
        ] {
            assert_eq!(rewritten(host, path, target, matched).as_deref(), Ok(made));
        }
    }

    #[test]
    fn a_result_that_readers_could_take_for_another_place_is_refused() {
        let strip = || Some(PathEdit::Prefix(String::new()));
        assert_eq!(rewritten(None, strip(), "/x//evil.io/", "/x"), Err(Failure::BadTarget));
        let mut head = request("GET", "a.io", "/x", &[]);
        let filters = [Filter::Rewrite(Rewrite { host: None, path: strip() })];
        assert!(matches!(apply(&filters, &mut head, None), Verdict::Fail(Failure::RewriteInvalid)));
    }
}
