//! The exchange with an authorization service, on the same way as a request's own: admit, connect, send and receive, another try where that costs nothing. Never longer than its limits.

use super::{Check, Reply, passed};
use crate::{
    backend::{Admission, Backend, CoreId, Slot, Ticket, Waited},
    connect::{self, To, Upstream},
    core::Core,
    deadline::earlier,
    exchange::{Fault, Outgoing, UpRx, UpTx},
    failure::Failure,
    listen::Connection,
    plan::Plan,
    proxy::{Down, Tools, tell_health},
    telemetry::Record,
    tries::Tries,
    wait::{Granted, InLine, end_of},
};
use headgate_message::{Chunk, Part, RequestHead};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Instant,
};

/// What is asked, and whom.
pub(super) struct Exchange<'a> {
    pub core: &'a Rc<Core>,
    pub backend: &'a Arc<Backend>,
    pub check: &'a Check<'a>,
    pub plan: &'a Plan,
}

/// How it ended, if not with a failure.
pub(super) enum Exchanged {
    /// The service answered.
    Reply(Reply),
    /// New routes have another rule for the request: its head as it came.
    Elsewhere(Box<RequestHead>),
}

impl Exchange<'_> {
    /// Admit and converse; again while another try costs the service nothing.
    pub async fn run(&self, down: &mut Down, record: &mut Record, tools: &mut Tools<'_>) -> Result<Exchanged, Fault> {
        let mut ticket = Ticket::new(CoreId(self.core.id), self.plan.deadline);
        let mut tries = Tries::of_check(self.core);
        let mut until = None;
        loop {
            let slot = match self.admit(&mut ticket, down, record, tools).await? {
                Granted::Slot(slot) => slot,
                Granted::Reroute(original) => return Ok(Exchanged::Elsewhere(original)),
            };
            let until = *until.get_or_insert_with(|| Instant::now() + self.core.shared.limits.auth_timeout);
            match self.attempt(&slot, &down.connection, until, &mut tries, tools).await {
                Ok(reply) => {
                    slot.answered(reply.head.status, Instant::now());
                    return Ok(Exchanged::Reply(reply));
                }
                Err(fault) => {
                    // a service that does not answer in time is an endpoint that does not
                    let is_late = fault.failure == Failure::AuthTimeout;
                    let failure = if is_late { Failure::AttemptTimeout } else { fault.failure };
                    tell_health(&slot, &failure.into());
                    if !tries.may_follow(&fault) {
                        return Err(fault);
                    }
                }
            }
            ticket.exclude(slot.endpoint().id);
            drop(slot);
            tries.pause(earlier(self.plan.deadline, Some(until)), tools).await.map_err(|_| self.late())?;
        }
    }

    /// A slot, at once or after a wait; a service may have to start first.
    async fn admit(
        &self,
        ticket: &mut Ticket,
        down: &mut Down,
        record: &mut Record,
        tools: &mut Tools<'_>,
    ) -> Result<Granted, Fault> {
        let (core, backend, asked) = (self.core, self.backend, Instant::now());
        match backend.try_admit(ticket, core.roll(), asked) {
            Admission::Slot(slot) => return Ok(Granted::Slot(slot)),
            Admission::Refused(refusal) => return Err(refusal.into()),
            Admission::MustWait => {}
        }
        let kept = down.park(core.shared.limits.h2_stream_window as usize) + self.plan.kept();
        let mut place = InLine::enter(core, backend, ticket, self.plan.version, kept, asked)?;
        let granted = loop {
            match poll_fn(|cx| place.poll(down, core, tools, cx)).await {
                Ok(Waited::Slot(slot)) => break Ok(Granted::Slot(slot)),
                Ok(Waited::Refused(refusal)) => break Err(refusal.into()),
                Ok(Waited::Reroute) => {
                    if let Some(original) = self.plan.leads_elsewhere(core, down.connection.port, None) {
                        break Ok(Granted::Reroute(original));
                    }
                }
                Err(failure) => break Err(failure.into()),
            }
        };
        let (end, waited) = (end_of(&granted), asked.elapsed());
        core.shard.backend(&backend.config().name).waited(end, waited);
        record.waited = Some(waited);
        granted
    }

    /// One try at one endpoint.
    async fn attempt(
        &self,
        slot: &Slot,
        client: &Connection,
        until: Instant,
        tries: &mut Tries,
        tools: &mut Tools<'_>,
    ) -> Result<Reply, Fault> {
        let Self { core, backend, check, plan } = self;
        let until = || earlier(earlier(Some(until), plan.deadline), core.bell.until());
        let outgoing = Outgoing { head: &check.head, framing: check.framing, upgrade: None, trailers: check.trailers };
        tries.reused = false;
        let opening = connect::open(core, To { backend, slot, identity: plan.identity() }, client, &outgoing);
        let mut up = tools.ear.hearing(tools.timer.bound(until, opening)).await.ok_or_else(|| self.late())??;
        (tries.reused, tries.sent) = (up.reused, true);
        core.shard.backend(&backend.config().name).connected(up.reused);
        let Upstream { tx, rx, .. } = &mut up;
        let conversing = converse(tx, rx, &check.body, core.shared.limits.auth_answer_bytes);
        match tools.ear.hearing(tools.timer.bound(until, conversing)).await {
            Some(Ok((reply, upload_ended))) => {
                up.finish(core, upload_ended && reply.is_whole, Instant::now());
                Ok(reply)
            }
            Some(Err(fault)) => Err(fault),
            None => {
                up.condemn();
                Err(self.late())
            }
        }
    }

    fn late(&self) -> Fault {
        passed(self.core, self.plan).unwrap_or(Failure::AuthTimeout).into()
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
