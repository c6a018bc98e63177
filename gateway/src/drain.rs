//! Draining: no new connections, what runs is finished or answered, and a limit to it all. Never a request dropped in silence before the limit.

use crate::places::Places;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// A core's bell: rung once when draining starts; whoever waits without a byte in flight listens to it.
#[derive(Default)]
pub struct Bell {
    until: Cell<Option<Instant>>,
    listeners: RefCell<Places<Option<Waker>>>,
}

impl Bell {
    /// Starts draining: everything must have ended by `until`. Wakes every listener.
    pub fn ring(&self, until: Instant) {
        self.until.set(Some(until));
        for waker in self.listeners.borrow().iter() {
            waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// When all must have ended; `None` while not draining.
    pub fn until(&self) -> Option<Instant> {
        self.until.get()
    }

    /// Whether draining has started.
    pub fn is_rung(&self) -> bool {
        self.until.get().is_some()
    }
}

/// One task's ear: registered once, so a request costs nothing.
pub struct Ear {
    bell: Rc<Bell>,
    place: u32,
}

impl Ear {
    /// Listens for as long as it lives.
    pub fn new(bell: &Rc<Bell>) -> Self {
        let place = bell.listeners.borrow_mut().insert(None);
        Self { bell: bell.clone(), place }
    }

    /// Ready once draining has started; otherwise the task is woken when it does.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bell.is_rung() {
            return Poll::Ready(());
        }
        let mut listeners = self.bell.listeners.borrow_mut();
        let slot = listeners.get_mut(self.place);
        if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.bell.listeners.borrow_mut().remove(self.place);
    }
}
