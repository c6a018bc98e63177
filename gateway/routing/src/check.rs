//! Checks of what a rule says beyond its type: names, values, paths, hosts, statuses. Finds every defect; never repairs one.

use crate::Problem;
use headgate_config::{
    AuthProtocol, Carrier, Cors, ExternalAuth, Filter, Fraction, HeaderEdit, Match, PathEdit, PathMatch, Redirect,
    Rewrite, RuleName,
};
use headgate_message::{Method, canonical_path, is_token, is_value, split_authority};

/// Fields that say how a message is framed or belong to one connection: the writers make them, and no filter may.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// The defects of one rule so far.
pub(crate) struct Defects<'r> {
    rule: &'r RuleName,
    list: Vec<Problem>,
}

impl<'r> Defects<'r> {
    /// None yet.
    pub(crate) fn of(rule: &'r RuleName) -> Self {
        Self { rule, list: Vec::new() }
    }

    /// One more; `field` is counted from the rule, as `filters[0].urlRewrite.hostname`.
    pub(crate) fn add(&mut self, field: &str, message: impl Into<String>) {
        let index = self.rule.index;
        let field = match field.strip_prefix("filters").filter(|_| self.rule.kind.is_of_listeners()) {
            Some(rest) => format!("spec.listeners[{index}].filters.requests{rest}"),
            None => format!("spec.rules[{index}].{field}"),
        };
        self.list.push(Problem { rule: Some(self.rule.clone()), listener: None, field, message: message.into() });
    }

    /// All of them.
    pub(crate) fn into_problems(self) -> Box<[Problem]> {
        self.list.into()
    }

    /// What the first since `mark` says.
    pub(crate) fn since(&self, mark: usize) -> Option<&str> {
        self.list.get(mark).map(|problem| problem.message.as_str())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

/// Checks a match but for its regular expressions.
pub(crate) fn matching(matching: &Match, field: &str, defects: &mut Defects<'_>) {
    match &matching.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => match canonical_path(path.as_bytes()) {
            Ok(canonical) if canonical.as_ref() == path.as_bytes() => {}
            Ok(canonical) => {
                let canonical = String::from_utf8_lossy(&canonical);
                defects.add(
                    &format!("{field}.path.value"),
                    format!("requests never have the path {path:?}: write {canonical:?}"),
                );
            }
            Err(bad) => defects.add(
                &format!("{field}.path.value"),
                format!(
                    "{path:?} is {}: write a path that starts with / and has neither dot segments nor //",
                    bad.as_str()
                ),
            ),
        },
        PathMatch::Regex(_) => {}
    }
    if let Some(method) = &matching.method
        && Method::parse(method.as_bytes()).is_none()
    {
        defects.add(&format!("{field}.method"), format!("{method:?} is no method: write one such as GET"));
    }
    for (at, header) in matching.headers.iter().enumerate() {
        name(&header.name, &format!("{field}.headers[{at}].name"), defects);
    }
}

/// Checks the filters of a rule or of an arm but for the backends that they name.
pub(crate) fn filters(filters: &[Filter], field: &str, defects: &mut Defects<'_>) {
    for (at, filter) in filters.iter().enumerate() {
        let field = |kind: &str| format!("{field}[{at}].{kind}");
        match filter {
            Filter::RequestHeaders(edit) => headers(edit, &field("requestHeaderModifier"), defects),
            Filter::ResponseHeaders(edit) => headers(edit, &field("responseHeaderModifier"), defects),
            Filter::Redirect(change) => redirect(change, &field("requestRedirect"), defects),
            Filter::Rewrite(change) => rewrite(change, &field("urlRewrite"), defects),
            Filter::Mirror { fraction, .. } => share(*fraction, &field("requestMirror.fraction"), defects),
            Filter::Cors(policy) => cors(policy, &field("cors"), defects),
            Filter::ExternalAuth(auth) => external_auth(auth, &field("externalAuth"), defects),
            Filter::Session(session) => carrier(&session.carrier, &field("sessionPersistence"), defects),
            Filter::Unsupported(what) => {
                defects.add(
                    &field("type"),
                    format!("this gateway does not know the filter {what}: remove it, or use another gateway"),
                );
            }
        }
    }
}

fn headers(edit: &HeaderEdit, field: &str, defects: &mut Defects<'_>) {
    for (verb, fields) in [("set", &edit.set), ("add", &edit.add)] {
        for (at, (header, value)) in fields.iter().enumerate() {
            let field = format!("{field}.{verb}[{at}]");
            name(header, &format!("{field}.name"), defects);
            if FRAMING.contains(&header.as_str()) {
                defects.add(
                    &format!("{field}.name"),
                    format!("{header} belongs to the connection, and the gateway writes it: remove it"),
                );
            }
            if header == "host" {
                defects.add(
                    &format!("{field}.name"),
                    "a filter of headers cannot change the host: write a URLRewrite filter with a hostname",
                );
            }
            if !is_value(value.as_bytes()) || value.trim_matches([' ', '\t']) != value {
                let message = format!("{value:?} is no value of a header: write one line without blanks at its ends");
                defects.add(&format!("{field}.value"), message);
            }
        }
    }
    for (at, header) in edit.remove.iter().enumerate() {
        name(header, &format!("{field}.remove[{at}]"), defects);
    }
}

fn name(header: &str, field: &str, defects: &mut Defects<'_>) {
    if !is_token(header.as_bytes()) || header.bytes().any(|byte| byte.is_ascii_uppercase()) {
        defects.add(field, format!("{header:?} is no name of a header: write a-z, 0-9 and '-'"));
    }
}

fn redirect(redirect: &Redirect, field: &str, defects: &mut Defects<'_>) {
    if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
        let message = format!("{} is no status of a redirect: write 301, 302, 303, 307 or 308", redirect.status);
        defects.add(&format!("{field}.statusCode"), message);
    }
    if redirect.port == Some(0) {
        defects.add(&format!("{field}.port"), "0 is no port: write 1 to 65535");
    }
    host(redirect.host.as_deref(), field, defects);
    path(redirect.path.as_ref(), field, defects);
}

fn rewrite(rewrite: &Rewrite, field: &str, defects: &mut Defects<'_>) {
    host(rewrite.host.as_deref(), field, defects);
    path(rewrite.path.as_ref(), field, defects);
}

fn host(host: Option<&str>, field: &str, defects: &mut Defects<'_>) {
    if let Some(host) = host
        && split_authority(host.to_ascii_lowercase().as_bytes()).is_err()
    {
        defects.add(
            &format!("{field}.hostname"),
            format!("{host:?} is no host name: write labels of a-z, 0-9 and '-', without a port"),
        );
    }
}

/// An empty text is allowed: it removes the prefix.
fn path(edit: Option<&PathEdit>, field: &str, defects: &mut Defects<'_>) {
    let (kind, text) = match edit {
        Some(PathEdit::Full(text)) => ("replaceFullPath", text),
        Some(PathEdit::Prefix(text)) => ("replacePrefixMatch", text),
        None => return,
    };
    if !text.is_empty()
        && let Err(bad) = canonical_path(text.as_bytes())
    {
        let message = format!("{text:?} is {}: write a path that starts with /, without a query", bad.as_str());
        defects.add(&format!("{field}.path.{kind}"), message);
    }
}

fn share(fraction: Fraction, field: &str, defects: &mut Defects<'_>) {
    if fraction.denominator == 0 || fraction.numerator > fraction.denominator {
        let message = format!(
            "{} of {} is no share: write a numerator of at most the denominator, and a denominator of at least 1",
            fraction.numerator, fraction.denominator
        );
        defects.add(field, message);
    }
}

fn external_auth(auth: &ExternalAuth, field: &str, defects: &mut Defects<'_>) {
    let AuthProtocol::Http { prefix, .. } = &auth.protocol else { return };
    let is_canonical = canonical_path(prefix.as_bytes()).is_ok_and(|canonical| *canonical == *prefix.as_bytes());
    if !prefix.is_empty() && (!is_canonical || prefix.ends_with('/')) {
        let message =
            format!("{prefix:?} cannot stand before a path: write a path that starts with / and does not end with it");
        defects.add(&format!("{field}.http.path"), message);
    }
}

fn carrier(carrier: &Carrier, field: &str, defects: &mut Defects<'_>) {
    match carrier {
        Carrier::Header(header) => {
            name(header, &format!("{field}.header.name"), defects);
            if FRAMING.contains(&header.as_str()) || matches!(header.as_str(), "host" | "cookie" | "set-cookie") {
                let message = format!("{header} has a meaning of its own: write a name that nothing else has");
                defects.add(&format!("{field}.header.name"), message);
            }
        }
        Carrier::Cookie { name, path, .. } => {
            if !is_token(name.as_bytes()) {
                let message = format!("{name:?} is no name of a cookie: write letters, digits and '-'");
                defects.add(&format!("{field}.cookie.name"), message);
            }
            // RFC 6265 §4.1.1, path-value
            if !path.starts_with('/') || !path.bytes().all(|byte| matches!(byte, b' '..=b'~' if byte != b';')) {
                let message = format!("{path:?} is no path of a cookie: write one that starts with / and has no ;");
                defects.add(&format!("{field}.cookie.path"), message);
            }
        }
    }
}

fn cors(cors: &Cors, field: &str, defects: &mut Defects<'_>) {
    for (kind, names) in
        [("allowMethods", &cors.methods), ("allowHeaders", &cors.headers), ("exposeHeaders", &cors.expose)]
    {
        for (at, text) in names.iter().enumerate().filter(|(_, text)| !is_token(text.as_bytes())) {
            defects.add(
                &format!("{field}.{kind}[{at}]"),
                format!("{text:?} is no name: write letters, digits and '-', or *"),
            );
        }
    }
}
