//! Filters of HTTPRoute and GRPCRoute as the API has them. A type of a later version is kept as data, so that its rule alone suffers.

use crate::{
    choices,
    form::Form,
    kinds::{BackendRef, ObjectReference, reference::refuse_repeats},
    schema::{Choice, Fields, Problem, Reader, suggestion},
};

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Edits request headers.
    RequestHeaders(HeaderModifier),
    /// Edits response headers.
    ResponseHeaders(HeaderModifier),
    /// Copies requests.
    Mirror(Mirror),
    /// Redirects.
    Redirect(Redirect),
    /// Rewrites.
    Rewrite(UrlRewrite),
    /// Cross-origin requests.
    Cors(Cors),
    /// Asks another service whether a request may pass.
    ExternalAuth(ExternalAuth),
    /// A filter of an implementation.
    Extension(ObjectReference),
    /// A type of a later version.
    Unknown(String),
}

choices! {
    /// `type` of a filter.
    FilterKind {
        RequestHeaderModifier = "RequestHeaderModifier",
        ResponseHeaderModifier = "ResponseHeaderModifier",
        RequestMirror = "RequestMirror",
        RequestRedirect = "RequestRedirect",
        UrlRewrite = "URLRewrite",
        ExtensionRef = "ExtensionRef",
        Cors = "CORS",
        ExternalAuth = "ExternalAuth",
    }
}

/// HTTPHeaderFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    /// Replaced.
    pub set: Vec<(String, String)>,
    /// Added.
    pub add: Vec<(String, String)>,
    /// Removed.
    pub remove: Vec<String>,
}

/// HTTPRequestMirrorFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub backend: BackendRef,
    /// Share: numerator and denominator; all where none is written.
    pub fraction: Option<(u32, u32)>,
}

/// HTTPPathModifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// The whole path.
    Full(String),
    /// The matched prefix.
    Prefix(String),
    /// A type of a later version.
    Unknown(String),
}

/// HTTPRequestRedirectFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; other values are of a later version.
    pub scheme: Option<String>,
    /// Host.
    pub hostname: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathModifier>,
    /// 302 by default.
    pub status: u16,
}

/// HTTPURLRewriteFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlRewrite {
    /// Host.
    pub hostname: Option<String>,
    /// Path.
    pub path: Option<PathModifier>,
}

/// HTTPCORSFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins.
    pub allow_origins: Vec<String>,
    /// Credentials.
    pub allow_credentials: bool,
    /// Methods.
    pub allow_methods: Vec<String>,
    /// Request headers.
    pub allow_headers: Vec<String>,
    /// Response headers.
    pub expose_headers: Vec<String>,
    /// Seconds, 5 by default.
    pub max_age_s: u32,
}

/// HTTPExternalAuthFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalAuth {
    /// What the service speaks.
    pub protocol: AuthProtocol,
    /// The service.
    pub backend: BackendRef,
    /// Request headers that it gets.
    pub allowed_headers: Vec<String>,
    /// Response headers of its that go on to the backend; HTTP only.
    pub allowed_response_headers: Vec<String>,
    /// Path of its requests; HTTP only.
    pub path: Option<String>,
    /// Bytes of body that it gets, none where it is not written.
    pub body_max_bytes: Option<u32>,
}

choices! {
    /// What an authorization service speaks.
    AuthProtocol { Http = "HTTP", Grpc = "GRPC" }
}

choices! {
    /// Methods of CORS.
    CorsMethod {
        Get = "GET", Head = "HEAD", Post = "POST", Put = "PUT", Delete = "DELETE", Connect = "CONNECT",
        Options = "OPTIONS", Trace = "TRACE", Patch = "PATCH", Any = "*",
    }
}

choices! {
    /// Schemes of a redirect.
    RedirectScheme { Http = "http", Https = "https" }
}

choices! {
    /// `type` of a path modifier.
    PathModifierKind { Full = "ReplaceFullPath", Prefix = "ReplacePrefixMatch" }
}

/// The field that carries each type.
const FIELDS: [(&str, FilterKind); 8] = [
    ("requestHeaderModifier", FilterKind::RequestHeaderModifier),
    ("responseHeaderModifier", FilterKind::ResponseHeaderModifier),
    ("requestMirror", FilterKind::RequestMirror),
    ("requestRedirect", FilterKind::RequestRedirect),
    ("urlRewrite", FilterKind::UrlRewrite),
    ("extensionRef", FilterKind::ExtensionRef),
    ("cors", FilterKind::Cors),
    ("externalAuth", FilterKind::ExternalAuth),
];

/// What GRPCRoute has of them.
const GRPC_KINDS: [FilterKind; 4] = [
    FilterKind::ResponseHeaderModifier,
    FilterKind::RequestHeaderModifier,
    FilterKind::RequestMirror,
    FilterKind::ExtensionRef,
];

impl Filter {
    /// Its type, as the API writes it.
    pub fn kind(&self) -> &str {
        match self {
            Self::RequestHeaders(_) => "RequestHeaderModifier",
            Self::ResponseHeaders(_) => "ResponseHeaderModifier",
            Self::Mirror(_) => "RequestMirror",
            Self::Redirect(_) => "RequestRedirect",
            Self::Rewrite(_) => "URLRewrite",
            Self::Cors(_) => "CORS",
            Self::ExternalAuth(_) => "ExternalAuth",
            Self::Extension(_) => "ExtensionRef",
            Self::Unknown(kind) => kind,
        }
    }

    /// The backend that it names.
    pub fn backend(&self) -> Option<&BackendRef> {
        match self {
            Self::Mirror(mirror) => Some(&mirror.backend),
            Self::ExternalAuth(auth) => Some(&auth.backend),
            _ => None,
        }
    }

    /// `filters` of a rule or a backend, with the rules of the API on repetition.
    pub(crate) fn read_list(fields: &mut Fields<'_>, grpc: bool) -> Vec<Self> {
        let Some(list) = fields.get("filters") else { return Vec::new() };
        let elements = list.list(0..=16);
        let filters: Vec<Self> = elements.iter().map(|at| Self::read(at, grpc)).collect();
        for (index, filter) in filters.iter().enumerate() {
            let mut earlier = filters[..index].iter();
            if !may_repeat(filter) && earlier.any(|other| other.kind() == filter.kind()) {
                let message = format!("{} stands here a second time", filter.kind());
                elements[index].error(message, "join both filters into one");
            }
        }
        let has = |kind| filters.iter().any(|filter| filter.kind() == kind);
        if has("RequestRedirect") && has("URLRewrite") {
            list.error("has RequestRedirect and URLRewrite", "keep one of them: a redirected request is not forwarded");
        }
        filters
    }

    pub(crate) fn read(at: &Reader<'_>, grpc: bool) -> Self {
        let mut fields = at.fields();
        let kind = fields.need("type").map(|at| read_kind(&at, grpc)).unwrap_or_default();
        let carrier = FIELDS.iter().find(|(_, of)| *of == kind).map(|(field, _)| *field);
        for (field, of) in FIELDS {
            let known = !grpc || GRPC_KINDS.contains(&of);
            if !known || matches!(kind, FilterKind::Unknown(_)) {
                continue;
            }
            if Some(field) != carrier && fields.get(field).is_some() {
                let message = format!("has {field}, but its type is {}", kind.as_str());
                at.error(message, format!("write type: {}, or leave out {field}", of.as_str()));
            }
        }
        match carrier.and_then(|field| fields.need(field)) {
            Some(body) => Self::read_body(&kind, &body),
            // a filter of a later version, or one whose body is missing and was reported
            None => {
                skip_everything(&mut fields, &kind);
                Self::Unknown(kind.as_str().to_owned())
            }
        }
    }

    fn read_body(kind: &FilterKind, at: &Reader<'_>) -> Self {
        match kind {
            FilterKind::RequestHeaderModifier => Self::RequestHeaders(HeaderModifier::read(at)),
            FilterKind::ResponseHeaderModifier => Self::ResponseHeaders(HeaderModifier::read(at)),
            FilterKind::RequestMirror => Self::Mirror(Mirror::read(at)),
            FilterKind::RequestRedirect => Self::Redirect(Redirect::read(at)),
            FilterKind::UrlRewrite => Self::Rewrite(UrlRewrite::read(at)),
            FilterKind::ExtensionRef => Self::Extension(ObjectReference::read_local(at)),
            FilterKind::Cors => Self::Cors(Cors::read(at)),
            FilterKind::ExternalAuth => Self::ExternalAuth(ExternalAuth::read(at)),
            FilterKind::Unknown(kind) => Self::Unknown(kind.clone()),
        }
    }
}

fn read_kind(at: &Reader<'_>, grpc: bool) -> FilterKind {
    let kind = FilterKind::of(&at.text(Form::ANY));
    let known = !matches!(kind, FilterKind::Unknown(_)) && (!grpc || GRPC_KINDS.contains(&kind));
    if known || !at.value().is_string() {
        return kind;
    }
    let names: &[&str] = if grpc {
        &["ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"]
    } else {
        FilterKind::NAMES
    };
    let message = format!("{:?} is no filter of this version, so its rule answers 500", kind.as_str());
    at.warn(message, suggestion(kind.as_str(), names.iter().copied()));
    FilterKind::Unknown(kind.as_str().to_owned())
}

fn skip_everything(fields: &mut Fields<'_>, kind: &FilterKind) {
    if matches!(kind, FilterKind::Unknown(_)) {
        fields.open();
    }
}

fn may_repeat(filter: &Filter) -> bool {
    matches!(filter, Filter::Mirror(_) | Filter::Extension(_) | Filter::ExternalAuth(_) | Filter::Unknown(_))
}

impl HeaderModifier {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            set: read_headers(&mut fields, "set"),
            add: read_headers(&mut fields, "add"),
            remove: read_set(&mut fields, "remove", 16, Form::ANY),
        }
    }
}

fn read_headers(fields: &mut Fields<'_>, key: &'static str) -> Vec<(String, String)> {
    let pairs = fields.each(key, 0..=16, |at| {
        let mut fields = at.fields();
        (fields.need_text("name", Form::HEADER_NAME), fields.need_text("value", Form::HEADER_VALUE))
    });
    let report = fields.at().report();
    refuse_repeats(report, &fields.at().path().key(key), pairs.iter().map(|(name, _)| name), "name");
    pairs
}

/// A list whose elements the API keeps distinct.
fn read_set(fields: &mut Fields<'_>, key: &'static str, most: usize, form: Form) -> Vec<String> {
    let texts = fields.texts(key, 0..=most, form);
    refuse_repeats(fields.at().report(), &fields.at().path().key(key), texts.iter(), "element");
    texts
}

impl Mirror {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let backend = fields.need("backendRef").map(|at| BackendRef::read(&at)).unwrap_or_default();
        let percent =
            fields.number("percent", 0..=100).map(|percent| (u32::try_from(percent).unwrap_or_default(), 100));
        let fraction = fields.get("fraction").map(|at| read_fraction(&at));
        if percent.is_some() && fraction.is_some() {
            at.error("has percent and fraction", "keep one of them");
        }
        Self { backend, fraction: fraction.or(percent) }
    }
}

fn read_fraction(at: &Reader<'_>) -> (u32, u32) {
    let mut fields = at.fields();
    let most = i64::from(i32::MAX);
    let numerator = fields.need("numerator").map(|at| at.number(0..=most)).unwrap_or_default();
    let denominator = fields.number("denominator", 1..=most).unwrap_or(100);
    if numerator > denominator {
        at.error(format!("{numerator} of {denominator} is more than all"), "write a numerator up to the denominator");
    }
    (u32::try_from(numerator).unwrap_or_default(), u32::try_from(denominator).unwrap_or(1))
}

impl PathModifier {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let kind: PathModifierKind = fields.need("type").map(|at| at.choice()).unwrap_or_default();
        let full = fields.text("replaceFullPath", Form::PATH);
        let prefix = fields.text("replacePrefixMatch", Form::PATH);
        let wanted = kind.as_str().to_owned();
        match (kind, full, prefix) {
            (PathModifierKind::Full, Some(path), None) => Self::Full(path),
            (PathModifierKind::Prefix, None, Some(path)) => Self::Prefix(path),
            (PathModifierKind::Unknown(kind), ..) => Self::Unknown(kind),
            (PathModifierKind::Full, ..) => {
                at.error(
                    format!("type {wanted} goes with replaceFullPath alone"),
                    "write replaceFullPath: with the new path",
                );
                Self::Unknown(wanted)
            }
            (PathModifierKind::Prefix, ..) => {
                let remedy = "write replacePrefixMatch: with what replaces the matched prefix";
                at.error(format!("type {wanted} goes with replacePrefixMatch alone"), remedy);
                Self::Unknown(wanted)
            }
        }
    }
}

impl Redirect {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            scheme: fields.choice::<RedirectScheme>("scheme").map(|scheme| scheme.as_str().to_owned()),
            hostname: fields.text("hostname", Form::PRECISE_HOSTNAME),
            port: fields.port("port"),
            path: fields.get("path").map(|at| PathModifier::read(&at)),
            status: fields.get("statusCode").map_or(302, |at| read_status(&at)),
        }
    }
}

fn read_status(at: &Reader<'_>) -> u16 {
    let status = at.number(0..=i64::MAX);
    if at.value().is_i64() && ![301, 302, 303, 307, 308].contains(&status) {
        at.error(format!("{status} is no status of a redirect"), "write 301, 302, 303, 307 or 308");
    }
    u16::try_from(status).unwrap_or_default()
}

impl UrlRewrite {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        Self {
            hostname: fields.text("hostname", Form::PRECISE_HOSTNAME),
            path: fields.get("path").map(|at| PathModifier::read(&at)),
        }
    }
}

impl Cors {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let methods: Vec<CorsMethod> = fields.each("allowMethods", 0..=9, Reader::choice);
        let path = at.path().key("allowMethods");
        refuse_repeats(at.report(), &path, methods.iter().map(CorsMethod::as_str), "method");
        let cors = Self {
            allow_origins: read_set(&mut fields, "allowOrigins", 64, Form::ORIGIN),
            allow_credentials: fields.flag("allowCredentials").unwrap_or_default(),
            allow_methods: methods.iter().map(|method| method.as_str().to_owned()).collect(),
            allow_headers: read_set(&mut fields, "allowHeaders", 64, Form::HEADER_NAME),
            expose_headers: read_set(&mut fields, "exposeHeaders", 64, Form::HEADER_NAME),
            max_age_s: fields
                .number("maxAge", 1..=i64::from(i32::MAX))
                .map_or(5, |seconds| u32::try_from(seconds).unwrap_or_default()),
        };
        let lists = [
            ("allowOrigins", &cors.allow_origins),
            ("allowMethods", &cors.allow_methods),
            ("allowHeaders", &cors.allow_headers),
        ];
        for (field, list) in lists {
            if list.len() > 1 && list.iter().any(|entry| entry == "*") {
                let path = at.path().key(field);
                at.report().add(Problem::error(
                    path,
                    "has \"*\" beside other entries",
                    "write \"*\" alone, or leave it out",
                ));
            }
        }
        cors
    }
}

impl ExternalAuth {
    fn read(at: &Reader<'_>) -> Self {
        let mut fields = at.fields();
        let protocol: AuthProtocol = fields.need("protocol").map(|at| at.choice()).unwrap_or_default();
        let mut auth = Self {
            protocol,
            backend: fields.need("backendRef").map(|at| BackendRef::read(&at)).unwrap_or_default(),
            ..Self::default()
        };
        let (grpc, http) = (fields.get("grpc"), fields.get("http"));
        for (body, of) in [(&grpc, AuthProtocol::Grpc), (&http, AuthProtocol::Http)] {
            let field = of.as_str().to_lowercase();
            match (body.is_some(), auth.protocol == of) {
                (true, false) => {
                    at.error(format!("has {field}, but its protocol is another"), format!("leave out {field}"))
                }
                (false, true) => at.error(format!("{field} is missing"), format!("write {field}: {{}}")),
                _ => {}
            }
        }
        if let Some(grpc) = grpc {
            auth.allowed_headers = read_set(&mut grpc.fields(), "allowedHeaders", 64, Form::ANY);
        }
        if let Some(http) = http {
            let mut fields = http.fields();
            auth.allowed_headers = read_set(&mut fields, "allowedHeaders", 64, Form::ANY);
            auth.allowed_response_headers = read_set(&mut fields, "allowedResponseHeaders", 64, Form::ANY);
            auth.path = fields.text("path", Form::AUTH_PATH);
        }
        let size = |at: Reader<'_>| at.fields().number("maxSize", 0..=i64::from(i32::MAX)).unwrap_or_default();
        auth.body_max_bytes = fields.get("forwardBody").map(|at| u32::try_from(size(at)).unwrap_or_default());
        auth
    }
}
