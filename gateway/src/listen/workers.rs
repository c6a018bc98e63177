//! Tasks that serve the requests of HTTP/2, one after the other, so that a request makes neither a task nor a timer nor memory for its work. A request that waits leaves its worker: what waits is small. Never more idle workers than are worth their memory.

use super::Connection;
use crate::{
    core::Core,
    deadline::Timer,
    drain::Ear,
    exchange::{DownTx, Fault},
    proxy::{self, Down, Served, Tools},
    wait::{Granted, Parked},
};
use headgate_message::Version;
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// Idle workers of a core; more end. Each keeps some KiB.
const IDLE_MAX: usize = 256;

/// The idle workers of one core.
#[derive(Default)]
pub struct Workers(RefCell<Vec<Rc<Desk>>>);

/// Where an idle worker finds what it is to do next.
#[derive(Default)]
struct Desk {
    job: RefCell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
}

/// What a worker does.
pub struct Job {
    /// The stream that it does it for.
    pub stream: Stream,
    /// What it does.
    pub work: Work,
}

/// A stream of a connection that is served.
pub struct Stream {
    quiet_since: Rc<Cell<Instant>>,
    _served: Rc<()>,
}

impl Stream {
    /// One of a connection that counts its streams by the clones of `served`; since when it has none is noted in `quiet_since`.
    pub fn new(quiet_since: &Rc<Cell<Instant>>, served: &Rc<()>) -> Self {
        Self { quiet_since: quiet_since.clone(), _served: served.clone() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.quiet_since.set(Instant::now());
    }
}

/// What is to be done for a stream.
#[expect(clippy::large_enum_variant, reason = "the common case is the large one, and is not to allocate")]
pub enum Work {
    /// Its request.
    Begins(Down),
    /// Its request, after it waited.
    Waited(Box<Parked>, Result<Granted, Fault>),
    /// It is no request.
    Refuse(Rc<Connection>, Box<(DownTx, Fault)>),
}

/// Has a worker do a job: an idle one, or a new one if there is none.
pub fn give(core: &Rc<Core>, job: Job) {
    match core.workers.0.borrow_mut().pop() {
        Some(desk) => desk.put(job),
        None => drop(tokio::task::spawn_local(work(core.clone(), job))),
    }
}

impl Desk {
    fn put(&self, job: Job) {
        self.job.replace(Some(job));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn poll_job(&self, cx: &mut Context<'_>) -> Poll<Job> {
        if let Some(job) = self.job.take() {
            return Poll::Ready(job);
        }
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

impl Workers {
    /// Notes an idle worker; false if there are enough.
    fn rest(&self, desk: &Rc<Desk>) -> bool {
        let mut idle = self.0.borrow_mut();
        let has_room = idle.len() < IDLE_MAX;
        if has_room {
            idle.push(desk.clone());
        }
        has_room
    }
}

/// Does jobs while there is room for one that waits for the next.
async fn work(core: Rc<Core>, first: Job) {
    let desk = Rc::new(Desk::default());
    let (mut timer, ear) = (Timer::default(), Ear::new(&core.bell));
    let mut next = Some(first);
    while let Some(Job { stream, work }) = next {
        let mut tools = Tools { timer: &mut timer, ear: &ear };
        let served = match work {
            Work::Begins(down) => Some(proxy::serve(&core, down, &mut tools).await),
            Work::Waited(parked, granted) => Some(proxy::resume(&core, *parked, granted, &mut tools).await),
            Work::Refuse(connection, refused) => {
                let (mut tx, fault) = *refused;
                let refusing = proxy::refuse(&core, &connection, &mut tx, Version::Http2, fault, Instant::now());
                // boxed: rare, and as large as an answer
                Box::pin(refusing).await;
                None
            }
        };
        // the stream is over, or waits elsewhere, before the worker rests
        match served.and_then(|served| parked(&core, served)) {
            Some(parked) => drop(tokio::task::spawn_local(wait(core.clone(), stream, parked))),
            None => drop(stream),
        }
        next = match core.workers.rest(&desk) {
            true => Some(poll_fn(|cx| desk.poll_job(cx)).await),
            false => None,
        };
    }
}

/// What must wait; of what is over, the head's buffer is kept.
fn parked(core: &Core, served: Served) -> Option<Box<Parked>> {
    match served {
        Served::Done(left) => {
            core.buffers.give_spent(left.head.fields);
            None
        }
        Served::Parked(parked) => Some(parked),
    }
}

/// Waits with a request, and has a worker go on with it: what such a request costs as long as it waits. No `async fn`, which would
/// keep its arguments twice.
pub(super) fn wait(core: Rc<Core>, stream: Stream, mut parked: Box<Parked>) -> impl Future<Output = ()> {
    let (mut timer, ear) = (Timer::default(), Ear::new(&core.bell));
    async move {
        let granted = poll_fn(|cx| {
            let mut tools = Tools { timer: &mut timer, ear: &ear };
            parked.poll(&core, &mut tools, cx)
        })
        .await;
        give(&core, Job { stream, work: Work::Waited(parked, granted) });
    }
}
