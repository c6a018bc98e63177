//! Waiting for a backend that is cold or full. A request that waits is put aside: it keeps its exact size, and leaves with its client.

use crate::{
    backend::{Arrival, Backend, Charge, CoreId, Refusal, Slot, Ticket, Waited, Waiting},
    core::Core,
    deadline::earlier,
    exchange::{Fault, Halves},
    failure::Failure,
    listen::Connection,
    plan::Plan,
    proxy::{Down, Exchange, Tools},
    telemetry::{Began, Record, WaitEnd},
};
use headgate_http1::Upgrade;
use headgate_message::{Framing, PackedHead, RequestHead, Version};
use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

/// A request put aside. All that is kept of it is in here.
pub struct Parked {
    kept: Kept,
    place: InLine,
    asked: Instant,
}

/// A place in the line of a backend, and the account of what is kept meanwhile.
pub struct InLine {
    /// The place.
    pub waiting: Waiting,
    /// The account.
    pub charge: Charge,
}

/// What can be seen of a client while its request waits.
pub trait Watched {
    /// Ready when the client has left; reads ahead up to `spool` bytes.
    fn poll_gone(&mut self, cx: &mut Context<'_>, spool: usize) -> Poll<()>;
    /// Bytes that were read ahead.
    fn retained(&self) -> usize;
}

#[expect(clippy::large_enum_variant, reason = "the common case is the large one")]
enum Kept {
    Unsent(Unsent),
    /// Tried in vain, or its body was read. Rare, so as it is.
    Tried(Box<Exchange>),
}

/// A request of which nothing was sent, without what can be made anew.
struct Unsent {
    head: PackedHead,
    framing: Framing,
    halves: Halves,
    version: Version,
    upgrade: Option<Upgrade>,
    expects: bool,
    trailers: bool,
    connection: Rc<Connection>,
    plan: Plan,
    arrival: Option<Arrival>,
    began: Began,
}

/// How waiting ended, if not with a failure.
pub enum Granted {
    /// A slot.
    Slot(Slot),
    /// New routes have another rule for it: the head as it came.
    Reroute(Box<RequestHead>),
}

impl Parked {
    /// Puts a request aside that must wait for its backend.
    ///
    /// # Errors
    /// If there is no room for it; the request comes back with the failure.
    #[expect(clippy::result_large_err, reason = "the request comes back as it went in, without an allocation")]
    pub fn new(core: &Core, mut exchange: Exchange, asked: Instant) -> Result<Box<Self>, (Exchange, Fault)> {
        let backend = match exchange.plan.backend() {
            Ok(backend) => backend.clone(),
            Err(fault) => return Err((exchange, fault)),
        };
        let window = core.shared.limits.h2_stream_window as usize;
        let kept = exchange.down.park(window) + exchange.kept_of_body() + exchange.plan.kept();
        match InLine::enter(core, &backend, &mut exchange.ticket, exchange.plan.version, kept, asked) {
            Ok(place) => Ok(Box::new(Self { kept: Kept::of(core, exchange), place, asked })),
            Err(refusal) => Err((exchange, refusal.into())),
        }
    }

    /// Ready once there is a slot, the client has left, the time is over, or new routes lead elsewhere.
    pub fn poll(&mut self, core: &Core, tools: &mut Tools<'_>, cx: &mut Context<'_>) -> Poll<Result<Granted, Fault>> {
        loop {
            let waited = std::task::ready!(self.place.poll(&mut self.kept, core, tools, cx));
            return Poll::Ready(match waited {
                Ok(Waited::Reroute) => match self.kept.leads_elsewhere(core) {
                    Some(original) => Ok(Granted::Reroute(original)),
                    None => continue,
                },
                Ok(Waited::Slot(slot)) => Ok(Granted::Slot(slot)),
                Ok(Waited::Refused(refusal)) => Err(refusal.into()),
                Err(failure) => Err(failure.into()),
            });
        }
    }

    /// The request, out of line: its place and what it was charged are given back, and its wait is noted.
    pub fn leave(self, core: &Core, granted: &Result<Granted, Fault>) -> Exchange {
        let Self { kept, place, asked } = self;
        drop(place);
        let mut exchange = kept.back(core);
        let waited = asked.elapsed();
        let record = &mut exchange.record;
        record.waited = Some(waited);
        record.backend.iter().for_each(|series| series.waited(end_of(granted), waited));
        exchange
    }
}

impl InLine {
    /// Enters it, with so many bytes, by routes of this version. Refused or not, the backend knows that it is needed.
    pub fn enter(
        core: &Core,
        backend: &Arc<Backend>,
        ticket: &mut Ticket,
        routes: headgate_config::Version,
        kept: usize,
        asked: Instant,
    ) -> Result<Self, Refusal> {
        let waiting = backend.enqueue(ticket, asked)?;
        let mut charge = backend.charge();
        charge.grow(kept as u64)?;
        // who waited when newer routes became live was told so: not this one, if that was between its look at them and here
        if core.with_active(|active| active.version) != routes {
            waiting.reroute();
        }
        Ok(Self { waiting, charge })
    }

    /// Ready once the backend says something, the client has left, or the time is over.
    pub fn poll(
        &mut self,
        client: &mut impl Watched,
        core: &Core,
        tools: &mut Tools<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Waited, Failure>> {
        // only to be woken when draining starts or memory gets short: both are asked for below
        let _ = tools.ear.poll_rung(cx);
        let limit = earlier(Some(self.waiting.deadline()), core.bell.until());
        let is_over = tools.timer.poll_expired(cx, limit).is_ready();
        if let Poll::Ready(waited) = self.waiting.poll_slot(cx, Instant::now()) {
            return Poll::Ready(Ok(waited));
        }
        if is_over {
            return Poll::Ready(Err(Failure::Draining));
        }
        let before = client.retained();
        if client.poll_gone(cx, core.shared.limits.spool_bytes).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        let more = client.retained().saturating_sub(before);
        match self.charge.grow(more as u64).and_then(|()| self.charge.may_stay()) {
            Ok(()) => Poll::Pending,
            Err(refusal) => Poll::Ready(Ok(Waited::Refused(refusal))),
        }
    }
}

impl Kept {
    fn of(core: &Core, exchange: Exchange) -> Self {
        if exchange.record.attempts > 0 || exchange.has_read() {
            let mut exchange = exchange;
            // shrinking in place would leave each request alone on a page of its own
            core.buffers.give(exchange.down.head.fields.compact());
            return Self::Tried(Box::new(exchange));
        }
        let (down, plan, ticket, began) = exchange.into_unsent();
        let Down { head, framing, rx, tx, version, upgrade, expects, trailers, arrived: _, connection } = down;
        let spent = head;
        let head = PackedHead::of(&spent);
        core.buffers.give_spent(spent.fields);
        let (halves, arrival) = (Halves::of(rx, tx), ticket.place());
        let unsent =
            Unsent { head, framing, halves, version, upgrade, expects, trailers, connection, plan, arrival, began };
        Self::Unsent(unsent)
    }

    fn back(self, core: &Core) -> Exchange {
        let unsent = match self {
            Self::Unsent(unsent) => unsent,
            Self::Tried(exchange) => return *exchange,
        };
        let Unsent { head, framing, halves, version, upgrade, expects, trailers, connection, plan, arrival, began } =
            unsent;
        let head = head.unpack(core.buffers.take_spent());
        let (rx, tx) = halves.apart();
        let arrived = began.arrived();
        let down = Down { head, framing, rx, tx, version, upgrade, expects, trailers, arrived, connection };
        let ticket = Ticket::at(CoreId(core.id), plan.deadline, arrival);
        Exchange::unsent(core, down, plan, ticket, Record::of(began))
    }

    fn leads_elsewhere(&self, core: &Core) -> Option<Box<RequestHead>> {
        match self {
            Self::Unsent(unsent) => unsent.plan.leads_elsewhere(core, unsent.connection.port, Some(&unsent.head)),
            // a byte was sent already, or a service saw it under its rule: it stays with that
            Self::Tried(_) => None,
        }
    }
}

impl Watched for Kept {
    fn poll_gone(&mut self, cx: &mut Context<'_>, spool: usize) -> Poll<()> {
        match self {
            Self::Unsent(unsent) => unsent.halves.poll_gone(cx, spool),
            Self::Tried(exchange) => exchange.down.poll_gone(cx, spool),
        }
    }

    fn retained(&self) -> usize {
        match self {
            Self::Unsent(unsent) => unsent.halves.retained(),
            Self::Tried(exchange) => exchange.down.retained(),
        }
    }
}

impl Watched for Down {
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

/// How a wait ended, for its metric.
pub fn end_of(granted: &Result<Granted, Fault>) -> WaitEnd {
    match granted {
        Ok(Granted::Slot(_)) => WaitEnd::Served,
        Ok(Granted::Reroute(_)) => WaitEnd::Rerouted,
        Err(fault) if fault.failure == Failure::ClientGone => WaitEnd::Gone,
        Err(_) => WaitEnd::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be very many. What is larger belongs into `Tried`, or can be made anew.
    #[test]
    fn a_request_that_waits_is_small() {
        let parts = [
            ("head", size_of::<PackedHead>()),
            ("halves", size_of::<Halves>()),
            ("plan", size_of::<Plan>()),
            ("began", size_of::<Began>()),
            ("place", size_of::<InLine>()),
        ];
        assert!(size_of::<Parked>() <= 472, "{} B; of them {parts:?}", size_of::<Parked>());
    }
}
