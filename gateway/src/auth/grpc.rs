//! What an authorization service is asked by Envoy's protocol `envoy.service.auth.v3`, and what its answer means: pure. An answer that contradicts itself lets nothing pass.

use super::{
    Check, Permit, Reply, Ruling,
    messages::{
        Address, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest,
        HttpResponse, OkHttpResponse, Peer, Request, SocketAddress, Timestamp,
    },
};
use crate::{
    exchange::Fault,
    failure::Failure,
    filters::{Edit, How, is_editable},
};
use headgate_config::{BackendName, ExternalAuth, Scheme};
use headgate_message::{Authority, Fields, Framing, Method, RequestHead, ResponseHead, Target, Version, is_value};
use prost::Message;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

const PATH: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";
/// Of a message: whether it is compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// What of a request is not in its head.
pub(super) struct Circumstances<'c> {
    pub client: IpAddr,
    pub request_id: &'c str,
    pub version: Version,
    pub unix_ms: u64,
    /// How long the answer is waited for.
    pub limit: Duration,
}

/// The call.
pub(super) fn check(
    auth: &ExternalAuth,
    service: &BackendName,
    head: &RequestHead,
    body: &[u8],
    around: &Circumstances<'_>,
) -> Check<'static> {
    let body = framed(&request(auth, head, body, around).encode_to_vec());
    let mut fields = Fields::default();
    let name = [service.service.as_str(), ".", service.namespace.as_str()].concat();
    let (path, host) = (fields.store(PATH), fields.store(name.as_bytes()));
    fields.push("content-type", b"application/grpc");
    fields.push("grpc-timeout", format!("{}m", around.limit.as_millis().clamp(1, 99_999_999)).as_bytes());
    let head = RequestHead {
        method: Method::Post,
        scheme: Scheme::Http,
        authority: Authority { text: host, host, port: None },
        target: Target { raw: path, path, query: None },
        fields,
    };
    Check { head, framing: Framing::of_whole(&body), body: body.into(), trailers: true }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn request(auth: &ExternalAuth, head: &RequestHead, body: &[u8], around: &Circumstances<'_>) -> CheckRequest {
    let path = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    let (text, raw_body) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), Vec::new()),
        Err(_) => (String::new(), body.to_vec()),
    };
    let http = HttpRequest {
        id: around.request_id.to_owned(),
        method: head.method.as_str().to_owned(),
        headers: headers(auth, head, &path),
        path,
        host: head.authority().to_owned(),
        scheme: head.scheme.as_str().to_owned(),
        size: if auth.body_bytes == 0 { -1 } else { body.len() as i64 },
        protocol: match around.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
        .to_owned(),
        body: text,
        raw_body,
    };
    let time = Timestamp { seconds: (around.unix_ms / 1000) as i64, nanos: (around.unix_ms % 1000) as i32 * 1_000_000 };
    let address = Address { socket_address: Some(SocketAddress { address: around.client.to_string() }) };
    let attributes = AttributeContext {
        source: Some(Peer { address: Some(address) }),
        request: Some(Request { time: Some(time), http: Some(http) }),
    };
    CheckRequest { attributes: Some(attributes) }
}

/// All fields, values of one name joined, and the pseudo-fields that Envoy sends too; or those that are named.
fn headers(auth: &ExternalAuth, head: &RequestHead, path: &str) -> BTreeMap<String, String> {
    let own = [
        (":authority", head.authority()),
        (":method", head.method.as_str()),
        (":path", path),
        (":scheme", head.scheme.as_str()),
        ("host", head.authority()),
    ];
    let is_sent = |name: &str| match auth.request_headers.as_slice() {
        [] => name != "host",
        named => named.iter().any(|one| one == name),
    };
    let own =
        own.into_iter().filter(|(name, _)| is_sent(name)).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let fields = head.fields.iter().map(|(name, _)| name).filter(|name| is_sent(name));
    let joined = fields.filter_map(|name| {
        let value = head.fields.joined(name)?;
        Some((name.to_owned(), String::from_utf8_lossy(&value).into_owned()))
    });
    own.chain(joined).collect()
}

/// What an answer means.
pub(super) fn judge(reply: &Reply) -> Result<Ruling, Fault> {
    let response = message_of(reply)?;
    let code = response.status.as_ref().map(|status| status.code);
    match (code, response.http_response) {
        (None | Some(0), Some(HttpResponse::Ok(ok))) => permit(ok).map(Ruling::Pass),
        (Some(0), None) => Ok(Ruling::Pass(Permit::default())),
        (Some(1..), Some(HttpResponse::Denied(denied) | HttpResponse::Error(denied))) => {
            denial(denied).map(Ruling::Deny)
        }
        (Some(1..), _) => Ok(Ruling::Deny(Reply::whole(ResponseHead::new(403), Vec::new()))),
        (None, None) => Err(invalid("it has neither a status nor a response")),
        (None | Some(_), _) => Err(invalid("its status and its response contradict each other")),
    }
}

fn invalid(why: impl Into<String>) -> Fault {
    Fault::new(Failure::AuthAnswerInvalid, why.into())
}

fn message_of(reply: &Reply) -> Result<CheckResponse, Fault> {
    let Reply { head, body, trailers, is_whole, .. } = reply;
    let is_grpc = head.fields.get("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
    if head.status != 200 || !is_grpc {
        return Err(Fault::new(
            Failure::AuthUnavailable,
            format!("the service answered {} and speaks no gRPC", head.status),
        ));
    }
    if !is_whole {
        return Err(invalid("it is longer than --auth-answer-bytes"));
    }
    let told = trailers.as_ref().unwrap_or(&head.fields);
    match told.get("grpc-status") {
        Some(b"0") => {}
        Some(code) => {
            let code = String::from_utf8_lossy(code);
            return Err(Fault::new(Failure::AuthUnavailable, format!("the service answered grpc-status {code}")));
        }
        None => return Err(invalid("it has no grpc-status")),
    }
    let Some((&[compressed, a, b, c, d], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(invalid("it has no message"));
    };
    if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(invalid("it is not exactly one message without compression"));
    }
    CheckResponse::decode(message).map_err(|why| invalid(why.to_string()))
}

fn permit(ok: OkHttpResponse) -> Result<Permit, Fault> {
    if !ok.query_parameters_to_set.is_empty() || !ok.query_parameters_to_remove.is_empty() {
        return Err(invalid("it wants the query changed, which is not supported"));
    }
    let edits = edits(ok.headers)?;
    let removed: Vec<_> = ok.headers_to_remove.iter().map(|name| name.to_ascii_lowercase()).collect();
    if edits.iter().any(|edit| removed.contains(&edit.name)) {
        return Err(invalid("it wants a header both written and removed"));
    }
    Ok(Permit { removed, edits, answer_edits: self::edits(ok.response_headers_to_add)? })
}

fn denial(denied: DeniedHttpResponse) -> Result<Reply, Fault> {
    let status = match denied.status.map_or(403, |status| status.code) {
        status @ 300..600 => status as u16,
        _ => 403,
    };
    let mut head = ResponseHead::new(status);
    for edit in edits(denied.headers)? {
        // there is nothing to replace but what stands beside it, and Envoy sends them all
        let how = if edit.how == How::Set { How::Add } else { edit.how };
        Edit { how, ..edit }.apply(&mut head.fields);
    }
    Ok(Reply::whole(head, denied.body.into_bytes()))
}

/// The changes, if each can be made: one that was left out could be the one that matters.
fn edits(options: Vec<HeaderValueOption>) -> Result<Vec<Edit>, Fault> {
    let edit = |option: HeaderValueOption| {
        let header = option.header.unwrap_or_default();
        let name = header.key.to_ascii_lowercase();
        let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        let value = value.trim_ascii().to_vec();
        if !is_editable(&name) || !is_value(&value) {
            return Err(invalid(format!("it wants the header {name:?} written, which cannot be")));
        }
        let how = match (option.append, option.append_action) {
            (Some(true), _) => How::Add,
            (None, 1) => How::AddIfAbsent,
            (None, 3) => How::SetIfPresent,
            // "the append field defaults to false when used in this message"
            (Some(false), _) | (None, 0 | 2) => How::Set,
            (None, unknown) => return Err(invalid(format!("it has the unknown append_action {unknown}"))),
        };
        Ok(Edit { name, value, how })
    };
    options.into_iter().map(edit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::messages::{HeaderValue, HttpStatus, QueryParameter, Status},
        filters::tests::request as head_of,
    };
    use headgate_config::{ArmTarget, AuthProtocol};

    fn auth(request_headers: &[&str], body_bytes: u32) -> ExternalAuth {
        ExternalAuth {
            service: ArmTarget::Invalid(String::new()),
            protocol: AuthProtocol::Grpc,
            request_headers: request_headers.iter().map(|&name| name.to_owned()).collect(),
            body_bytes,
        }
    }

    fn asked(auth: &ExternalAuth, body: &[u8]) -> (Check<'static>, HttpRequest) {
        let fields = [("authorization", "Basic eA=="), ("x-a", "1"), ("x-a", "2")];
        let head = head_of("POST", "shop.example:8080", "/a?b=c", &fields);
        let around = Circumstances {
            client: [192, 0, 2, 7].into(),
            request_id: "id",
            version: Version::Http2,
            unix_ms: 1_234,
            limit: Duration::from_secs(2),
        };
        let check = check(auth, &BackendName::tcp("ns", "auth", 80), &head, body, &around);
        let request = CheckRequest::decode(&check.body[PREFIX_BYTES..]).unwrap().attributes.unwrap();
        assert_eq!(request.source.unwrap().address.unwrap().socket_address.unwrap().address, "192.0.2.7");
        let request = request.request.unwrap();
        assert_eq!(request.time, Some(Timestamp { seconds: 1, nanos: 234_000_000 }));
        (check, request.http.unwrap())
    }

    #[test]
    fn the_call_is_one_of_grpc_and_says_what_envoy_says() {
        let (call, http) = asked(&auth(&[], 0), b"");
        assert_eq!(
            (call.head.method.as_str(), call.head.path()),
            ("POST", "/envoy.service.auth.v3.Authorization/Check")
        );
        assert_eq!((call.head.authority(), call.trailers, call.head.is_grpc()), ("auth.ns", true, true));
        assert_eq!(call.head.fields.get_str("grpc-timeout"), Some("2000m"));
        assert_eq!(call.framing.length(), Some(call.body.len() as u64));
        assert_eq!(usize::from(call.body[3]) << 8 | usize::from(call.body[4]), call.body.len() - PREFIX_BYTES);
        assert_eq!((http.path.as_str(), http.host.as_str(), http.size), ("/a?b=c", "shop.example:8080", -1));
        let pairs: Vec<_> = http.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let all = [":authority=shop.example:8080", ":method=POST", ":path=/a?b=c", ":scheme=http"];
        assert_eq!(pairs, [&all[..], &["authorization=Basic eA==", "x-a=1, 2"]].concat());
        let (_, http) = asked(&auth(&["x-a", "host"], 9), b"text");
        assert_eq!(http.headers.keys().collect::<Vec<_>>(), ["host", "x-a"]);
        assert_eq!((http.body.as_str(), http.raw_body.len(), http.size), ("text", 0, 4));
        let (_, http) = asked(&auth(&[], 9), b"\xff");
        assert_eq!((http.body.as_str(), http.raw_body.as_slice()), ("", &b"\xff"[..]));
    }

    fn reply_of(body: Vec<u8>) -> Reply {
        let mut head = ResponseHead::new(200);
        head.fields.push("content-type", b"application/grpc");
        let mut trailers = Fields::default();
        trailers.push("grpc-status", b"0");
        Reply { trailers: Some(trailers), ..Reply::whole(head, body) }
    }

    fn judged(code: Option<i32>, http_response: Option<HttpResponse>) -> Result<Ruling, Fault> {
        let status = code.map(|code| Status { code, message: String::new() });
        judge(&reply_of(framed(&CheckResponse { status, http_response }.encode_to_vec())))
    }

    fn option(name: &str, value: &str, append: Option<bool>, append_action: i32) -> HeaderValueOption {
        let header = HeaderValue { key: name.into(), value: value.into(), raw_value: Vec::new() };
        HeaderValueOption { header: Some(header), append, append_action }
    }

    #[test]
    fn only_an_answer_that_is_ok_throughout_lets_a_request_pass() {
        let ok = || Some(HttpResponse::Ok(OkHttpResponse::default()));
        let denied = || Some(HttpResponse::Denied(DeniedHttpResponse::default()));
        let error = || Some(HttpResponse::Error(DeniedHttpResponse::default()));
        for (code, response) in [(Some(0), None), (Some(0), ok()), (None, ok())] {
            assert!(matches!(judged(code, response.clone()), Ok(Ruling::Pass(_))), "{code:?} {response:?}");
        }
        for (code, response) in [(Some(7), None), (Some(7), ok()), (Some(16), denied()), (Some(13), error())] {
            let Ok(Ruling::Deny(reply)) = judged(code, response.clone()) else { panic!("{code:?} {response:?}") };
            assert_eq!(reply.head.status, 403);
        }
        for (code, response) in
            [(None, None), (Some(0), denied()), (None, denied()), (Some(0), error()), (Some(-1), ok())]
        {
            let fault = judged(code, response.clone()).unwrap_err();
            assert_eq!(fault.failure, Failure::AuthAnswerInvalid, "{code:?} {response:?}");
        }
    }

    #[test]
    fn an_answer_that_is_no_whole_call_lets_nothing_pass() {
        let fine = framed(&CheckResponse { status: Some(Status::default()), http_response: None }.encode_to_vec());
        assert!(matches!(judge(&reply_of(fine.clone())), Ok(Ruling::Pass(_))));
        let status = |code: &[u8]| {
            let mut trailers = Fields::default();
            trailers.push("grpc-status", code);
            Reply { trailers: Some(trailers), ..reply_of(fine.clone()) }
        };
        let without_type = Reply { head: ResponseHead::new(200), ..reply_of(fine.clone()) };
        let mut not_200 = reply_of(fine.clone());
        not_200.head.status = 503;
        for (reply, failure) in [
            (status(b"14"), Failure::AuthUnavailable),
            (status(b"00"), Failure::AuthUnavailable),
            (without_type, Failure::AuthUnavailable),
            (not_200, Failure::AuthUnavailable),
            (Reply { trailers: None, ..reply_of(fine.clone()) }, Failure::AuthAnswerInvalid),
            (Reply { is_whole: false, ..reply_of(fine.clone()) }, Failure::AuthAnswerInvalid),
            (reply_of(Vec::new()), Failure::AuthAnswerInvalid),
            (reply_of([&[1], &fine[1..]].concat()), Failure::AuthAnswerInvalid),
            (reply_of([&fine[..], &fine[..]].concat()), Failure::AuthAnswerInvalid),
            (reply_of(framed(b"\xff\xff")), Failure::AuthAnswerInvalid),
        ] {
            assert_eq!(judge(&reply).unwrap_err().failure, failure, "{reply:?}");
        }
    }

    #[test]
    fn the_service_changes_headers_as_it_says() {
        let ok = OkHttpResponse {
            headers: vec![
                option("X-User", "alice", None, 0),
                option("x-added", "2", Some(true), 0),
                option("x-absent", "new", None, 1),
                option("x-there", "new", None, 1),
                option("x-nowhere", "new", None, 3),
            ],
            headers_to_remove: vec!["Authorization".into(), ":path".into(), "Host".into()],
            response_headers_to_add: vec![option("x-session", "s", None, 0)],
            ..OkHttpResponse::default()
        };
        let Ok(Ruling::Pass(permit)) = judged(Some(0), Some(HttpResponse::Ok(ok))) else { panic!() };
        let mut fields = Fields::default();
        for (name, value) in [("x_user", "root"), ("x-added", "1"), ("x-there", "old"), ("authorization", "secret")] {
            fields.push(name, value.as_bytes());
        }
        permit.apply(&mut fields);
        let told: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
        assert_eq!(told, ["x-added=1", "x-there=old", "x-user=alice", "x-added=2", "x-absent=new"]);
        assert_eq!(permit.answer_edits.len(), 1);
    }

    #[test]
    fn what_cannot_be_done_as_it_says_lets_nothing_pass() {
        let headers = |options| OkHttpResponse { headers: options, ..OkHttpResponse::default() };
        let set = |name, value| headers(vec![option(name, value, None, 0)]);
        let both = OkHttpResponse { headers_to_remove: vec!["X-A".into()], ..set("x-a", "1") };
        let query = OkHttpResponse {
            query_parameters_to_set: vec![QueryParameter { key: "a".into() }],
            ..OkHttpResponse::default()
        };
        let answer = OkHttpResponse {
            response_headers_to_add: vec![option("content-length", "1", None, 0)],
            ..OkHttpResponse::default()
        };
        let unknown = headers(vec![option("x-a", "1", None, 9)]);
        for ok in [
            set(":path", "/"),
            set("host", "a"),
            set("a b", "1"),
            set("x-a", "1\r\nx-b: 2"),
            both,
            query,
            answer,
            unknown,
        ] {
            let fault = judged(Some(0), Some(HttpResponse::Ok(ok.clone()))).unwrap_err();
            assert_eq!(fault.failure, Failure::AuthAnswerInvalid, "{ok:?}");
        }
    }

    #[test]
    fn a_denial_has_its_own_status_headers_and_body() {
        let denied = |code| DeniedHttpResponse {
            status: Some(HttpStatus { code }),
            headers: vec![option("WWW-Authenticate", "Basic", None, 0)],
            body: "who are you".into(),
        };
        for (code, status) in [(401, 401), (302, 302), (503, 503), (0, 403), (200, 403), (999, 403)] {
            let response = Some(HttpResponse::Denied(denied(code)));
            let Ok(Ruling::Deny(reply)) = judged(Some(16), response) else { panic!("{code}") };
            assert_eq!((reply.head.status, reply.head.fields.get_str("www-authenticate")), (status, Some("Basic")));
            assert_eq!(reply.body, b"who are you");
        }
    }

    #[test]
    fn a_denial_has_all_headers_of_one_name() {
        let cookies = [("a=1", None, 0), ("b=2", None, 2), ("c=3", Some(true), 0), ("d=4", Some(false), 0)];
        let headers = cookies.map(|(value, append, action)| option("Set-Cookie", value, append, action)).to_vec();
        let response = HttpResponse::Denied(DeniedHttpResponse { headers, ..DeniedHttpResponse::default() });
        let Ok(Ruling::Deny(reply)) = judged(Some(16), Some(response)) else { panic!() };
        let sent: Vec<_> = reply.head.fields.iter().map(|(_, value)| value).collect();
        assert_eq!(sent, [b"a=1", b"b=2", b"c=3", b"d=4"]);
    }
}
