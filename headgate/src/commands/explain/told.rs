//! An explanation as people read it. It repeats what the gateway said and decides nothing.

use super::routes;
use headgate_config::{
    Activation, ArmTarget, AuthProtocol, Carrier, ColdArm, Cors, ExternalAuth, Filter, HeaderEdit, HostPattern, Match,
    OriginPattern, PathEdit, Redirect, Retry, Rewrite, Session, Timeouts,
};
use serde::Deserialize;
use std::fmt::Write;

/// What the gateway said.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    version: u64,
    port: u16,
    method: String,
    host: String,
    path: String,
    verdict: String,
    listener: Option<String>,
    #[serde(default)]
    listener_filters: Vec<Filter>,
    other_listeners: Vec<OtherListener>,
    winner: Option<Contender>,
    losers: Vec<Contender>,
    losers_omitted: usize,
    near_misses: Vec<Contender>,
    near_misses_omitted: usize,
    invalid: Option<String>,
    filters: Vec<Filter>,
    split: Vec<Share>,
    cold: ColdArm,
    timeouts: Timeouts,
    retry: Option<Retry>,
    /// Only of a gateway that runs.
    backends: Option<Vec<Backend>>,
}

#[derive(Deserialize)]
struct OtherListener {
    listener: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contender {
    rule: String,
    #[serde(default)]
    title: String,
    host: HostPattern,
    at: usize,
    matching: Match,
    decided_by: Option<String>,
    failed: Option<String>,
}

#[derive(Deserialize)]
struct Share {
    backend: Option<String>,
    percent: f64,
    #[serde(default)]
    filters: Vec<Filter>,
    invalid: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Backend {
    name: String,
    queued: u64,
    in_flight: u64,
    endpoints: Vec<Endpoint>,
    activation: Activation,
}

#[derive(Deserialize)]
struct Endpoint {
    ready: bool,
    ejected: bool,
    listed: bool,
}

impl Told {
    /// All of it, with the answer first.
    pub fn text(&self, url: &str, colours: bool) -> String {
        let mut out = String::new();
        let version = if self.version == 0 { String::new() } else { format!(", routes v{}", self.version) };
        let _ = writeln!(
            out,
            "{} {url} (host {}, path {}, port {}{version})",
            self.method, self.host, self.path, self.port
        );
        let verdict = self.verdict();
        let colour = if self.verdict == "found" { "1;32" } else { "1;31" };
        let _ = match colours {
            true => writeln!(out, "\x1b[{colour}m{verdict}\x1b[0m"),
            false => writeln!(out, "{verdict}"),
        };
        for filter in &self.listener_filters {
            let _ = writeln!(out, "  {:<9} {}", "first", describe(filter));
        }
        self.winner(&mut out);
        section(&mut out, "Rules that match too", &self.losers, self.losers_omitted, |loser| {
            format!("lost by {}", loser.decided_by.as_deref().unwrap_or("rank"))
        });
        section(
            &mut out,
            "Rules of this host that do not match",
            &self.near_misses,
            self.near_misses_omitted,
            |miss| format!("fails in {}", miss.failed.as_deref().unwrap_or("a match")),
        );
        if self.listener.is_none() && !self.other_listeners.is_empty() {
            out.push_str("\nListeners of the port:\n");
            for other in &self.other_listeners {
                let _ = writeln!(out, "  {}: {}", other.listener, other.reason);
            }
        }
        out
    }

    fn verdict(&self) -> String {
        let listener = self.listener.as_deref().unwrap_or_default();
        match self.verdict.as_str() {
            "found" => format!("goes to {}", self.winner.as_ref().map_or("", |winner| &winner.rule)),
            "invalid" => {
                let why = self.invalid.as_deref().unwrap_or_default();
                match &self.winner {
                    Some(winner) => format!("500: {} takes it and cannot serve: {why}", winner.rule),
                    None => format!("500: listener {listener} takes it, and its filters come to nothing: {why}"),
                }
            }
            "noListener" if self.other_listeners.is_empty() => format!("404: no listener is on port {}", self.port),
            "noListener" => format!("404: no listener of port {} takes {}", self.port, self.host),
            "noHost" => format!("404: listener {listener} takes {}, but no rule on it does", self.host),
            "noMatch" => format!("404: rules have {}, but none matches this request", self.host),
            other => other.to_owned(),
        }
    }

    fn winner(&self, out: &mut String) {
        let Some(winner) = &self.winner else { return };
        let mut line = |name: &str, text: &str| {
            let _ = writeln!(out, "  {name:<9} {text}");
        };
        line("match", &winner.describe());
        line("listener", self.listener.as_deref().unwrap_or_default());
        for filter in &self.filters {
            line("filter", &describe(filter));
        }
        for share in &self.split {
            line("to", &self.share(share));
            for filter in &share.filters {
                line("", &format!("     filter {}", describe(filter)));
            }
        }
        if self.split.len() > 1 || self.backends.is_some() {
            line("if cold", cold(self.cold));
        }
        line("timeouts", &timeouts(self.timeouts));
        if let Some(retry) = &self.retry {
            line("retry", &describe_retry(retry));
        }
    }

    fn share(&self, share: &Share) -> String {
        let percent = routes::percent(share.percent);
        let Some(backend) = &share.backend else {
            return format!("{percent:>5} 500: {}", share.invalid.as_deref().unwrap_or("no backend"));
        };
        let known = self.backends.iter().flatten().find(|known| known.name == *backend);
        let state = known.map_or_else(String::new, |known| format!("  {}", known.state()));
        let invalid = share.invalid.as_ref().map_or_else(String::new, |why| format!("  500: {why}"));
        format!("{percent:>5} {backend}{state}{invalid}")
    }
}

impl Contender {
    fn describe(&self) -> String {
        let Match { path, method, headers, queries } = &self.matching;
        let also = routes::also(method.as_deref(), headers, queries, true);
        let also = if also.is_empty() { also } else { format!(", {also}") };
        let title = if self.title.is_empty() { String::new() } else { format!(", named {}", self.title) };
        format!("path {}{also} on host {} (matches[{}]{title})", routes::path(path), self.host, self.at)
    }
}

impl Backend {
    fn state(&self) -> String {
        let listed = || self.endpoints.iter().filter(|endpoint| endpoint.listed);
        let queued = if self.queued > 0 { format!(", {} waiting", self.queued) } else { String::new() };
        match &self.activation {
            Activation::Broken { reason } => format!("broken: {reason}"),
            Activation::Waking => format!("starting{queued}"),
            Activation::Closing => format!("closing{queued}"),
            Activation::Ready if listed().next().is_none() => format!("cold{queued}"),
            Activation::Ready => {
                let ready = listed().filter(|endpoint| endpoint.ready && !endpoint.ejected).count();
                let ejected = listed().filter(|endpoint| endpoint.ejected).count();
                let ejected = if ejected > 0 { format!(", {ejected} ejected") } else { String::new() };
                format!("{ready} of {} ready{ejected}, {} in flight{queued}", listed().count(), self.in_flight)
            }
        }
    }
}

fn section(out: &mut String, title: &str, list: &[Contender], omitted: usize, why: impl Fn(&Contender) -> String) {
    if list.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    for one in list {
        let _ = writeln!(out, "  {}: {}; {}", one.rule, one.describe(), why(one));
    }
    if omitted > 0 {
        let _ = writeln!(out, "  and {omitted} more");
    }
}

const fn cold(arm: ColdArm) -> &'static str {
    match arm {
        ColdArm::Hold => "hold: the request waits for the start",
        ColdArm::Shift => "shift: the request goes to a warm arm, and the cold one is woken",
        ColdArm::Reject => "reject: 503, and the cold one is woken",
    }
}

fn timeouts(timeouts: Timeouts) -> String {
    let one = |name: &str, ms: Option<u64>, default: &str| match ms {
        None => format!("{name} {default}"),
        Some(0) => format!("{name} none"),
        Some(ms) => format!("{name} {}", time(ms)),
    };
    let request = one("request", timeouts.request_ms, "by --request-timeout");
    format!("{request}, {}", one("each try", timeouts.attempt_ms, "none"))
}

/// `10s`, `1500ms`.
fn time(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

fn describe_retry(retry: &Retry) -> String {
    let codes: Vec<String> = retry.codes.iter().map(ToString::to_string).collect();
    let codes = if codes.is_empty() { String::new() } else { format!(" and answers {}", codes.join(", ")) };
    let pause = retry.backoff_ms.map_or_else(|| "by --retry-backoff".to_owned(), |ms| format!("{} at least", time(ms)));
    format!("{} more tries after connection errors{codes}; pause {pause}", retry.attempts)
}

/// A filter in words.
fn describe(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(edit) => format!("request headers: {}", describe_edit(edit)),
        Filter::ResponseHeaders(edit) => format!("response headers: {}", describe_edit(edit)),
        Filter::Redirect(redirect) => describe_redirect(redirect),
        Filter::Rewrite(Rewrite { host, path }) => {
            let host = host.iter().map(|host| format!("host to {host}"));
            let parts: Vec<String> = host.chain(path.iter().map(describe_path)).collect();
            format!("rewrite: {}", parts.join(", "))
        }
        Filter::Mirror { backend, fraction } => {
            format!("mirror: a copy of {} in {} to {backend}", fraction.numerator, fraction.denominator)
        }
        Filter::Cors(cors) => describe_cors(cors),
        Filter::ExternalAuth(auth) => describe_auth(auth),
        Filter::Session(session) => describe_session(session),
        Filter::Unsupported(name) => format!("{name}: not supported by this version, answers 500"),
    }
}

fn describe_edit(edit: &HeaderEdit) -> String {
    let pairs = |verb: &str, pairs: &[(String, String)]| {
        pairs.iter().map(|(name, value)| format!("{verb} {name}: {value}")).collect::<Vec<_>>()
    };
    let mut parts = pairs("set", &edit.set);
    parts.extend(pairs("add", &edit.add));
    parts.extend(edit.remove.iter().map(|name| format!("remove {name}")));
    parts.join(", ")
}

fn describe_redirect(redirect: &Redirect) -> String {
    let Redirect { scheme, host, port, path, status } = redirect;
    let mut parts = vec![format!("redirect: {status}")];
    parts.extend(scheme.iter().map(|scheme| format!("scheme to {}", scheme.as_str())));
    parts.extend(host.iter().map(|host| format!("host to {host}")));
    parts.extend(port.iter().map(|port| format!("port to {port}")));
    parts.extend(path.iter().map(describe_path));
    parts.join(", ")
}

fn describe_path(edit: &PathEdit) -> String {
    match edit {
        PathEdit::Full(path) => format!("path to {path}"),
        PathEdit::Prefix(prefix) => format!("matched prefix to {prefix}"),
    }
}

fn describe_session(session: &Session) -> String {
    let carrier = match &session.carrier {
        Carrier::Cookie { name, path, permanent } => {
            format!("{}cookie {name} for {path}", if *permanent { "permanent " } else { "" })
        }
        Carrier::Header(name) => format!("header {name}"),
    };
    let lifetime = session.lifetime_ms.map(|ms| format!(", for {}", time(ms))).unwrap_or_default();
    format!("session: one endpoint for each client, by {carrier}{lifetime}")
}

fn describe_auth(auth: &ExternalAuth) -> String {
    let service = match &auth.service {
        ArmTarget::Backend(name) => name.to_string(),
        ArmTarget::Invalid(why) => format!("nobody, answers 500: {why}"),
    };
    let names = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!(", {what} {}", names.join(" ")),
    };
    let body =
        if auth.body_bytes > 0 { format!(", with bodies of up to {} B", auth.body_bytes) } else { String::new() };
    let sent = names("sent", &auth.request_headers);
    match &auth.protocol {
        AuthProtocol::Grpc => format!("authorization over gRPC: asks {service}{sent}{body}"),
        AuthProtocol::Http { prefix, answer_headers } => {
            let before = if prefix.is_empty() { String::new() } else { format!(" below {prefix}") };
            let passed_on = names("passed on", answer_headers);
            format!("authorization over HTTP: asks {service}{before}{sent}{body}{passed_on}")
        }
    }
}

fn describe_cors(cors: &Cors) -> String {
    let origin = |origin: &OriginPattern| match origin {
        OriginPattern::Any => "*".to_owned(),
        OriginPattern::Exact(origin) => origin.clone(),
        OriginPattern::Wildcard { scheme, suffix } => format!("{scheme}*{suffix}"),
    };
    let origins: Vec<String> = cors.origins.iter().map(origin).collect();
    let credentials = if cors.credentials { ", with credentials" } else { "" };
    format!("CORS: origins {}, methods {}{credentials}", origins.join(" "), cors.methods.join(" "))
}
