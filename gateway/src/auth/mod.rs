//! The ExternalAuth filter: a second exchange, with a service that says whether a request may pass. What goes wrong lets nothing pass, and no byte of a body is read unless the service gets it.
//!
//! ```text
//! ask ─► read body ─► admit ─► converse ─┬─► Pass(Permit)     what the service adds and removes
//!                       ▲                ├─► Deny(Given)      its answer goes to the client
//!                       └── other try ◄──┴─► a Fault          auth_…: closed
//! ```

mod body;
mod exchange;
mod grpc;
mod http;
mod messages;

use crate::{
    core::Core,
    exchange::Fault,
    failure::Failure,
    filters::{Edit, remove_like},
    plan::{FilterAt, Plan},
    proxy::{Down, Given, Tools},
    relay::Progress,
    replay::Replay,
    telemetry::Record,
};
use body::Kept;
use exchange::{Exchange, Exchanged};
use headgate_config::AuthProtocol;
use headgate_message::{Fields, Framing, Method, RequestHead, ResponseHead};
use std::{borrow::Cow, rc::Rc, time::Instant};

/// A request that must be asked about.
pub struct Asker<'a> {
    /// The request.
    pub down: &'a mut Down,
    /// Where it goes.
    pub plan: &'a Plan,
    /// Keeps its body, if the service gets it.
    pub replay: &'a mut Replay,
    /// Counts what is read of it.
    pub progress: &'a Progress,
    /// What is told of it.
    pub record: &'a mut Record,
}

/// What came of asking, if not a failure.
pub enum Asked {
    /// It may pass.
    Pass(Permit),
    /// The service has answered it.
    Deny(Given),
    /// While it waited for the service new routes came that have another rule for it: the head as it came.
    Elsewhere(Box<RequestHead>),
}

/// What the service changes of a request that may pass.
#[derive(Debug, Default)]
pub struct Permit {
    removed: Vec<String>,
    edits: Vec<Edit>,
    /// And of its answer.
    pub answer_edits: Vec<Edit>,
}

impl Permit {
    /// Makes the changes of the request.
    pub fn apply(&self, fields: &mut Fields) {
        self.removed.iter().for_each(|name| remove_like(fields, name));
        self.edits.iter().for_each(|edit| edit.apply(fields));
    }
}

/// What the service is sent.
struct Check<'b> {
    head: RequestHead,
    framing: Framing,
    body: Cow<'b, [u8]>,
    trailers: bool,
}

/// What the service says.
#[derive(Debug)]
struct Reply {
    head: ResponseHead,
    body: Vec<u8>,
    /// Whether that is all of the body.
    is_whole: bool,
    /// As the head declares it: of a HEAD there is no other.
    length: Option<u64>,
    trailers: Option<Fields>,
}

impl Reply {
    fn whole(head: ResponseHead, body: Vec<u8>) -> Self {
        Self { head, body, is_whole: true, length: None, trailers: None }
    }
}

/// What it means.
#[derive(Debug)]
enum Ruling {
    Pass(Permit),
    Deny(Reply),
}

/// Asks the service of a filter about a request.
pub async fn ask(core: &Rc<Core>, at: FilterAt, asker: Asker<'_>, tools: &mut Tools<'_>) -> Result<Asked, Fault> {
    let (auth, backend) = asker.plan.asked(at)?;
    let Asker { down, plan, replay, progress, record } = asker;
    let kept = Kept { auth, backend, plan, progress };
    let _copies = kept.read(core, down, replay, tools).await?;
    let body = if auth.body_bytes == 0 { &[][..] } else { replay.kept() };
    let check = match &auth.protocol {
        AuthProtocol::Http { prefix, .. } => http::check(auth, prefix, &down.head, body),
        AuthProtocol::Grpc => {
            let around = grpc::Circumstances {
                client: record.client,
                request_id: record.request_id(),
                version: down.version,
                unix_ms: record.unix_ms(),
                limit: core.shared.limits.auth_timeout,
            };
            grpc::check(auth, &backend.config().name, &down.head, body, &around)
        }
    };
    let exchange = Exchange { core, backend, check: &check, plan };
    let reply = match exchange.run(down, record, tools).await.map_err(closed)? {
        Exchanged::Reply(reply) => reply,
        Exchanged::Elsewhere(original) => return Ok(Asked::Elsewhere(original)),
    };
    let ruling = match &auth.protocol {
        AuthProtocol::Http { answer_headers, .. } => http::judge(reply, answer_headers),
        AuthProtocol::Grpc => grpc::judge(&reply),
    };
    Ok(match ruling? {
        Ruling::Pass(permit) => Asked::Pass(permit),
        Ruling::Deny(reply) => {
            let why = format!("{} by {}", reply.head.status, backend.config().name);
            Asked::Deny(deny(reply, &why, plan, down, record))
        }
    })
}

/// Which limit, other than that of a wait itself, has passed.
fn passed(core: &Core, plan: &Plan) -> Option<Failure> {
    let is_past = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
    match () {
        () if is_past(plan.deadline) => Some(Failure::RequestTimeout),
        () if is_past(core.bell.until()) => Some(Failure::Draining),
        () => None,
    }
}

/// What a failure of the exchange is to the client: whatever went wrong, nothing passes.
fn closed(fault: Fault) -> Fault {
    let failure = match fault.failure {
        Failure::UpstreamMalformed | Failure::UpstreamHeadTooLarge | Failure::UpstreamTruncated => {
            Failure::AuthAnswerInvalid
        }
        Failure::ClientGone
        | Failure::RequestTimeout
        | Failure::Draining
        | Failure::AuthTimeout
        | Failure::Internal => return fault,
        _ => Failure::AuthUnavailable,
    };
    let detail = match &fault.detail {
        Some(detail) => format!("{}: {detail}", fault.failure),
        None => fault.failure.to_string(),
    };
    Fault { failure, detail: Some(detail.into()), ..fault }
}

/// The service's answer as the client gets it; callers of gRPC get what its status is to them.
fn deny(reply: Reply, why: &str, plan: &Plan, down: &Down, record: &mut Record) -> Given {
    record.failure = Some(Failure::AuthDenied);
    record.detail = Some(why.into());
    let mut given = if down.head.is_grpc() {
        let (mut head, body) = Failure::AuthDenied.answer(true, record.request_id(), None, None);
        let code = grpc_code(reply.head.status);
        record.grpc_status = Some(code);
        head.fields.set("grpc-status", itoa::Buffer::new().format(code).as_bytes());
        Given::whole(head, body)
    } else {
        let Reply { mut head, body, length, .. } = reply;
        head.fields.remove_where(|name| name.starts_with(b"x-headgate-"));
        let length = length.filter(|_| down.head.method == Method::Head);
        Given { length, ..Given::whole(head, body) }
    };
    plan.filter_own_answer(&mut given.head);
    given
}

/// Source: gRPC, "HTTP to gRPC Status Code Mapping".
fn grpc_code(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        404 => 12,
        429 | 502..=504 => 14,
        403 => 7,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn reply(status: u16, fields: &[(&str, &str)]) -> Reply {
        let mut head = ResponseHead::new(status);
        fields.iter().for_each(|(name, value)| head.fields.push(name, value.as_bytes()));
        Reply::whole(head, Vec::new())
    }

    #[test]
    fn whatever_goes_wrong_is_no_permit() {
        for failure in Failure::ALL {
            let fault = closed(Fault::new(*failure, "why"));
            assert!(fault.failure.row().status >= 400, "{failure}");
            if fault.failure != *failure {
                assert_eq!(fault.detail.as_deref(), Some(format!("{failure}: why").as_str()));
            }
        }
        assert_eq!(closed(Failure::ConnectRefused.into()).failure, Failure::AuthUnavailable);
        assert_eq!(closed(Failure::ActivationTimeout.into()).failure, Failure::AuthUnavailable);
        assert_eq!(closed(Failure::UpstreamTruncated.into()).failure, Failure::AuthAnswerInvalid);
        assert_eq!(closed(Failure::ClientGone.into()).failure, Failure::ClientGone);
    }

    #[test]
    fn a_status_is_to_grpc_what_its_table_says() {
        let codes: Vec<_> = [400, 401, 403, 404, 429, 503, 302, 500].into_iter().map(grpc_code).collect();
        assert_eq!(codes, [13, 16, 7, 12, 14, 14, 2, 2]);
    }
}
