//! The datagrams of one client and their answers: one endpoint for all of them, until nobody sends for a while. Never looks into one, and never waits to send one.

use super::{
    datagrams::Port,
    lead::{Asked, Lead},
    story::Story,
};
use crate::{
    backend::{Endpoint, Slot},
    core::Core,
    deadline::{Timer, earlier},
    drain::Ear,
    exchange::Fault,
    failure::Failure,
    telemetry::{Record, Spoken},
};
use headgate_config::{Transport, Version};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::{io::ReadBuf, net::UdpSocket};

/// While the gateway drains, a client that is silent for so long is done.
const DRAIN_IDLE: Duration = Duration::from_millis(500);

/// What the port knows of a client.
pub struct Link {
    port: u16,
    state: RefCell<State>,
    bytes_up: Cell<u64>,
    bytes_down: Cell<u64>,
    last: Cell<Instant>,
    is_over: Cell<bool>,
    /// Of the session, to be told of what happened here.
    waker: RefCell<Option<Waker>>,
}

enum State {
    /// There is no endpoint yet: what came meanwhile.
    Waiting(VecDeque<Vec<u8>>, usize),
    /// There is one.
    Linked(Linked),
    /// Sending failed.
    Broken(io::Error),
}

struct Linked {
    socket: Rc<UdpSocket>,
    endpoint: Arc<Endpoint>,
    lead: Lead,
    /// The routes by which the lead was looked at last.
    version: Version,
}

impl Link {
    /// Of a client that is new.
    pub fn new(port: u16) -> Rc<Self> {
        Rc::new(Self {
            port,
            state: RefCell::new(State::Waiting(VecDeque::new(), 0)),
            bytes_up: Cell::new(0),
            bytes_down: Cell::new(0),
            last: Cell::new(Instant::now()),
            is_over: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// Whether the routes and endpoints of now would still lead here.
    pub fn is_current(&self, core: &Core) -> bool {
        let mut state = self.state.borrow_mut();
        if self.is_over.get() {
            return false;
        }
        let State::Linked(linked) = &mut *state else { return true };
        let version = core.with_active(|active| active.version);
        if version != linked.version {
            if !linked.lead.holds(core, asked(self.port)) {
                return false;
            }
            linked.version = version;
        }
        linked.endpoint.is_listed()
    }

    /// Sends a datagram on, keeps it while there is no endpoint, or drops it where there is no room.
    pub fn send(&self, core: &Core, datagram: &[u8]) {
        let mut state = self.state.borrow_mut();
        let sent = match &mut *state {
            State::Waiting(kept, bytes) => {
                let fits = *bytes + datagram.len() <= core.shared.limits.datagram_held_bytes;
                if fits {
                    *bytes += datagram.len();
                    kept.push_back(datagram.to_vec());
                }
                fits
            }
            State::Linked(linked) => match linked.socket.try_send(datagram) {
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => {
                    *state = State::Broken(error);
                    self.wake();
                    false
                }
            },
            State::Broken(_) => false,
        };
        if sent {
            self.bytes_up.set(self.bytes_up.get() + datagram.len() as u64);
            self.last.set(Instant::now());
        } else {
            core.shard.datagram_dropped();
        }
    }

    /// Another session takes over.
    pub fn end(&self) {
        self.is_over.set(true);
        self.wake();
    }

    fn wake(&self) {
        self.waker.borrow_mut().take().into_iter().for_each(Waker::wake);
    }

    /// The next datagram that waits for an endpoint; with none left it is linked, and the session says with what.
    fn next_kept(&self, linked: impl FnOnce() -> Linked) -> Option<Vec<u8>> {
        let mut state = self.state.borrow_mut();
        let State::Waiting(kept, _) = &mut *state else { return None };
        let next = kept.pop_front();
        if next.is_none() {
            *state = State::Linked(linked());
        }
        next
    }

    fn broken(&self) -> Option<Fault> {
        match &*self.state.borrow() {
            State::Broken(error) => Some(fault_of(error)),
            State::Waiting(..) | State::Linked(_) => None,
        }
    }
}

fn asked(port: u16) -> Asked<'static> {
    Asked { transport: Transport::Udp, port, name: "" }
}

fn fault_of(error: &io::Error) -> Fault {
    let failure = match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        _ => Failure::ConnectUnreachable,
    };
    Fault::new(failure, error.to_string())
}

/// Serves a client until it is silent. It has been counted in.
pub async fn serve(core: Rc<Core>, port: Rc<Port>, client: SocketAddr, link: Rc<Link>) {
    let _counted = Counted(core.clone());
    core.shard.carrying_began();
    let mut record = Record::carried(client.ip().to_canonical(), port.number, Spoken::Udp, "", Instant::now());
    let ended = carry(&core, &port, client, &link, &mut record).await;
    port.forget(client, &link);
    if let Err(fault) = ended {
        record.fail(&fault);
    }
    record.bytes_in = link.bytes_up.get();
    record.bytes_out = link.bytes_down.get();
    record.end(Instant::now());
    core.shard.tell_carried(record);
}

async fn carry(
    core: &Rc<Core>,
    port: &Port,
    client: SocketAddr,
    link: &Link,
    record: &mut Record,
) -> Result<(), Fault> {
    let mut story = Story::begin(core, asked(port.number), record)?;
    let slot = story.admit(core.shared.limits.datagram_held_bytes, |cx| link.poll_over(cx)).await?;
    story.tries(&slot);
    let opening = Instant::now();
    let socket = match connect(slot.endpoint().address).await {
        Ok(socket) => Rc::new(socket),
        Err(error) => return Err(fault_of(&error)),
    };
    let linked = || Linked {
        socket: socket.clone(),
        endpoint: slot.endpoint().clone(),
        lead: story.lead.clone(),
        version: story.record.routes,
    };
    while let Some(datagram) = link.next_kept(linked) {
        // the first of a socket may have to wait for its readiness
        socket.send(&datagram).await.map_err(|error| fault_of(&error))?;
    }
    story.record.connecting = Some(opening.elapsed());
    story.record.backend.iter().for_each(|series| series.connected(false));
    let answering = Answering { core, port, client, link, socket: &socket, slot: &slot, answered: false };
    let ended = answering.run(&mut story.timer).await;
    if let Err(fault) = &ended {
        crate::proxy::tell_health(&slot, fault);
    }
    ended
}

async fn connect(to: SocketAddr) -> io::Result<UdpSocket> {
    let any =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)) };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

impl Link {
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Answers on their way to the client.
struct Answering<'s> {
    core: &'s Core,
    port: &'s Port,
    client: SocketAddr,
    link: &'s Link,
    socket: &'s UdpSocket,
    slot: &'s Slot,
    answered: bool,
}

impl Answering<'_> {
    /// Until nobody sends for too long, something breaks, or the port closes.
    async fn run(mut self, timer: &mut Timer) -> Result<(), Fault> {
        let ear = Ear::new(&self.port.bell);
        poll_fn(|cx| {
            if self.link.poll_over(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = self.link.broken() {
                return Poll::Ready(Err(fault));
            }
            if let Poll::Ready(error) = self.poll_answers(cx) {
                return Poll::Ready(Err(fault_of(&error)));
            }
            let _ = ear.poll_rung(cx);
            let until = self.port.bell.until();
            let most = self.core.shared.limits.datagram_idle;
            let idle = if until.is_some() { most.min(DRAIN_IDLE) } else { most };
            let limit = earlier(Some(self.link.last.get() + idle), until);
            // to be silent in the end is how it always ends
            timer.poll_expired(cx, limit).map(|()| Ok(()))
        })
        .await
    }

    /// Passes on what has come; ready when the endpoint cannot be reached.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut scratch = self.port.scratch.borrow_mut();
        loop {
            let mut answer = ReadBuf::new(&mut scratch);
            match self.socket.poll_recv(cx, &mut answer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) => {}
            }
            if !std::mem::replace(&mut self.answered, true) {
                self.slot.succeeded(Instant::now());
            }
            self.link.last.set(Instant::now());
            match self.port.socket.try_send_to(answer.filled(), self.client) {
                Ok(sent) => self.link.bytes_down.set(self.link.bytes_down.get() + sent as u64),
                Err(_) => self.core.shard.datagram_dropped(),
            }
        }
    }
}

struct Counted(Rc<Core>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.release_datagram_client(self.0.id);
    }
}
