//! What a request shows when it asks for admission, the same over all its tries. Never shared by two requests.

use super::{CoreId, EndpointId, queue::Arrival};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// Endpoints remembered as tried; more tries than this forget the oldest.
const TRIED_KEPT: usize = 4;

/// A request's claim: its core, its place and what it tried. Keep it until the request is over: it keeps the place in line over
/// retries and new routes.
#[derive(Debug)]
pub struct Ticket {
    pub(super) core: CoreId,
    pub(super) cap: Option<Instant>,
    pub(super) arrival: Option<Arrival>,
    pub(super) tried: Tried,
}

impl Ticket {
    /// A new request on this core, that must not wait beyond `cap` (its own time limit), whatever the backend allows.
    pub fn new(core: CoreId, cap: Option<Instant>) -> Self {
        Self { core, cap, arrival: None, tried: Tried::default() }
    }

    /// The place in line, which is all that is kept of the ticket of a request that waits and tried nothing.
    pub fn place(&self) -> Option<Arrival> {
        self.arrival
    }

    /// The ticket again.
    pub fn at(core: CoreId, cap: Option<Instant>, arrival: Option<Arrival>) -> Self {
        Self { core, cap, arrival, tried: Tried::default() }
    }

    /// The endpoint was tried and nothing came of it: another one is preferred from now on, and the place is at the front, for the request
    /// was admitted before all who wait now.
    pub fn exclude(&mut self, endpoint: EndpointId) {
        self.tried.push(endpoint);
        self.arrival.get_or_insert(Arrival(0));
    }

    /// The place in line, drawn when it is first needed.
    pub(super) fn arrive(&mut self) -> Arrival {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        *self.arrival.get_or_insert_with(|| Arrival(NEXT.fetch_add(1, Relaxed)))
    }
}

/// The endpoints that a request tried in vain, the newest first; 0 is none. Allocates only where there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried(Option<Arc<[u64; TRIED_KEPT]>>);

impl Tried {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn has(&self, endpoint: EndpointId) -> bool {
        self.0.as_ref().is_some_and(|tried| tried.contains(&endpoint.0))
    }

    fn push(&mut self, endpoint: EndpointId) {
        if self.has(endpoint) {
            return;
        }
        let tried = Arc::make_mut(self.0.get_or_insert_default());
        tried.rotate_right(1);
        tried[0] = endpoint.0;
    }
}
