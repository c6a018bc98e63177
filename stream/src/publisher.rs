//! The controller's handle: what each Gateway is to serve, and what its Pods say. Never waits for a gateway, and keeps only the newest of everything.

use crate::{
    ledger::Ledger,
    pace::Pace,
    publication::{Certificates, Publication},
    report::{FromGateway, Report},
};
use headgate_config::{Endpoints, GatewayName, Snapshot, Version};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Reports that wait for the controller; a session whose report finds no room keeps the newest of each kind itself.
const REPORTS: usize = 1_024;

/// What was current a while ago still is for this long: a look that gets no answer takes 4 s, and the next begins 2 s later.
const CURRENT_FOR: Duration = Duration::from_secs(8);

/// Publishes; clones are the same one.
#[derive(Clone)]
pub struct Publisher(Arc<Shared>);

struct Shared {
    controller: String,
    epoch: u64,
    program: String,
    pace: Pace,
    leading: watch::Sender<bool>,
    reached: OnceLock<watch::Receiver<Instant>>,
    reports: mpsc::Sender<FromGateway>,
    desks: Mutex<HashMap<GatewayName, Arc<Desk>>>,
}

impl Publisher {
    /// A publisher and what its gateways say. `controller` is the name of this Pod, `epoch` a number that is another one after each
    /// start, `program` the version of this program.
    pub fn new(controller: &str, epoch: u64, program: &str, pace: Pace) -> (Self, mpsc::Receiver<FromGateway>) {
        let (reports, inbox) = mpsc::channel(REPORTS);
        let shared = Shared {
            controller: controller.to_owned(),
            epoch,
            program: program.to_owned(),
            pace,
            leading: watch::Sender::new(false),
            reached: OnceLock::new(),
            reports,
            desks: Mutex::default(),
        };
        (Self(Arc::new(shared)), inbox)
    }

    /// Makes this what the Gateway's Pods serve, as a whole. The first call must wait until everything is known that belongs to it,
    /// endpoints too: before it nothing is sent. Returns its version; the same as before if nothing differs.
    pub fn publish(&self, gateway: &GatewayName, snapshot: Snapshot, certificates: Arc<Certificates>) -> Version {
        let desk = self.desk(gateway);
        let mut state = desk.state();
        let before = state.publication.clone();
        if let Some(same) = before.as_ref().filter(|before| before.is(&snapshot, &certificates)) {
            return same.version;
        }
        let version = Version(before.as_ref().map_or(0, |before| before.version.0) + 1);
        let next = Arc::new(before.as_deref().unwrap_or(&Publication::default()).next(version, snapshot, certificates));
        state.ledger.trim(next.backends(), |name| next.has_backend(name));
        let retired = state.publication.replace(next);
        drop(state);
        // outside the lock: the last holder of a large version frees it
        drop((retired, before));
        desk.ring();
        version
    }

    /// Tells a Gateway's Pods the endpoints of a backend: the newest of each backend is sent, apart from the routes. Returns the number
    /// that [`Report::EndpointsApplied`] reaches once they are live. A backend without any is told too, with an empty list; of one that
    /// was never told, a gateway keeps what it has.
    pub fn endpoints(&self, gateway: &GatewayName, endpoints: Endpoints) -> u64 {
        let desk = self.desk(gateway);
        let (before, sequence) = {
            let mut state = desk.state();
            (state.ledger.newest(), state.ledger.tell(endpoints))
        };
        if sequence > before {
            desk.ring();
        }
        sequence
    }

    /// The Gateway is gone: its streams end, and what was published for it is forgotten. Its Pods serve on what they have.
    pub fn forget(&self, gateway: &GatewayName) {
        let desk = lock(&self.0.desks).remove(gateway);
        if let Some(desk) = desk {
            desk.state().forgotten = true;
            desk.ring();
        }
    }

    /// Says whether this controller leads: gateways follow the one that does, so that acknowledgements of all of them come to it.
    pub fn lead(&self, leading: bool) {
        self.0.leading.send_replace(leading);
    }

    /// From now on `reached` says when that was known to be current from which versions are made. Where it has not been for a while, a
    /// gateway that holds routes is not told others: what it has may be newer, from a controller that was there until a moment ago.
    pub fn current_as_of(&self, reached: watch::Receiver<Instant>) {
        // a second one says nothing else than the first
        let _ = self.0.reached.set(reached);
    }

    pub(crate) fn is_current(&self, now: Instant) -> bool {
        self.0.reached.get().is_none_or(|reached| now < *reached.borrow() + CURRENT_FOR)
    }

    pub(crate) fn desk(&self, gateway: &GatewayName) -> Arc<Desk> {
        let mut desks = lock(&self.0.desks);
        Arc::clone(desks.entry(gateway.clone()).or_insert_with(|| Desk::new(gateway, self.0.reports.clone())))
    }

    pub(crate) fn pace(&self) -> Pace {
        self.0.pace
    }

    pub(crate) fn leading(&self) -> watch::Receiver<bool> {
        self.0.leading.subscribe()
    }

    pub(crate) fn hello(&self, leading: bool) -> crate::wire::DownHello {
        crate::wire::DownHello {
            protocol: crate::wire::PROTOCOL,
            controller: self.0.controller.clone(),
            epoch: self.0.epoch,
            program: self.0.program.clone(),
            leading,
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({})", self.0.controller)
    }
}

/// What is known of one Gateway.
pub(crate) struct Desk {
    gateway: GatewayName,
    state: Mutex<DeskState>,
    news: watch::Sender<()>,
    reports: mpsc::Sender<FromGateway>,
}

/// What is to be served, and who is there.
#[derive(Default)]
pub(crate) struct DeskState {
    /// The newest version; `None` before the first.
    pub publication: Option<Arc<Publication>>,
    /// The newest endpoints.
    pub ledger: Ledger,
    /// Whether the Gateway is gone.
    pub forgotten: bool,
    /// Each Pod's stream.
    sessions: HashMap<String, Seat>,
    seats: u64,
}

struct Seat {
    number: u64,
    /// Dropped once a later stream of the same Pod takes the seat.
    _holds: oneshot::Sender<()>,
}

/// One stream's place among those of its Gateway.
pub(crate) struct Session {
    pub desk: Arc<Desk>,
    pub pod: String,
    number: u64,
    /// Ends once another stream of the same Pod has come.
    pub replaced: oneshot::Receiver<()>,
}

impl Desk {
    fn new(gateway: &GatewayName, reports: mpsc::Sender<FromGateway>) -> Arc<Self> {
        let news = watch::Sender::new(());
        Arc::new(Self { gateway: gateway.clone(), state: Mutex::default(), news, reports })
    }

    pub fn state(&self) -> MutexGuard<'_, DeskState> {
        lock(&self.state)
    }

    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// The reports of its sessions.
    pub fn reports(&self) -> &mpsc::Sender<FromGateway> {
        &self.reports
    }

    fn ring(&self) {
        self.news.send_replace(());
    }

    /// A Pod's stream begins; one before it ends.
    pub fn seat(self: &Arc<Self>, pod: &str) -> Session {
        let (holds, replaced) = oneshot::channel();
        let mut state = self.state();
        state.seats += 1;
        let number = state.seats;
        state.sessions.insert(pod.to_owned(), Seat { number, _holds: holds });
        Session { desk: Arc::clone(self), pod: pod.to_owned(), number, replaced }
    }
}

impl Session {
    /// Reports, unless a later stream of the same Pod speaks for it: looked at under the lock, so that no report of this one comes
    /// after the first of that one.
    pub fn report(&self, permit: mpsc::Permit<'_, FromGateway>, report: Report) {
        let mut state = self.desk.state();
        if state.sessions.get(&self.pod).is_some_and(|seat| seat.number == self.number) {
            if report == Report::Gone {
                state.sessions.remove(&self.pod);
            }
            permit.send(FromGateway { gateway: self.desk.gateway.clone(), pod: self.pod.clone(), report });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}
