//! The ExternalAuth filter: a second exchange, with a service that says whether a request may pass. What goes wrong lets nothing pass, and no byte of a body is read unless the service gets it.
//!
//! ```text
//! ask ─► keep_body ─► admit ─► converse ─┬─► Pass(Permit)     what the service adds and removes
//!                       ▲                ├─► Deny(Given)      its answer goes to the client
//!                       └── other try ◄──┴─► a Fault          auth_…: closed
//! ```

mod grpc;
mod http;
mod messages;

use crate::{
    backend::{Admission, Backend, CoreId, Slot, Ticket, Waited},
    connect::{self, Upstream},
    core::Core,
    deadline::earlier,
    exchange::{DownRx, DownTx, Fault, Outgoing, UpRx, UpTx},
    failure::Failure,
    filters::{Edit, remove_like},
    plan::{FilterAt, Plan},
    proxy::{Down, Given, Tools, go_on, tell_health},
    relay::Progress,
    replay::Replay,
    telemetry::{Record, WaitEnd},
    tries::Tries,
    wait::{InLine, Watched},
};
use headgate_config::{AuthProtocol, ExternalAuth};
use headgate_message::{Chunk, Fields, Framing, Method, PackedHead, Part, RequestHead, ResponseHead};
use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

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

fn no(failure: Failure, why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(failure, why)
}

/// Asks the service of a filter about a request.
pub async fn ask(core: &Rc<Core>, at: FilterAt, asker: Asker<'_>, tools: &mut Tools<'_>) -> Result<Asked, Fault> {
    let (auth, backend) = asker.plan.asked(at)?;
    let Asker { down, plan, replay, progress, record } = asker;
    let keeping = Keeping { auth, backend, plan, progress };
    keeping.keep_body(core, down, replay, tools).await?;
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
    let reply = match exchange(core, backend, &check, down, plan, record, tools).await.map_err(closed)? {
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

/// What decides how much of a body is kept.
struct Keeping<'a> {
    auth: &'a ExternalAuth,
    backend: &'a Arc<Backend>,
    plan: &'a Plan,
    progress: &'a Progress,
}

impl Keeping<'_> {
    /// Reads the whole body, if the service gets it: up to the filter's limit, and charged to the service's backend for as long as it is kept.
    async fn keep_body(
        &self,
        core: &Rc<Core>,
        down: &mut Down,
        replay: &mut Replay,
        tools: &mut Tools<'_>,
    ) -> Result<(), Fault> {
        let most = self.auth.body_bytes as usize;
        if most == 0 || down.framing.is_empty() {
            return Ok(());
        }
        let too_large = || no(Failure::AuthBodyTooLarge, format!("more than {most} bytes"));
        if let Some(whole) = replay.whole() {
            return if whole.len() > most { Err(too_large()) } else { Ok(()) };
        }
        if down.framing.length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        if std::mem::take(&mut down.expects) {
            go_on(core, &mut down.tx, tools.timer).await?;
        }
        *replay = Replay::charged(most, self.backend.charge());
        // a message is made of it, and the bytes of that
        let copies = if self.auth.protocol == AuthProtocol::Grpc { 3 } else { 1 };
        let limits = &core.shared.limits;
        loop {
            let idle = Instant::now() + limits.body_idle;
            let until = earlier(earlier(Some(idle), self.plan.deadline), core.bell.until());
            let part = match tools.timer.bound(|| until, down.rx.recv()).await {
                Some(part) => part?,
                None => return Err(passed(core, self.plan).unwrap_or(Failure::BodyTimeout).into()),
            };
            let chunk = match part {
                Part::Data(chunk) => chunk,
                Part::Trailers(trailers) => break replay.end(Some(trailers)),
                Part::End => break replay.end(None),
                Part::Interim(_) | Part::Final(..) => return Err(Failure::Internal.into()),
            };
            let bytes = chunk.as_slice();
            self.progress.read(bytes.len());
            if limits.body_bytes.is_some_and(|limit| self.progress.bytes_up.get() > limit) {
                return Err(Failure::BodyTooLarge.into());
            }
            if replay.kept().len() + bytes.len() > most {
                return Err(too_large());
            }
            replay.charge(bytes.len() * copies).map_err(|refusal| closed(refusal.into()))?;
            replay.keep(bytes);
        }
        Ok(())
    }
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

enum Exchanged {
    Reply(Reply),
    Elsewhere(Box<RequestHead>),
}

enum Admitted {
    Slot(Slot),
    Elsewhere(Box<RequestHead>),
}

/// Admit and converse, like a request's own story; again while another try costs the service nothing.
async fn exchange(
    core: &Rc<Core>,
    backend: &Arc<Backend>,
    check: &Check<'_>,
    down: &mut Down,
    plan: &Plan,
    record: &mut Record,
    tools: &mut Tools<'_>,
) -> Result<Exchanged, Fault> {
    let mut ticket = Ticket::new(CoreId(core.id), plan.deadline);
    let mut tries = Tries::of_check(core);
    let mut until = None;
    loop {
        let slot = match admit(core, backend, &mut ticket, down, plan, record, tools).await? {
            Admitted::Slot(slot) => slot,
            Admitted::Elsewhere(original) => return Ok(Exchanged::Elsewhere(original)),
        };
        let limit = *until.get_or_insert_with(|| Instant::now() + core.shared.limits.auth_timeout);
        match attempt(core, backend, &slot, check, plan, limit, &mut tries, tools).await {
            Ok(reply) => {
                slot.succeeded(Instant::now());
                return Ok(Exchanged::Reply(reply));
            }
            Err(fault) => {
                // a service that does not answer in time is an endpoint that does not
                let failure =
                    if fault.failure == Failure::AuthTimeout { Failure::AttemptTimeout } else { fault.failure };
                tell_health(&slot, &failure.into());
                if !tries.may_follow(&fault) {
                    return Err(fault);
                }
            }
        }
        ticket.exclude(slot.endpoint().id);
        drop(slot);
        let paused = tries.pause(earlier(plan.deadline, Some(limit)), tools).await;
        paused.map_err(|_| passed(core, plan).unwrap_or(Failure::AuthTimeout))?;
    }
}

/// A slot, at once or after a wait; a service may have to start first.
async fn admit(
    core: &Rc<Core>,
    backend: &Arc<Backend>,
    ticket: &mut Ticket,
    down: &mut Down,
    plan: &Plan,
    record: &mut Record,
    tools: &mut Tools<'_>,
) -> Result<Admitted, Fault> {
    let asked = Instant::now();
    match backend.try_admit(ticket, core.roll(), asked) {
        Admission::Slot(slot) => return Ok(Admitted::Slot(slot)),
        Admission::Refused(refusal) => return Err(refusal.into()),
        Admission::MustWait => {}
    }
    let Down { rx, tx, head, connection, .. } = down;
    if let DownRx::H1(rx) = rx {
        rx.park();
    }
    let kept = PackedHead::bytes_of(head) + rx.retained();
    let mut place = InLine::enter(backend, ticket, kept, asked)?;
    let mut client = Client { rx, tx };
    let admitted = loop {
        match poll_fn(|cx| place.poll(&mut client, core, tools, cx)).await {
            Ok(Waited::Slot(slot)) => break Ok(Admitted::Slot(slot)),
            Ok(Waited::Refused(refusal)) => break Err(refusal.into()),
            Ok(Waited::Reroute) => {
                if let Some(original) = plan.leads_elsewhere(core, connection.port, None) {
                    break Ok(Admitted::Elsewhere(original));
                }
            }
            Err(failure) => break Err(failure.into()),
        }
    };
    let (end, waited) = (end_of(&admitted), asked.elapsed());
    core.shard.backend(&backend.config().name).waited(end, waited);
    record.waited = Some(waited);
    admitted
}

fn end_of(admitted: &Result<Admitted, Fault>) -> WaitEnd {
    match admitted {
        Ok(Admitted::Slot(_)) => WaitEnd::Served,
        Ok(Admitted::Elsewhere(_)) => WaitEnd::Rerouted,
        Err(fault) if fault.failure == Failure::ClientGone => WaitEnd::Gone,
        Err(_) => WaitEnd::Refused,
    }
}

/// A client whose request is asked about.
struct Client<'c> {
    rx: &'c mut DownRx,
    tx: &'c mut DownTx,
}

impl Watched for Client<'_> {
    fn poll_gone(&mut self, cx: &mut Context<'_>, spool: usize) -> Poll<()> {
        match self.rx.poll_gone(cx, spool) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.tx.poll_gone(cx),
        }
    }

    fn retained(&self) -> usize {
        self.rx.retained()
    }
}

/// One try at one endpoint of the service.
#[expect(clippy::too_many_arguments, reason = "a step of `exchange`, with all that it has")]
async fn attempt(
    core: &Rc<Core>,
    backend: &Backend,
    slot: &Slot,
    check: &Check<'_>,
    plan: &Plan,
    limit: Instant,
    tries: &mut Tries,
    tools: &mut Tools<'_>,
) -> Result<Reply, Fault> {
    let until = || earlier(earlier(Some(limit), plan.deadline), core.bell.until());
    let late = || Fault::from(passed(core, plan).unwrap_or(Failure::AuthTimeout));
    let outgoing = Outgoing { head: &check.head, framing: check.framing, upgrade: None, trailers: check.trailers };
    tries.reused = false;
    let opening = connect::open(core, backend, slot, &outgoing, plan.identity());
    let mut up = tools.timer.bound(until, opening).await.ok_or_else(late)??;
    (tries.reused, tries.sent) = (up.reused, true);
    core.shard.backend(&backend.config().name).connected(up.reused);
    let Upstream { tx, rx, .. } = &mut up;
    let conversing = converse(tx, rx, &check.body, core.shared.limits.auth_answer_bytes);
    match tools.timer.bound(until, conversing).await {
        Some(Ok((reply, upload_ended))) => {
            up.finish(core, upload_ended && reply.is_whole, Instant::now());
            Ok(reply)
        }
        Some(Err(fault)) => Err(fault),
        None => {
            up.condemn();
            Err(late())
        }
    }
}

/// Sends and receives at once: a service may answer before it has read the body. Says also whether all was sent by then.
async fn converse(tx: &mut UpTx, rx: &mut UpRx, body: &[u8], most: usize) -> Result<(Reply, bool), Fault> {
    let mut sending = pin!(async {
        if !body.is_empty() {
            tx.data(Chunk::Lent(body)).await?;
        }
        tx.end(None).await
    });
    let mut receiving = pin!(receive(rx, most));
    let mut sent = None;
    let received = poll_fn(|cx| {
        if sent.is_none()
            && let Poll::Ready(result) = sending.as_mut().poll(cx)
        {
            sent = Some(result);
        }
        receiving.as_mut().poll(cx)
    })
    .await;
    match (received, sent) {
        (Ok(reply), sent) => Ok((reply, matches!(sent, Some(Ok(()))))),
        // one that broke off while it was sent to is named by that
        (Err(fault), Some(Err(first))) if fault.failure == Failure::UpstreamClosedEarly => Err(first),
        (Err(fault), _) => Err(fault),
    }
}

async fn receive(rx: &mut UpRx, most: usize) -> Result<Reply, Fault> {
    let head = loop {
        match rx.recv().await? {
            Part::Interim(_) => {}
            Part::Final(head, _) => break head,
            _ => return Err(Failure::Internal.into()),
        }
    };
    let mut reply = Reply { length: rx.declared_length(), ..Reply::whole(head, Vec::new()) };
    loop {
        match rx.recv().await? {
            Part::Data(chunk) if reply.body.len() + chunk.as_slice().len() > most => {
                reply.is_whole = false;
                return Ok(reply);
            }
            Part::Data(chunk) => reply.body.extend_from_slice(chunk.as_slice()),
            Part::Trailers(trailers) => {
                reply.trailers = Some(trailers);
                return Ok(reply);
            }
            Part::End => return Ok(reply),
            Part::Interim(_) | Part::Final(..) => return Err(Failure::Internal.into()),
        }
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
