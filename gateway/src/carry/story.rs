//! The part of the story that connections and datagrams share: a lead, a slot at once or after a wait, another endpoint where one cannot be reached. Knows no socket.

use super::lead::{Asked, Lead};
use crate::{
    backend::{Admission, CoreId, Slot, Ticket, Waited},
    core::Core,
    deadline::{Timer, earlier},
    drain::Ear,
    exchange::Fault,
    failure::{Failure, Retry},
    proxy::tell_health,
    telemetry::{Record, WaitEnd},
    wait::InLine,
};
use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Instant,
};

/// Endpoints that are tried after the first: nothing was sent to one that could not be reached.
const MORE_TRIES_MAX: u32 = 3;

/// A connection, or a client's datagrams, on the way to an endpoint.
pub struct Story<'c> {
    core: &'c Core,
    asked: Asked<'c>,
    /// Where it goes.
    pub lead: Lead,
    ticket: Ticket,
    tries_left: u32,
    /// What is told of it in the end.
    pub record: &'c mut Record,
    /// The timer of all its waits.
    pub timer: Timer,
    /// Hears the drain begin.
    pub ear: Ear,
}

impl<'c> Story<'c> {
    /// Finds a lead.
    pub fn begin(core: &'c Core, asked: Asked<'c>, record: &'c mut Record) -> Result<Self, Fault> {
        let lead = Lead::of(core, asked, record)?;
        let ticket = Ticket::new(CoreId(core.id), None);
        let (timer, ear) = (Timer::default(), Ear::new(&core.bell));
        Ok(Self { core, asked, lead, ticket, tries_left: MORE_TRIES_MAX, record, timer, ear })
    }

    /// A slot at once, or after a wait; `kept` are the bytes that it keeps meanwhile, and `gone` is ready once the client has left.
    pub async fn admit(
        &mut self,
        kept: usize,
        mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Result<Slot, Fault> {
        loop {
            match self.lead.backend.try_admit(&self.ticket, self.core.roll(), Instant::now()) {
                Admission::Slot(slot) => return Ok(slot),
                Admission::Refused(refusal) => return Err(refusal.into()),
                Admission::MustWait => {}
            }
            let asked = Instant::now();
            let waited = self.wait(kept, asked, &mut gone).await;
            let time = asked.elapsed();
            self.record.waited = Some(self.record.waited.unwrap_or_default() + time);
            self.record.backend.iter().for_each(|series| series.waited(end_of(&waited), time));
            match waited? {
                Some(slot) => return Ok(slot),
                None => self.lead = Lead::of(self.core, self.asked, self.record)?,
            }
        }
    }

    /// Waits in line; `None` if new routes lead elsewhere.
    async fn wait(
        &mut self,
        kept: usize,
        asked: Instant,
        gone: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Result<Option<Slot>, Fault> {
        let backend = self.lead.backend.clone();
        let line = InLine::enter(self.core, &backend, &mut self.ticket, self.record.routes, kept, asked)?;
        let InLine { mut waiting, charge: _counted } = line;
        let (core, timer, ear) = (self.core, &mut self.timer, &self.ear);
        loop {
            let waited = poll_fn(|cx| {
                // only to be woken when draining starts: its limit is asked for below
                let _ = ear.poll_rung(cx);
                let is_over = timer.poll_expired(cx, earlier(Some(waiting.deadline()), core.bell.until())).is_ready();
                if let Poll::Ready(waited) = waiting.poll_slot(cx, Instant::now()) {
                    return Poll::Ready(Ok(waited));
                }
                if is_over {
                    return Poll::Ready(Err(Failure::Draining));
                }
                gone(cx).map(|()| Err(Failure::ClientGone))
            });
            match waited.await? {
                Waited::Slot(slot) => return Ok(Some(slot)),
                Waited::Refused(refusal) => return Err(refusal.into()),
                Waited::Reroute if !self.lead.holds(core, self.asked) => return Ok(None),
                Waited::Reroute => {}
            }
        }
    }

    /// An endpoint is tried now.
    pub fn tries(&mut self, slot: &Slot) {
        self.record.attempts += 1;
        self.record.endpoint = Some(slot.endpoint().address);
        if self.record.attempts > 1 {
            self.record.backend.iter().for_each(|series| series.retried());
        }
    }

    /// It is connected.
    pub fn connected(&mut self, slot: &Slot, opening: Instant) {
        slot.succeeded(Instant::now());
        self.record.connecting = Some(opening.elapsed());
        self.record.backend.iter().for_each(|series| series.connected(false));
    }

    /// An endpoint could not be reached: the fault, if no other is tried now.
    pub fn failed(&mut self, slot: Slot, fault: Fault) -> Result<(), Fault> {
        tell_health(&slot, &fault);
        if self.tries_left == 0 || fault.failure.row().retry != Retry::OtherEndpoint {
            return Err(fault);
        }
        self.tries_left -= 1;
        self.ticket.exclude(slot.endpoint().id);
        Ok(())
    }
}

fn end_of(waited: &Result<Option<Slot>, Fault>) -> WaitEnd {
    match waited {
        Ok(Some(_)) => WaitEnd::Served,
        Ok(None) => WaitEnd::Rerouted,
        Err(fault) if fault.failure == Failure::ClientGone => WaitEnd::Gone,
        Err(_) => WaitEnd::Refused,
    }
}
