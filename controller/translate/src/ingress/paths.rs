//! From a path of an Ingress, as ingress-nginx reads it, to a match of Gateway API and what is written into the path. Never a guess: what has no exact form is refused.

use super::annotations::Annotations;
use crate::{
    form::is_path,
    kinds::{IngressPath, PathKind, PathMatch, PathModifier, PathType},
};

/// A path in the words of Gateway API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub path: PathMatch,
    pub rewrite: Option<PathModifier>,
    /// The field that the notes are about.
    pub about: &'static str,
    /// In what it is not quite the same, and what to do.
    pub notes: Vec<(String, String)>,
}

/// A path that has no form, and what it takes, if that can be said: it is refused there, so that no other rule takes its requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoForm {
    pub path: Option<PathMatch>,
    pub message: String,
    pub remedy: String,
}

/// Ends of a path that take what is below it, and the group that holds it.
const BELOW: [(&str, &str); 3] = [("(/|$)(.*)", "$2"), ("/?(.*)", "$1"), ("/(.*)", "$1")];
/// What makes a text more than a path to ingress-nginx; a dot, which takes any character, hardly ever means to.
const SPECIAL: [char; 13] = ['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$', '\\'];

/// What to match, and what to write.
pub(super) fn plan(path: &IngressPath, annotations: &Annotations) -> Result<Plan, NoForm> {
    match (annotations.rewrite_target(), annotations.uses_regex()) {
        (Some(target), _) => rewritten(&path.path, target),
        (None, true) => Ok(expression(&path.path)),
        (None, false) => plain(path),
    }
}

fn plain(path: &IngressPath) -> Result<Plan, NoForm> {
    let value = if path.path.is_empty() { "/" } else { path.path.as_str() };
    let kind = if path.kind == PathType::Exact { PathKind::Exact } else { PathKind::PathPrefix };
    let mut notes = Vec::new();
    let mut value = value.to_owned();
    if path.kind == PathType::ImplementationSpecific {
        let below = value.strip_suffix("/*").map(|below| if below.is_empty() { "/" } else { below }.to_owned());
        value = below.unwrap_or(value);
        if value != "/" {
            let message = format!("ImplementationSpecific is taken as Prefix: {value} and all below it");
            notes.push((message, "write Prefix or Exact, whichever is meant".to_owned()));
        }
    }
    if !is_path(&value) || value.contains('*') {
        let message = format!("{value:?} is no path, and nothing says that it is a pattern");
        let remedy = "write a path, or the annotation nginx.ingress.kubernetes.io/use-regex if it is a pattern";
        return Err(NoForm { path: None, message, remedy: remedy.to_owned() });
    }
    Ok(Plan { path: PathMatch { kind, value: value.into() }, rewrite: None, about: "pathType", notes })
}

/// With a rewrite every path is an expression, matched from the start of the path and without regard to case.
fn rewritten(path: &str, target: &str) -> Result<Plan, NoForm> {
    let no_form = |message: String| {
        let remedy = "write the rule by hand: URLRewrite replaces a prefix or the whole path";
        Err(NoForm { path: Some(whole(path)), message, remedy: remedy.to_owned() })
    };
    let below = below(path);
    let (base, modifier) = match (below, target.split_once('$')) {
        (_, None) => {
            let base = below.map_or(path, |(base, ..)| base);
            (base, Some(PathModifier::Full(target.to_owned())))
        }
        (Some((base, _, group)), Some((start, rest))) if rest == &group[1..] && start.ends_with('/') => {
            let is_same = start.trim_end_matches('/') == base;
            (base, (!is_same).then(|| PathModifier::Prefix(start.to_owned())))
        }
        _ => return no_form(format!("the rewrite of {path:?} to {target:?} has no form in Gateway API")),
    };
    if base.contains(SPECIAL) {
        return no_form(format!("{path:?} is an expression, and Gateway API rewrites below a prefix only"));
    }
    let base = trimmed(base);
    let mut notes: Vec<_> = note_of_more(path, &base).into_iter().collect();
    if matches!(modifier, Some(PathModifier::Full(_))) && base != "/" {
        let message = format!("{target} replaces the whole path, as ingress-nginx does: what is below {base} is lost");
        let kept = target.trim_end_matches('/');
        notes.push((message, format!("write {base}(/|$)(.*) and the target {kept}/$2 if it is to be kept")));
    }
    Ok(Plan { path: prefix(&base), rewrite: modifier, about: "path", notes })
}

/// An expression without a rewrite.
fn expression(path: &str) -> Plan {
    let base = below(path).map_or(path, |(base, ..)| base);
    if !base.contains(SPECIAL) {
        let base = trimmed(base);
        let notes = note_of_more(path, &base).into_iter().collect();
        return Plan { path: prefix(&base), rewrite: None, about: "path", notes };
    }
    let message =
        format!("{path:?} becomes an expression over the whole path, whose syntax is that of the implementation");
    let notes = vec![(message, "look whether Prefix or Exact would do".to_owned())];
    Plan { path: whole(path), rewrite: None, about: "path", notes }
}

/// An expression over the whole path that takes what ingress-nginx takes: all that begins so, in any case.
fn whole(path: &str) -> PathMatch {
    let start = path.strip_prefix('^').unwrap_or(path);
    let value = match start.strip_suffix('$') {
        Some(exactly) => format!("(?i){exactly}"),
        None => format!("(?i){start}.*"),
    };
    PathMatch { kind: PathKind::RegularExpression, value: value.into() }
}

/// What of a path is before the end that takes all below it, that end, and the group that holds it.
fn below(path: &str) -> Option<(&str, &'static str, &'static str)> {
    BELOW.into_iter().find_map(|(end, group)| Some((path.strip_suffix(end)?, end, group)))
}

/// That ingress-nginx takes more than whole segments.
fn note_of_more(path: &str, base: &str) -> Option<(String, String)> {
    let whole_segments = below(path).is_some_and(|(_, end, _)| !end.starts_with("/?"));
    let message = format!("ingress-nginx takes {base}x too; here it is {base} and all below it");
    (base != "/" && !whole_segments).then(|| (message, "nothing need be done if that was meant".to_owned()))
}

fn prefix(path: &str) -> PathMatch {
    PathMatch { kind: PathKind::PathPrefix, value: path.into() }
}

fn trimmed(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}
