//! Waiting for a backend that is cold or full. A request that waits is put aside: it keeps its exact size, and leaves with its client.

use crate::{
    backend::{Charge, Slot, Waited, Waiting},
    buffers::Buffers,
    core::Core,
    deadline::earlier,
    exchange::{DownRx, Fault},
    failure::Failure,
    proxy::{Down, Exchange, Tools},
    telemetry::WaitEnd,
};
use headgate_message::RequestHead;
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

/// A request put aside. All that is kept of it is in here.
pub struct Parked {
    /// The request.
    pub exchange: Exchange,
    waiting: Waiting,
    charge: Charge,
    asked: Instant,
}

/// How waiting ended, if not with a failure.
pub enum Granted {
    /// A slot.
    Slot(Slot),
    /// New routes have another rule for it: the head as it came.
    Reroute(RequestHead),
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
        let mut charge = backend.charge();
        let window = core.shared.limits.h2_stream_window as usize;
        let kept = park(&mut exchange.down, &core.buffers) + exchange.unread_of_http2(window);
        let entered = charge.grow(kept as u64).and_then(|()| backend.enqueue(&mut exchange.ticket, asked));
        match entered {
            Ok(waiting) => Ok(Box::new(Self { exchange, waiting, charge, asked })),
            Err(refusal) => Err((exchange, refusal.into())),
        }
    }

    /// Waits until there is a slot, the client leaves, the time is over, or new routes lead elsewhere.
    pub async fn wait(&mut self, core: &Rc<Core>, tools: &mut Tools<'_>) -> Result<Granted, Fault> {
        let granted = loop {
            match poll_fn(|cx| self.poll(core, tools, cx)).await {
                // a byte was sent already: it stays with its rule
                Ok(Waited::Reroute) if self.exchange.record.attempts > 0 => {}
                Ok(Waited::Reroute) => {
                    if let Some(original) = self.exchange.plan.leads_elsewhere(core, &self.exchange.down) {
                        break Ok(Granted::Reroute(original));
                    }
                }
                Ok(Waited::Slot(slot)) => break Ok(Granted::Slot(slot)),
                Ok(Waited::Refused(refusal)) => break Err(refusal.into()),
                Err(failure) => break Err(failure.into()),
            }
        };
        let waited = self.asked.elapsed();
        let record = &mut self.exchange.record;
        record.waited = Some(waited);
        record.backend.iter().for_each(|series| series.waited(end_of(&granted), waited));
        granted
    }

    /// The request, out of line: its place and what it was charged are given back.
    pub fn leave(self) -> Exchange {
        let Self { exchange, waiting, charge, .. } = self;
        drop((waiting, charge));
        exchange
    }

    fn poll(&mut self, core: &Core, tools: &mut Tools<'_>, cx: &mut Context<'_>) -> Poll<Result<Waited, Failure>> {
        // only to be woken when draining starts: its limit is asked for below
        let _ = tools.ear.poll_rung(cx);
        let limit = earlier(Some(self.waiting.deadline()), core.bell.until());
        let is_over = tools.timer.poll_expired(cx, limit).is_ready();
        if let Poll::Ready(waited) = self.waiting.poll_slot(cx, Instant::now()) {
            return Poll::Ready(Ok(waited));
        }
        if is_over {
            return Poll::Ready(Err(Failure::Draining));
        }
        let down = &mut self.exchange.down;
        let before = retained(&down.rx);
        if down.rx.poll_gone(cx, core.shared.limits.spool_bytes).is_ready() || down.tx.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        let more = retained(&down.rx).saturating_sub(before);
        match self.charge.grow(more as u64) {
            Ok(()) => Poll::Pending,
            Err(refusal) => Poll::Ready(Err(refusal.failure)),
        }
    }
}

fn end_of(granted: &Result<Granted, Fault>) -> WaitEnd {
    match granted {
        Ok(Granted::Slot(_)) => WaitEnd::Served,
        Ok(Granted::Reroute(_)) => WaitEnd::Rerouted,
        Err(fault) if fault.failure == Failure::ClientGone => WaitEnd::Gone,
        Err(_) => WaitEnd::Refused,
    }
}

/// Gives back what a waiting request does not need; says how many bytes it keeps.
fn park(down: &mut Down, buffers: &Buffers) -> usize {
    buffers.give(down.head.fields.compact());
    if let DownRx::H1(rx) = &mut down.rx {
        rx.park();
    }
    down.head.fields.retained() + retained(&down.rx)
}

fn retained(rx: &DownRx) -> usize {
    match rx {
        DownRx::H1(rx) => rx.retained(),
        DownRx::H2(_) => 0,
    }
}
