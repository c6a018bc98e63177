//! A place in the line of a backend. Dropping it leaves the line in O(1) and gives a slot that it was just given to the next.

use super::{Backend, CoreId, Refusal, Slot, queue::Key, state::Progress};
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

/// What became of waiting.
#[derive(Debug)]
pub enum Waited {
    /// Admitted.
    Slot(Slot),
    /// Not admitted: the reason.
    Refused(Refusal),
    /// New routes were published. The place is kept: ask the routes, and wait on if they still lead here; drop the place if not.
    Reroute,
}

/// A place in line.
#[derive(Debug)]
pub struct Waiting {
    backend: Arc<Backend>,
    core: CoreId,
    deadline: Instant,
    /// `None` once a slot or a refusal was given out.
    key: Option<Key>,
}

impl Waiting {
    pub(super) fn new(backend: Arc<Backend>, core: CoreId, deadline: Instant, key: Key) -> Self {
        Self { backend, core, deadline, key: Some(key) }
    }

    /// Until when it waits. Poll at that time: nobody else looks at the clock.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Tells this one alone that the routes changed: the next poll says so.
    pub fn reroute(&self) {
        if let Some(key) = self.key {
            self.backend.reroute_one(key);
        }
    }

    /// The answer, or `Pending` with the waker stored. At the deadline a slot wins over the refusal.
    ///
    /// # Panics
    ///
    /// After a slot or a refusal was returned.
    pub fn poll_slot(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Waited> {
        let key = self.key.expect("not polled after its end");
        let answer = match self.backend.look(key, cx.waker(), now >= self.deadline, now) {
            Progress::Waits => return Poll::Pending,
            Progress::Rerouted => return Poll::Ready(Waited::Reroute),
            Progress::Slot(row) => Waited::Slot(Slot::counted(row.seat(self.core, &self.backend))),
            Progress::Refused(refusal) => Waited::Refused(refusal),
        };
        self.key = None;
        self.backend.shared.budget.give_request();
        Poll::Ready(answer)
    }

    /// Waits for an answer, by tokio's clock; the place is kept if the future is dropped. For callers without a timer of their own.
    pub async fn answer(&mut self) -> Waited {
        let timer = tokio::time::sleep_until(self.deadline.into());
        let mut timer = std::pin::pin!(timer);
        std::future::poll_fn(|cx| {
            let timed_out = timer.as_mut().poll(cx).is_ready();
            let now = if timed_out { self.deadline } else { Instant::now() };
            self.poll_slot(cx, now)
        })
        .await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.backend.abandon(key);
            self.backend.shared.budget.give_request();
        }
    }
}
