//! Filters as data: each is one step that a rule applies. What they do stands in `gateway/src/filters`; never here.

use crate::{ArmTarget, BackendName, Session};
use serde::{Deserialize, Serialize};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Filter {
    /// Edits the headers sent to the backend.
    RequestHeaders(HeaderEdit),
    /// Edits the headers sent to the client.
    ResponseHeaders(HeaderEdit),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes host or path of what is sent to the backend.
    Rewrite(Rewrite),
    /// Sends a copy elsewhere and ignores what comes back.
    Mirror {
        /// Where to.
        backend: BackendName,
        /// Which share of the requests.
        fraction: Fraction,
    },
    /// Answers preflights and decorates answers (Fetch standard, CORS protocol).
    Cors(Cors),
    /// Asks another service whether a request may pass.
    // boxed: rare, and it would make every filter larger
    ExternalAuth(Box<ExternalAuth>),
    /// Keeps a client at the endpoint that served it, within the chosen arm.
    // boxed: as before
    Session(Box<Session>),
    /// A filter that this version does not know: the rule answers 500 and says which.
    Unsupported(String),
}

impl Filter {
    /// The Backend that it names.
    pub fn backend(&self) -> Option<&BackendName> {
        match self {
            Self::Mirror { backend, .. } => Some(backend),
            Self::ExternalAuth(auth) => match &auth.service {
                ArmTarget::Backend(backend) => Some(backend),
                ArmTarget::Invalid(_) => None,
            },
            Self::RequestHeaders(_)
            | Self::ResponseHeaders(_)
            | Self::Redirect(_)
            | Self::Rewrite(_)
            | Self::Cors(_)
            | Self::Session(_)
            | Self::Unsupported(_) => None,
        }
    }

    /// Whether what it names is asked over gRPC.
    pub fn speaks_grpc(&self) -> bool {
        matches!(self, Self::ExternalAuth(auth) if auth.protocol == AuthProtocol::Grpc)
    }
}

/// Edits of headers: `set`, then `add`, then `remove`. Names lower-case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderEdit {
    /// Replaces all values of a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    /// Adds a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<(String, String)>,
    /// Removes all values of a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The text before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is left out of a URL.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// How a path is changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathEdit {
    /// The whole path.
    Full(String),
    /// The prefix that the rule matched.
    Prefix(String),
}

/// A redirect: what is `None` is taken from the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// New scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// New host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// New port; without one the scheme's own if a scheme is given, otherwise the listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// New path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A rewrite: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// New Host / :authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// New path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathEdit>,
}

/// A share: numerator of denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fraction {
    /// 0 to the denominator.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

/// HTTPCORSFilter of Gateway API v1.7.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins that may read.
    pub origins: Vec<OriginPattern>,
    /// Whether credentials may be sent.
    pub credentials: bool,
    /// Methods, upper-case; `*` for any.
    pub methods: Vec<String>,
    /// Request headers, lower-case; `*` for any.
    pub headers: Vec<String>,
    /// Response headers that a script may read.
    pub expose: Vec<String>,
    /// How long a preflight may be kept, in seconds.
    pub max_age_s: u32,
}

/// An origin: `*`, or `scheme://host[:port]` whose host may start with `*.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OriginPattern {
    /// Every origin.
    Any,
    /// Exactly this text.
    Exact(String),
    /// `scheme://`, any labels, then `.suffix[:port]`.
    Wildcard {
        /// `http://` or `https://`, with the slashes.
        scheme: String,
        /// `.suffix[:port]`, with the dot.
        suffix: String,
    },
}

/// HTTPExternalAuthFilter of Gateway API v1.7.0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    /// The service that is asked. Where it leads nowhere, every request is answered 500: nothing passes unasked.
    pub service: ArmTarget,
    /// What is spoken to it.
    pub protocol: AuthProtocol,
    /// Request headers that it gets, lower-case. Over HTTP beside those that it always gets; over gRPC all where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    /// Bytes of body that it gets at most; 0 is none. A request with a longer body is refused.
    #[serde(default)]
    pub body_bytes: u32,
}

/// What is spoken to a service that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthProtocol {
    /// The request without its body; 200 lets it pass.
    #[serde(rename_all = "camelCase")]
    Http {
        /// Put before the path; empty, or a path that does not end with `/`.
        prefix: String,
        /// Headers of the answer that the backend gets, lower-case; where none is named, all that do not describe the answer.
        answer_headers: Vec<String>,
    },
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}
