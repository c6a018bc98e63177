//! Why a request got an answer of our own: one table of which answer, metric label, log field, retry and docs/failures.md are made. Never a secret in an answer.

use headgate_message::ResponseHead;
use std::{fmt, time::Duration};

/// Whose doing a failure is. Only what is `Upstream`'s counts against an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client sent something wrong, too slowly, or left.
    Client,
    /// The gateway refused, by its routes, its bounds or a defect of its own.
    Gateway,
    /// The endpoint or the way to it.
    Upstream,
    /// The function does not start.
    Function,
}

/// What another try may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails again, or may have been carried out.
    Never,
    /// Nothing was sent: at once, on another endpoint.
    OtherEndpoint,
    /// On another endpoint if no byte of the request was sent, or if the rule allows retries and the method is idempotent.
    IfUnsent,
    /// By the client, after `Retry-After`; the gateway itself does not try.
    Later,
}

/// All that is said of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose doing.
    pub side: Side,
    /// Its one name in log, metric, header, body and docs.
    pub name: &'static str,
    /// HTTP status; [`LOG_ONLY`] where no answer can be sent.
    pub status: u16,
    /// What another try may do.
    pub retry: Retry,
    /// Error type of `Proxy-Status` (RFC 9209 §2.3).
    pub proxy_status: &'static str,
    /// gRPC status code.
    pub grpc: u8,
    /// What happened, for a person.
    pub text: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The status that the log has where the client cannot be answered any more.
pub const LOG_ONLY: u16 = 499;

// One row a failure; the variants, `ALL` and `row` come out of the same lines so that they cannot disagree.
macro_rules! failures {
    ($($variant:ident = $side:ident $name:literal $status:literal $retry:ident $proxy:literal grpc $grpc:literal:
        $text:literal, $remedy:literal;)+) => {
        /// Why a request got an answer of our own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Failure {
            $(#[doc = $text] $variant,)+
        }

        impl Failure {
            /// Every failure, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The row of the table.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        side: Side::$side,
                        name: $name,
                        status: $status,
                        retry: Retry::$retry,
                        proxy_status: $proxy,
                        grpc: $grpc,
                        text: $text,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

failures! {
    // What came in.
    MalformedRequest = Client "malformed_request" 400 Never "http_request_error" grpc 13:
        "the request is not valid HTTP", "send a message as RFC 9112 or RFC 9113 has it; the detail names the place";
    AmbiguousFraming = Client "ambiguous_framing" 400 Never "http_request_error" grpc 13:
        "the end of the request's body is ambiguous", "send one Content-Length or one \"Transfer-Encoding: chunked\", never both";
    BadTarget = Client "bad_target" 400 Never "http_request_error" grpc 13:
        "the request target is refused", "send a path without dot segments, with well-formed percent-escapes";
    BadHost = Client "bad_host" 400 Never "http_request_error" grpc 13:
        "the Host is missing, repeated or no host name", "send exactly one Host field (or :authority) with a host name and an optional port";
    BadChunk = Client "bad_chunk" 400 Never "http_request_error" grpc 13:
        "the chunked body is malformed", "send chunks as RFC 9112 §7.1 has them; the connection was closed";
    HeadTooLarge = Client "head_too_large" 431 Never "http_request_error" grpc 8:
        "the header fields are too many or too large", "send fewer or shorter fields (often cookies), or raise --head-bytes or --head-fields";
    TargetTooLong = Client "target_too_long" 414 Never "http_request_error" grpc 8:
        "the request target is too long", "move data from the query into the body, or raise --target-bytes";
    ExpectationFailed = Client "expectation_failed" 417 Never "http_request_error" grpc 13:
        "the Expect field asks for something unknown", "send no Expect, or 100-continue";
    VersionNotSupported = Client "version_not_supported" 505 Never "http_request_error" grpc 13:
        "the HTTP version is not supported", "speak HTTP/1.0, HTTP/1.1 or HTTP/2";
    MethodNotSupported = Client "method_not_supported" 501 Never "http_request_error" grpc 12:
        "the method is not supported", "use a method that the function knows; CONNECT and TRACE are not forwarded";
    BodyTooLarge = Client "body_too_large" 413 Never "http_request_error" grpc 8:
        "the request body is too large", "send less, or raise --body-bytes";
    HeadTimeout = Client "head_timeout" 408 Later "http_request_error" grpc 14:
        "the request head did not arrive in time", "send the head at once, or raise --head-timeout";
    BodyTimeout = Client "body_timeout" 408 Never "http_request_error" grpc 14:
        "the request body stood still for too long, or came too slowly", "send on, or raise --body-idle or lower --body-bytes-per-s";
    ClientGone = Client "client_gone" 499 Never "connection_terminated" grpc 1:
        "the client left before the answer was complete", "nothing; a client's own time limit below the function's time shows here";
    WriteStall = Client "write_stall" 499 Never "connection_write_timeout" grpc 1:
        "the client did not read its answer", "read on, or raise --write-stall; the connection was closed";

    // Connections and datagrams that are passed on and not read.
    BadProxyHeader = Client "bad_proxy_header" 499 Never "connection_terminated" grpc 13:
        "the connection does not begin with a header of the PROXY protocol, which this port expects", "let the load balancer send version 1 or 2 of it, or let this port not expect it; the detail has the reason, and the connection was closed";
    NotTls = Client "not_tls" 499 Never "tls_protocol_error" grpc 13:
        "the connection does not begin with a ClientHello of TLS", "speak TLS on this port, or connect to the port for plain text; the connection was closed";
    NoServerName = Client "no_server_name" 499 Never "tls_protocol_error" grpc 13:
        "the client sent no server name (SNI), and the routes of this port are found by it", "send the name of the host, as every TLS client does that was given a name and not an address";
    TlsRefused = Client "tls_refused" 499 Never "tls_protocol_error" grpc 13:
        "the TLS handshake with the client failed", "see the client's message; the detail has the reason";
    CarriedIdle = Gateway "carried_idle" 499 Never "connection_terminated" grpc 14:
        "nobody sent anything for too long", "send something now and then, or raise --tunnel-idle or --datagram-idle";

    // What the routes say.
    NoListener = Gateway "no_listener" 404 Never "destination_not_found" grpc 12:
        "no listener takes this host", "see `headgate routes` for the hosts that are served here";
    NoRoute = Gateway "no_route" 404 Never "destination_not_found" grpc 12:
        "no rule matches", "see `headgate explain URL` for the rules that came near";
    Misdirected = Client "misdirected" 421 Never "http_request_error" grpc 14:
        "this connection was opened for another host", "open a connection whose TLS server name is the host of the request";
    RuleInvalid = Gateway "rule_invalid" 500 Never "proxy_configuration_error" grpc 13:
        "the rule that matches is invalid", "see the conditions of its route, or `headgate check`";
    NoBackend = Gateway "no_backend" 500 Never "proxy_configuration_error" grpc 13:
        "the rule that matches has no backend of weight above 0", "give a backendRef of the rule a weight";
    BackendInvalid = Gateway "backend_invalid" 500 Never "proxy_configuration_error" grpc 13:
        "the chosen backendRef is invalid", "see the ResolvedRefs condition of the route, or `headgate check`";
    FilterUnsupported = Gateway "filter_unsupported" 500 Never "proxy_configuration_error" grpc 13:
        "the rule has a filter that this version does not know", "remove the filter, or use a version that has it";
    RewriteInvalid = Gateway "rewrite_invalid" 500 Never "proxy_configuration_error" grpc 13:
        "the rewrite or redirect makes a host or path that is refused", "correct hostname or path of the filter; dot segments and a leading // are refused";

    // Whom an ExternalAuth filter asks.
    AuthDenied = Client "auth_denied" 403 Never "http_request_denied" grpc 7:
        "the authorization service did not let the request pass", "send the credentials that the service asks for; its own answer goes to the client where it has one";
    AuthBodyTooLarge = Client "auth_body_too_large" 413 Never "http_request_error" grpc 8:
        "the request body is larger than what the authorization service may get", "send less, or raise forwardBody.maxSize of the filter";
    AuthUnavailable = Upstream "auth_unavailable" 503 Later "destination_unavailable" grpc 14:
        "the authorization service could not be asked, so nothing passes", "the detail has the reason; see the endpoints and the log of the service";
    AuthTimeout = Upstream "auth_timeout" 504 Never "connection_read_timeout" grpc 14:
        "the authorization service did not answer in time, so nothing passes", "see the load of the service, or raise --auth-timeout";
    AuthAnswerInvalid = Upstream "auth_answer_invalid" 502 Never "http_protocol_error" grpc 13:
        "the answer of the authorization service cannot be used, so nothing passes", "the detail has the reason; see what the service answers, and the protocol of the filter";

    // Waiting for a backend.
    QueueFull = Gateway "queue_full" 503 Later "connection_limit_reached" grpc 14:
        "as many requests wait for this backend as may", "come again after Retry-After; raise the function's maxReplicas or concurrency, or --queue-count and --queue-bytes";
    GatewayFull = Gateway "gateway_full" 503 Later "connection_limit_reached" grpc 14:
        "as many requests wait in this gateway as may", "come again after Retry-After; add gateways, or raise --queue-count-total and --queue-bytes-total";
    MemoryShed = Gateway "memory_shed" 503 Later "connection_limit_reached" grpc 14:
        "this gateway is short of memory and keeps no more", "come again after Retry-After; add gateways, or give this one more memory or raise --memory";
    QueueTimeout = Gateway "queue_timeout" 504 Later "connection_limit_reached" grpc 14:
        "no instance of the backend became free in time", "come again after Retry-After; raise the function's maxReplicas or concurrency, or its wait limit";
    ArmCold = Gateway "arm_cold" 503 Later "destination_unavailable" grpc 14:
        "the chosen arm of the split has no instance yet and its requests do not wait", "come again after Retry-After; set the cold policy to hold or shift";
    ActivationTimeout = Function "activation_timeout" 504 Later "destination_unavailable" grpc 14:
        "the function did not start in time", "see its log and events; raise its wait limit, or keep an instance with minReplicas";
    ActivationFailed = Function "activation_failed" 503 Later "destination_unavailable" grpc 14:
        "the function cannot start", "the detail has the reason; mend image, command or configuration of the function";
    NoEndpoints = Upstream "no_endpoints" 503 Later "destination_unavailable" grpc 14:
        "the backend has no ready endpoint", "see the Service's endpoints and the readiness of its Pods";
    Draining = Gateway "draining" 503 Later "destination_unavailable" grpc 14:
        "this gateway is stopping", "come again on a new connection";

    // The endpoint.
    ConnectRefused = Upstream "connect_refused" 502 OtherEndpoint "connection_refused" grpc 14:
        "the endpoint refused the connection", "see whether the application listens on the port of the Service";
    ConnectUnreachable = Upstream "connect_unreachable" 502 OtherEndpoint "destination_ip_unroutable" grpc 14:
        "there is no way to the endpoint", "see network policies, and whether the endpoint still exists";
    ConnectTimeout = Upstream "connect_timeout" 504 OtherEndpoint "connection_timeout" grpc 14:
        "the endpoint did not accept a connection in time", "see network policies and the endpoint's load, or raise --connect-timeout";
    UpstreamTls = Upstream "upstream_tls" 502 OtherEndpoint "tls_protocol_error" grpc 14:
        "TLS with the endpoint failed", "see BackendTLSPolicy and the endpoint's certificate; the detail has the reason";
    UpstreamTrust = Gateway "upstream_trust" 502 Never "proxy_configuration_error" grpc 14:
        "the BackendTLSPolicy of the backend is invalid", "see the conditions of the policy; nothing is sent in plain instead";
    UpstreamReset = Upstream "upstream_reset" 502 IfUnsent "connection_terminated" grpc 14:
        "the endpoint reset the connection or stream", "see the application's log for a crash";
    UpstreamClosedEarly = Upstream "upstream_closed_early" 502 IfUnsent "http_response_incomplete" grpc 14:
        "the endpoint closed the connection before it answered", "see the application's log; its keep-alive time may be too short";
    UpstreamMalformed = Upstream "upstream_malformed" 502 Never "http_protocol_error" grpc 14:
        "the endpoint's answer is not valid HTTP", "see what the application sends; appProtocol may be wrong";
    UpstreamHeadTooLarge = Upstream "upstream_head_too_large" 502 Never "http_response_header_section_size" grpc 14:
        "the endpoint's header fields are too many or too large", "send fewer, or raise --head-bytes or --head-fields";
    UpstreamTruncated = Upstream "upstream_truncated" 502 Never "http_response_incomplete" grpc 14:
        "the endpoint's answer ended before its end", "see the application's log; the client's connection or stream was aborted, so that it sees it too";
    UpgradeFailed = Upstream "upgrade_failed" 502 Never "http_upgrade_failed" grpc 14:
        "the endpoint switched protocols without being asked, or to another one", "see what the application answers to the upgrade";
    RetryBudgetSpent = Gateway "retry_budget_spent" 503 Later "destination_unavailable" grpc 14:
        "the try failed, and the retry budget of the backend allows no other", "see why the endpoints fail, as the detail says; raise budget or minRetryRate of the XBackendTrafficPolicy";

    // Time.
    RequestTimeout = Gateway "request_timeout" 504 Never "http_response_timeout" grpc 4:
        "the request took longer than its limit", "raise timeouts.request of the rule or --request-timeout";
    AttemptTimeout = Upstream "attempt_timeout" 504 IfUnsent "http_response_timeout" grpc 4:
        "the try took longer than its limit", "raise timeouts.backendRequest of the rule";
    UpstreamIdle = Upstream "upstream_idle" 504 Never "connection_read_timeout" grpc 14:
        "the endpoint sent nothing for too long", "send something now and then, or raise --upstream-idle";

    Internal = Gateway "internal" 500 Never "proxy_internal_error" grpc 13:
        "the gateway has a defect", "report it with the log line of this request";
}

/// An answer of our own names the gateway so in `Proxy-Status`.
const PROXY_NAME: &str = "headgate";
/// Longer details are cut, in bytes; a field of an answer is no place for a log.
const DETAIL_BYTES_MAX: usize = 256;

impl Failure {
    /// Its one name.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Its place in [`Failure::ALL`]: a dense id for counters.
    pub const fn id(self) -> usize {
        self as usize
    }

    /// Whether the client cannot be answered any more.
    pub const fn is_log_only(self) -> bool {
        self.row().status == LOG_ONLY
    }

    /// The answer: its head and its whole body.
    ///
    /// HTTP callers get one line of plain text; gRPC callers a trailers-only answer (HTTP 200 and `grpc-status`, no body).
    /// `detail` is for the client's eyes: never put a secret into it; control bytes are taken out here.
    /// Sources: RFC 9209 (`Proxy-Status`), RFC 9110 §10.2.3 (`Retry-After`), gRPC over HTTP/2 (Trailers-Only).
    pub fn answer(
        self,
        is_grpc: bool,
        request_id: &str,
        retry_after: Option<Duration>,
        detail: Option<&str>,
    ) -> (ResponseHead, Vec<u8>) {
        let row = self.row();
        let detail = detail.map(clean).filter(|text| !text.is_empty());
        let mut head = ResponseHead::new(if is_grpc { 200 } else { row.status });
        let fields = &mut head.fields;
        let mut body = Vec::new();
        if is_grpc {
            fields.push("content-type", b"application/grpc");
            fields.push("grpc-status", row.grpc.to_string().as_bytes());
            fields.push("grpc-message", percent_encode(&self.sentence(detail.as_deref())).as_bytes());
        } else {
            fields.push("content-type", b"text/plain; charset=utf-8");
            body = format!(
                "{} {}: {} ({}) {request_id}\n",
                row.status,
                reason_phrase(row.status),
                self.sentence(detail.as_deref()),
                row.name
            )
            .into_bytes();
        }
        fields.push("proxy-status", proxy_status(row, detail.as_deref()).as_bytes());
        // No cache may keep a 404 or 421 of ours: the next version of the routes may serve it.
        fields.push("cache-control", b"no-store");
        if let Some(wait) = retry_after.filter(|_| row.retry == Retry::Later) {
            if is_grpc {
                fields.push("grpc-retry-pushback-ms", wait.as_millis().to_string().as_bytes());
            } else {
                fields.push("retry-after", seconds_up(wait).to_string().as_bytes());
            }
        }
        if !request_id.is_empty() {
            fields.push("x-request-id", request_id.as_bytes());
        }
        (head, body)
    }

    fn sentence(self, detail: Option<&str>) -> String {
        match detail {
            Some(detail) => format!("{}: {detail}", self.row().text),
            None => self.row().text.to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason phrase of a status, `Unknown` where there is none.
pub fn reason_phrase(status: u16) -> &'static str {
    if status == LOG_ONLY {
        return "Client Closed Request";
    }
    http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Unknown")
}

/// The value of `Proxy-Status`: an sf-list of one member. Source: RFC 9209 §2, RFC 8941 §3.3.3.
fn proxy_status(row: Row, detail: Option<&str>) -> String {
    let mut value = format!("{PROXY_NAME}; error={}; details=\"{}", row.proxy_status, row.name);
    if let Some(detail) = detail {
        value.push_str(": ");
        for c in detail.chars() {
            match c {
                '"' | '\\' => value.extend(['\\', c]),
                ' '..='~' => value.push(c),
                // An sf-string is ASCII.
                _ => value.push('?'),
            }
        }
    }
    value.push('"');
    value
}

/// Takes out what could break a line or a field, and cuts.
fn clean(detail: &str) -> String {
    let mut text = String::with_capacity(detail.len().min(DETAIL_BYTES_MAX));
    for c in detail.trim().chars() {
        if text.len() + c.len_utf8() > DETAIL_BYTES_MAX {
            break;
        }
        text.push(if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c });
    }
    text
}

/// `grpc-message`: bytes outside space..tilde, and `%`, are escaped. Source: gRPC over HTTP/2, Status-Message.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => out.push_str("%25"),
            b' '..=b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whole seconds, rounded up, at least 1: `Retry-After: 0` would invite a storm.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64
}

/// docs/failures.md, made from the table.
pub fn docs_markdown() -> String {
    let mut text = String::from(
        "# Failures\n\n<!-- Made from gateway/src/failure.rs; a test compares. UPDATE_DOCS=1 cargo test -p headgate-gateway writes it. -->\n\n\
         Every answer that Headgate gives itself has one of these names: in the body's last parentheses, in `Proxy-Status` (RFC 9209), in the\n\
         access log (`failure`), in the metric `headgate_failures_total` and in `headgate explain --request-id`. gRPC callers get HTTP 200 with\n\
         `grpc-status` and `grpc-message`.\n\n\
         | name | status | gRPC | whose doing | another try | what happened | what to do |\n|---|---|---|---|---|---|---|\n",
    );
    for failure in Failure::ALL {
        let row = failure.row();
        let status = if failure.is_log_only() { "none".to_owned() } else { row.status.to_string() };
        let retry = match row.retry {
            Retry::Never => "never",
            Retry::OtherEndpoint => "at once, on another endpoint",
            Retry::IfUnsent => "if no byte was sent, or by the rule's `retry`",
            Retry::Later => "by the client, after `Retry-After`",
        };
        let side = format!("{:?}", row.side).to_lowercase();
        text.push_str(&format!(
            "| `{}` | {status} | {} | {side} | {retry} | {} | {} |\n",
            row.name, row.grpc, row.text, row.remedy
        ));
    }
    text.push_str("\nStatus \"none\": the client cannot be answered any more; the log has 499.\n");
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::HashSet;

    fn field(head: &ResponseHead, name: &str) -> String {
        head.fields.get_str(name).unwrap_or_default().to_owned()
    }

    #[test]
    fn names_are_an_interface() {
        let names: Vec<_> = Failure::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(
            names.join(" "),
            "malformed_request ambiguous_framing bad_target bad_host bad_chunk head_too_large target_too_long \
             expectation_failed version_not_supported method_not_supported body_too_large head_timeout body_timeout \
             client_gone write_stall bad_proxy_header not_tls no_server_name tls_refused carried_idle no_listener no_route \
             misdirected rule_invalid no_backend backend_invalid filter_unsupported rewrite_invalid auth_denied \
             auth_body_too_large auth_unavailable auth_timeout auth_answer_invalid queue_full \
             gateway_full memory_shed queue_timeout arm_cold activation_timeout activation_failed no_endpoints \
             draining connect_refused connect_unreachable connect_timeout upstream_tls upstream_trust upstream_reset \
             upstream_closed_early upstream_malformed upstream_head_too_large upstream_truncated upgrade_failed \
             retry_budget_spent request_timeout attempt_timeout upstream_idle internal"
        );
    }

    #[test]
    fn rows_are_well_formed() {
        let unique: HashSet<_> = Failure::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(unique.len(), Failure::ALL.len());
        // RFC 9209 §2.3.
        let types = "destination_not_found destination_unavailable destination_ip_unroutable connection_refused \
             connection_terminated connection_timeout connection_read_timeout connection_write_timeout \
             connection_limit_reached tls_protocol_error http_request_error http_request_denied http_response_incomplete \
             http_response_header_section_size http_response_timeout http_upgrade_failed http_protocol_error \
             proxy_internal_error proxy_configuration_error";
        for (at, failure) in Failure::ALL.iter().enumerate() {
            let row = failure.row();
            assert_eq!(failure.id(), at);
            assert!((400..600).contains(&row.status) && row.grpc <= 16 && row.grpc != 0, "{failure}");
            assert!(types.split_whitespace().any(|t| t == row.proxy_status), "{failure}");
            assert!(!row.text.is_empty() && !row.remedy.is_empty(), "{failure}");
            assert!(!row.text.contains('|') && !row.remedy.contains('|'), "{failure}");
        }
    }

    #[test]
    fn an_answer_carries_its_reason() {
        let (head, body) =
            Failure::QueueFull.answer(false, "id-1", Some(Duration::from_millis(1200)), Some("100 wait"));
        assert_eq!(head.status, 503);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "503 Service Unavailable: as many requests wait for this backend as may: 100 wait (queue_full) id-1\n"
        );
        assert_eq!(
            field(&head, "proxy-status"),
            "headgate; error=connection_limit_reached; details=\"queue_full: 100 wait\""
        );
        assert_eq!(field(&head, "retry-after"), "2");
        assert_eq!(field(&head, "x-request-id"), "id-1");
        assert_eq!(field(&head, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(field(&head, "cache-control"), "no-store");
    }

    #[test]
    fn retry_after_is_sent_only_where_coming_again_helps() {
        let (head, _) = Failure::NoRoute.answer(false, "", Some(Duration::from_secs(1)), None);
        assert!(!head.fields.has("retry-after") && !head.fields.has("x-request-id"));
        let (head, _) = Failure::Draining.answer(false, "", Some(Duration::ZERO), None);
        assert_eq!(field(&head, "retry-after"), "1");
    }

    #[test]
    fn grpc_callers_get_a_trailers_only_answer() {
        let (head, body) =
            Failure::ActivationFailed.answer(true, "id", Some(Duration::from_secs(3)), Some("exit 1: 100% bad\nü"));
        assert!(body.is_empty());
        assert_eq!(head.status, 200);
        assert_eq!(field(&head, "content-type"), "application/grpc");
        assert_eq!(field(&head, "grpc-status"), "14");
        assert_eq!(field(&head, "grpc-message"), "the function cannot start: exit 1: 100%25 bad %C3%BC");
        assert_eq!(field(&head, "grpc-retry-pushback-ms"), "3000");
        assert_eq!(
            field(&head, "proxy-status"),
            "headgate; error=destination_unavailable; details=\"activation_failed: exit 1: 100% bad ?\""
        );
    }

    #[test]
    fn details_cannot_break_out() {
        let long = "x".repeat(1000);
        for detail in ["a\r\nset-cookie: x", "say \"no\\\"", "\u{2028}\u{0}\u{7f}\u{85}b", &long] {
            let (head, body) = Failure::BadTarget.answer(false, "id", None, Some(detail));
            assert_eq!(body.iter().filter(|&&b| b == b'\n').count(), 1, "{detail:?}");
            let value = field(&head, "proxy-status");
            assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{value}");
            let inner = value.split_once("details=\"").unwrap().1.strip_suffix('"').unwrap();
            assert!(!inner.replace("\\\\", "").replace("\\\"", "").contains(['"', '\\']), "{value}");
            assert!(value.len() < 400);
        }
    }

    #[test]
    fn docs_are_current() {
        assert_docs_current("failures.md", &docs_markdown());
    }

    /// Compares a made document with the one in docs/, or writes it with UPDATE_DOCS=1.
    pub(crate) fn assert_docs_current(file: &str, made: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "docs/{file} is not current: UPDATE_DOCS=1 cargo test -p headgate-gateway docs");
    }
}
