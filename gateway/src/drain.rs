//! Draining: no new connections, what runs is finished or answered, and a limit to it all. Never a request dropped in silence before the limit.

use crate::places::Places;
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// A core's bell: rung once when draining starts; whoever waits without a byte in flight listens to it.
#[derive(Default)]
pub struct Bell {
    until: Cell<Option<Instant>>,
    sends_away: Cell<bool>,
    listeners: RefCell<Places<Option<Waker>>>,
}

impl Bell {
    /// Starts draining: everything must have ended by `until`. Wakes every listener.
    pub fn ring(&self, until: Instant) {
        self.until.set(Some(until));
        self.stir();
    }

    /// Clients find another process at the same ports: those that can be told without loss are, and nothing else ends. Wakes every listener.
    pub fn send_away(&self) {
        self.sends_away.set(true);
        self.stir();
    }

    /// Whether a connection ends with the answer that begins now.
    pub fn ends_connections(&self) -> bool {
        self.sends_away.get() || self.is_rung()
    }

    /// Wakes every listener, without a word: something else changed that they look at.
    pub fn stir(&self) {
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

    /// Ready once clients are sent away, or draining has started; otherwise the task is woken when they are.
    pub fn poll_sent_away(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bell.sends_away.get() { Poll::Ready(()) } else { self.poll_rung(cx) }
    }

    /// `future`, polled also when draining starts: for waits whose limit comes of the bell.
    pub async fn hearing<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _ = self.poll_rung(cx);
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.bell.listeners.borrow_mut().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn who_can_be_sent_away_hears_of_it_before_the_drain() {
        let (bell, woken) = (Rc::new(Bell::default()), Arc::new(Woken::default()));
        let (ear, waker) = (Ear::new(&bell), Waker::from(woken.clone()));
        let mut cx = Context::from_waker(&waker);
        assert!(ear.poll_sent_away(&mut cx).is_pending());
        bell.send_away();
        assert!(woken.0.load(Relaxed) && ear.poll_sent_away(&mut cx).is_ready());
        assert!(ear.poll_rung(&mut cx).is_pending(), "it does not drain");
        bell.ring(Instant::now());
        assert!(ear.poll_rung(&mut cx).is_ready() && ear.poll_sent_away(&mut cx).is_ready());
    }

    #[test]
    fn what_hears_the_bell_is_polled_when_it_rings() {
        let (bell, woken) = (Rc::new(Bell::default()), Arc::new(Woken::default()));
        let (ear, waker) = (Ear::new(&bell), Waker::from(woken.clone()));
        let mut cx = Context::from_waker(&waker);
        let until_rung = poll_fn(|_| bell.until().map_or(Poll::Pending, Poll::Ready));
        let mut waiting = pin!(ear.hearing(until_rung));
        assert!(waiting.as_mut().poll(&mut cx).is_pending() && !woken.0.load(Relaxed));
        let until = Instant::now();
        bell.ring(until);
        assert!(woken.0.load(Relaxed));
        assert_eq!(waiting.poll(&mut cx), Poll::Ready(until));
    }
}
