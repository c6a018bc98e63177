//! What a request shows when it asks for admission, the same over all its tries. Never shared by two requests.

use super::{CoreId, EndpointId, endpoint::Row, queue::Arrival};
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
    pub(super) leaning: Leaning,
}

impl Ticket {
    /// A new request on this core, that must not wait beyond `cap` (its own time limit), whatever the backend allows.
    pub fn new(core: CoreId, cap: Option<Instant>) -> Self {
        Self { core, cap, arrival: None, leaning: Leaning::default() }
    }

    /// The place in line, which is all that is kept of the ticket of a request that waits and tried nothing.
    pub fn place(&self) -> Option<Arrival> {
        self.arrival
    }

    /// The ticket again.
    pub fn at(core: CoreId, cap: Option<Instant>, arrival: Option<Arrival>) -> Self {
        Self { core, cap, arrival, leaning: Leaning::default() }
    }

    /// The request has another time limit.
    pub fn limit(&mut self, cap: Option<Instant>) {
        self.cap = cap;
    }

    /// The endpoint was tried and nothing came of it: another one is preferred from now on, and the place is at the front, for the request
    /// was admitted before all who wait now.
    pub fn exclude(&mut self, endpoint: EndpointId) {
        self.leaning.avoid(endpoint);
        self.arrival.get_or_insert(Arrival(0));
    }

    /// Only this endpoint is taken while it is in service, whatever the load, unless it was tried in vain.
    pub fn bind(&mut self, endpoint: EndpointId) {
        self.leaning.bind(endpoint);
    }

    /// The place in line, drawn when it is first needed.
    pub(super) fn arrive(&mut self) -> Arrival {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        *self.arrival.get_or_insert_with(|| Arrival(NEXT.fetch_add(1, Relaxed)))
    }
}

/// Which endpoints a request prefers. Allocates only where it has a preference; most have none.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaning(Option<Arc<Leans>>);

/// Endpoints by their ids; 0 is none.
#[derive(Clone, Debug, Default)]
struct Leans {
    /// Tried in vain, the newest first.
    tried: [u64; TRIED_KEPT],
    /// The only one to take while it is in service.
    bound: u64,
}

impl Leaning {
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the endpoint was tried in vain.
    pub fn avoids(&self, endpoint: EndpointId) -> bool {
        self.0.as_ref().is_some_and(|leans| leans.tried.contains(&endpoint.0))
    }

    /// The place of the endpoint that the request is bound to, if that is among these.
    pub fn bound_among(&self, rows: &[Arc<Row>]) -> Option<usize> {
        let bound = self.0.as_ref()?.bound;
        // no endpoint has the id 0
        rows.iter().position(|row| row.endpoint.id.0 == bound)
    }

    fn bind(&mut self, endpoint: EndpointId) {
        if !self.avoids(endpoint) {
            Arc::make_mut(self.0.get_or_insert_default()).bound = endpoint.0;
        }
    }

    fn avoid(&mut self, endpoint: EndpointId) {
        if self.avoids(endpoint) {
            return;
        }
        let leans = Arc::make_mut(self.0.get_or_insert_default());
        leans.tried.rotate_right(1);
        leans.tried[0] = endpoint.0;
        if leans.bound == endpoint.0 {
            leans.bound = 0;
        }
    }
}
