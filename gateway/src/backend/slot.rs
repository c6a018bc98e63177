//! The right to send one request to one endpoint. Exists once; gives itself back. Never leaves its core.

use super::{Endpoint, endpoint::Seat};
use std::{marker::PhantomData, rc::Rc, sync::Arc, time::Instant};

/// How a try failed at its endpoint, as far as its health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointFailure {
    /// Nobody listens.
    Refused,
    /// No way there, or no connection in time, or TLS failed.
    Unconnected,
    /// The connection broke, or what came back was no HTTP, before the answer began.
    Broken,
    /// No answer in time.
    TimedOut,
    /// An answer by which the application says that it cannot: 500, 502, 503 or 504.
    Erred,
}

/// Whether a status says that the endpoint failed, whatever was asked. One that only answers so is left out as one that does not
/// answer; where most do, none is.
fn errs(status: u16) -> bool {
    matches!(status, 500 | 502..=504)
}

/// A slot: a request in flight. Dropping it gives it to the head of the line, or frees it.
#[derive(Debug)]
pub struct Slot {
    seat: Arc<Seat>,
    /// Granted under the lock and given back under it.
    counted: bool,
    // Not Send: the seat's counter is written by its core only.
    core: PhantomData<Rc<()>>,
}

impl Slot {
    /// A slot that was counted under the backend's lock.
    pub(super) fn counted(seat: &Arc<Seat>) -> Self {
        Self { seat: Arc::clone(seat), counted: true, core: PhantomData }
    }

    /// A slot whose seat was entered.
    pub(super) fn uncounted(seat: Arc<Seat>) -> Self {
        Self { seat, counted: false, core: PhantomData }
    }

    /// Where to send the request.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.seat.endpoint
    }

    /// The head of the answer came, with this status.
    pub fn answered(&self, status: u16, now: Instant) {
        self.came(errs(status), now);
    }

    /// The first byte of an answer came that has no status.
    pub fn succeeded(&self, now: Instant) {
        self.came(false, now);
    }

    /// Costs one load unless it is a failure, the endpoint failed lately or the backend is just starting.
    fn came(&self, erred: bool, now: Instant) {
        if (erred || self.seat.endpoint.is_troubled() || (self.counted && self.seat.gate.is_starting()))
            && let Some(backend) = self.seat.backend.upgrade()
        {
            backend.answered(self.seat.endpoint.id, erred, self.counted, now);
        }
    }

    /// The try failed before an answer began.
    pub fn failed(&self, how: EndpointFailure, now: Instant) {
        if let Some(backend) = self.seat.backend.upgrade() {
            backend.failed(self.seat.endpoint.id, how, now);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.counted {
            if let Some(backend) = self.seat.backend.upgrade() {
                backend.release(&self.seat.endpoint);
            }
            return;
        }
        self.seat.exit();
        // The backend got a bound while this request was in flight: somebody may wait for it.
        if !self.seat.gate.read().is_open()
            && let Some(backend) = self.seat.backend.upgrade()
        {
            backend.settle();
        }
    }
}
