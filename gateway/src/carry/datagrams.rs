//! A port of datagrams: to which client each belongs, and so to which endpoint. Never more clients than its limit, and never a datagram that waits without one.

use super::session::{self, Link};
use crate::{
    core::Core,
    drain::{Bell, Ear},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    task::Poll,
    time::Duration,
};
use tokio::net::UdpSocket;

/// The largest datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A port that receives datagrams, and those who sent some lately.
pub struct Port {
    /// Its socket, by which answers go too.
    pub socket: UdpSocket,
    /// Its number, as the API has it.
    pub number: u16,
    /// Rung when it closes: at once, or until the end of the drain.
    pub bell: Rc<Bell>,
    /// Whether another process receives on the same socket when it closes: then nothing is taken from it any more.
    pub yields: Cell<bool>,
    /// What is received lies here until it is sent on; borrowed within a poll only.
    pub scratch: RefCell<Box<[u8]>>,
    clients: RefCell<HashMap<SocketAddr, Rc<Link>>>,
}

impl Port {
    /// Of a socket that is bound.
    pub fn new(socket: UdpSocket, number: u16) -> Rc<Self> {
        Rc::new(Self {
            socket,
            number,
            bell: Rc::default(),
            yields: Cell::new(false),
            scratch: RefCell::new(vec![0; DATAGRAM_BYTES_MAX].into()),
            clients: RefCell::default(),
        })
    }

    /// A client is forgotten, unless another link has taken its place.
    pub fn forget(&self, client: SocketAddr, link: &Rc<Link>) {
        let mut clients = self.clients.borrow_mut();
        if clients.get(&client).is_some_and(|known| Rc::ptr_eq(known, link)) {
            clients.remove(&client);
        }
    }

    fn link(&self, client: SocketAddr) -> Option<Rc<Link>> {
        self.clients.borrow().get(&client).cloned()
    }
}

/// Receives until the port closes.
pub async fn receive(core: Rc<Core>, port: Rc<Port>) {
    const PAUSE: Duration = Duration::from_millis(20);
    let ear = Ear::new(&port.bell);
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = {
            let mut receiving = std::pin::pin!(port.socket.recv_from(&mut datagram));
            std::future::poll_fn(|cx| match ear.poll_rung(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => receiving.as_mut().poll(cx).map(Some),
            })
            .await
        };
        match received {
            None => break,
            Some(Ok((length, client))) => pass(&core, &port, client, &datagram[..length]),
            Some(Err(error)) => {
                tracing::warn!(%error, port = port.number, "receiving failed; pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if port.yields.get() {
        return;
    }
    // while it drains, those who are known are served on
    while let Some(until) = port.bell.until().filter(|_| !port.clients.borrow().is_empty()) {
        let Ok(received) = tokio::time::timeout_at(until.into(), port.socket.recv_from(&mut datagram)).await else {
            return;
        };
        if let Ok((length, client)) = received
            && let Some(link) = port.link(client)
        {
            link.send(&core, &datagram[..length]);
        }
    }
}

/// To the endpoint of its client, or to one that is found for it now.
fn pass(core: &Rc<Core>, port: &Rc<Port>, client: SocketAddr, datagram: &[u8]) {
    if let Some(link) = port.link(client) {
        if link.is_current(core) {
            return link.send(core, datagram);
        }
        link.end();
    }
    if !core.shared.admit_datagram_client(core.id) {
        return core.shard.datagram_dropped();
    }
    let link = Link::new(port.number);
    link.send(core, datagram);
    port.clients.borrow_mut().insert(client, link.clone());
    tokio::task::spawn_local(session::serve(core.clone(), port.clone(), client, link));
}
