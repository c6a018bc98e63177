//! Filters: from the API's to those of the data plane. What cannot be applied becomes `Filter::Unsupported`, so that its rule or arm answers 500 instead of passing by it.

use crate::{
    conditions::{ConditionType, Finding, Reason},
    kinds::{self, BackendRef, HeaderModifier, PathModifier},
    schema::FieldPath,
};
use headgate_config::{
    ArmTarget, AuthProtocol, Cors, ExternalAuth, Filter, Fraction, HeaderEdit, OriginPattern, PathEdit, Redirect,
    Rewrite, Scheme,
};
use headgate_message::canonical_path;

/// Fields that say how a message is framed or belong to one connection: no filter may write them.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Filters in order. `resolve` finds the backend that a filter names, which is spoken to over gRPC or not. A mirror that leads nowhere is
/// left out, as the specification says; an authorization that leads nowhere fails every request.
pub(crate) fn filters(
    list: &[kinds::Filter],
    at: &FieldPath,
    findings: &mut Vec<Finding>,
    mut resolve: impl FnMut(&BackendRef, bool, &FieldPath, &mut Vec<Finding>) -> ArmTarget,
) -> Vec<Filter> {
    let mut made = Vec::with_capacity(list.len());
    for (index, filter) in list.iter().enumerate() {
        let at = at.index(index);
        match filter {
            kinds::Filter::RequestHeaders(edit) => {
                request_headers(edit, &at.key("requestHeaderModifier"), findings, &mut made)
            }
            kinds::Filter::ResponseHeaders(edit) => {
                let at = at.key("responseHeaderModifier");
                made.push(checked(edit, &at, findings).map_or_else(Filter::Unsupported, Filter::ResponseHeaders));
            }
            kinds::Filter::Mirror(spec) => {
                let at = at.key("requestMirror").key("backendRef");
                let (numerator, denominator) = spec.fraction.unwrap_or((1, 1));
                let fraction = Fraction { numerator, denominator };
                if let ArmTarget::Backend(backend) = resolve(&spec.backend, false, &at, findings) {
                    made.push(Filter::Mirror { backend, fraction });
                }
            }
            kinds::Filter::Redirect(spec) => made.push(redirect(spec, &at.key("requestRedirect"), findings)),
            kinds::Filter::Rewrite(spec) => made.push(rewrite(spec, &at.key("urlRewrite"), findings)),
            kinds::Filter::Cors(spec) => made.push(Filter::Cors(cors(spec))),
            kinds::Filter::ExternalAuth(spec) => {
                let at = at.key("externalAuth");
                let grpc = spec.protocol == kinds::AuthProtocol::Grpc;
                let service = resolve(&spec.backend, grpc, &at.key("backendRef"), findings);
                made.push(external_auth(spec, service, &at, findings));
            }
            kinds::Filter::Unknown(_) => made.push(unsupported(
                filter.kind(),
                Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at.key("type"), ""),
                findings,
            )),
            kinds::Filter::Extension(reference) => {
                let at = at.key("extensionRef");
                let message = format!("no filter of kind {} and group {:?} is known", reference.kind, reference.group);
                let remedy = "leave out the filter: this gateway has no extensions";
                findings.push(
                    Finding::new(ConditionType::ResolvedRefs, Reason::InvalidKind, at.clone(), message).remedy(remedy),
                );
                let finding = Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at, "");
                made.push(unsupported(filter.kind(), finding, findings));
            }
        }
    }
    made
}

fn unsupported(kind: &str, finding: Finding, findings: &mut Vec<Finding>) -> Filter {
    let message = format!("filter {kind} is not supported; requests that it concerns are answered 500");
    findings.push(Finding { message, ..finding }.remedy("leave out the filter"));
    Filter::Unsupported(kind.to_owned())
}

fn unsupported_value(what: &str, at: FieldPath, findings: &mut Vec<Finding>) -> Filter {
    let message = format!("{what} is not supported; requests that it concerns are answered 500");
    findings.push(Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at, message));
    Filter::Unsupported(what.to_owned())
}

/// `Host` is no header for the data plane: setting it is a rewrite of the host, at the same place in the order, so the last one wins.
fn request_headers(edit: &HeaderModifier, at: &FieldPath, findings: &mut Vec<Finding>, made: &mut Vec<Filter>) {
    let mut edit = match checked(edit, at, findings) {
        Ok(edit) => edit,
        Err(what) => return made.push(Filter::Unsupported(what)),
    };
    let mut host = None;
    for list in [&mut edit.set, &mut edit.add] {
        let found = list.iter().rfind(|(name, _)| name == "host");
        host = found.map(|(_, value)| value.clone()).or(host);
        list.retain(|(name, _)| name != "host");
    }
    edit.remove.retain(|name| name != "host");
    if edit != HeaderEdit::default() {
        made.push(Filter::RequestHeaders(edit));
    }
    made.extend(host.map(|host| Filter::Rewrite(Rewrite { host: Some(host), path: None })));
}

/// An edit with lower-case names, or what of it no filter may do. Of equal names the first counts, as the specification says.
fn checked(edit: &HeaderModifier, at: &FieldPath, findings: &mut Vec<Finding>) -> Result<HeaderEdit, String> {
    let made = HeaderEdit {
        set: lower_case(&edit.set),
        add: lower_case(&edit.add),
        remove: edit.remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    let names = made.set.iter().chain(&made.add).map(|(name, _)| name).chain(&made.remove);
    match names.into_iter().find(|name| FRAMING.contains(&name.as_str())) {
        None => Ok(made),
        Some(name) => {
            let message = format!("{name} belongs to the connection, and the gateway writes it itself");
            let finding = Finding::new(ConditionType::Accepted, Reason::UnsupportedValue, at.clone(), message);
            findings.push(finding.remedy(format!("leave out {name}")));
            Err(format!("an edit of {name}"))
        }
    }
}

fn lower_case(pairs: &[(String, String)]) -> Vec<(String, String)> {
    let mut made: Vec<(String, String)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let name = name.to_ascii_lowercase();
        if !made.iter().any(|(known, _)| *known == name) {
            made.push((name, value.clone()));
        }
    }
    made
}

fn path_edit(path: &PathModifier) -> Result<PathEdit, &str> {
    match path {
        PathModifier::Full(path) => Ok(PathEdit::Full(path.clone())),
        PathModifier::Prefix(path) => Ok(PathEdit::Prefix(path.clone())),
        PathModifier::Unknown(kind) => Err(kind),
    }
}

fn redirect(spec: &kinds::Redirect, at: &FieldPath, findings: &mut Vec<Finding>) -> Filter {
    let scheme = match spec.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => return unsupported_value(&format!("a redirect to scheme {other}"), at.key("scheme"), findings),
    };
    let path = match spec.path.as_ref().map(path_edit).transpose() {
        Ok(path) => path,
        Err(kind) => return unsupported_value(&format!("path type {kind}"), at.key("path").key("type"), findings),
    };
    if ![301, 302, 303, 307, 308].contains(&spec.status) {
        return unsupported_value(&format!("a redirect with status {}", spec.status), at.key("statusCode"), findings);
    }
    Filter::Redirect(Redirect { scheme, host: spec.hostname.clone(), port: spec.port, path, status: spec.status })
}

fn rewrite(spec: &kinds::UrlRewrite, at: &FieldPath, findings: &mut Vec<Finding>) -> Filter {
    match spec.path.as_ref().map(path_edit).transpose() {
        Ok(path) => Filter::Rewrite(Rewrite { host: spec.hostname.clone(), path }),
        Err(kind) => unsupported_value(&format!("path type {kind}"), at.key("path").key("type"), findings),
    }
}

fn cors(spec: &kinds::Cors) -> Cors {
    let lower = |list: &[String]| list.iter().map(|name| name.to_ascii_lowercase()).collect();
    Cors {
        origins: spec.allow_origins.iter().map(|text| origin(text)).collect(),
        credentials: spec.allow_credentials,
        methods: spec.allow_methods.clone(),
        headers: lower(&spec.allow_headers),
        expose: lower(&spec.expose_headers),
        max_age_s: spec.max_age_s,
    }
}

fn external_auth(
    spec: &kinds::ExternalAuth,
    service: ArmTarget,
    at: &FieldPath,
    findings: &mut Vec<Finding>,
) -> Filter {
    let lower = |list: &[String]| list.iter().map(|name| name.to_ascii_lowercase()).collect();
    let protocol = match &spec.protocol {
        kinds::AuthProtocol::Http => match auth_prefix(spec.path.as_deref().unwrap_or_default()) {
            Ok(prefix) => AuthProtocol::Http { prefix, answer_headers: lower(&spec.allowed_response_headers) },
            Err(what) => return unsupported_value(&what, at.key("http").key("path"), findings),
        },
        kinds::AuthProtocol::Grpc => AuthProtocol::Grpc,
        kinds::AuthProtocol::Unknown(kind) => {
            return unsupported_value(&format!("an authorization over {kind}"), at.key("protocol"), findings);
        }
    };
    Filter::ExternalAuth(Box::new(ExternalAuth {
        service,
        protocol,
        request_headers: lower(&spec.allowed_headers),
        body_bytes: spec.body_max_bytes.unwrap_or_default(),
    }))
}

/// What is put before paths: a path begins after it, so it ends without `/`.
fn auth_prefix(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    match canonical_path(path.as_bytes()) {
        Ok(canonical) => Ok(String::from_utf8_lossy(&canonical).trim_end_matches('/').to_owned()),
        Err(bad) => Err(format!("the path {path:?} ({})", bad.as_str())),
    }
}

fn origin(text: &str) -> OriginPattern {
    if text == "*" {
        return OriginPattern::Any;
    }
    match text.split_once("://*") {
        Some((scheme, suffix)) => OriginPattern::Wildcard { scheme: format!("{scheme}://"), suffix: suffix.to_owned() },
        None => OriginPattern::Exact(text.to_owned()),
    }
}
