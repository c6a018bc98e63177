//! The first message of TLS: read once, bounded, understood without answering it. Never decides where a connection goes.

use crate::{core::Core, drain::Ear, exchange::Fault, failure::Failure};
use headgate_config::HostName;
use rustls::server::{Accepted, Acceptor};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a client asks for.
pub struct Hello {
    /// The name of the server, canonical; `None` where the client sent none, or what is no name.
    pub name: Option<HostName>,
    /// All that was read, as it came.
    pub bytes: Vec<u8>,
    /// The same, for a handshake.
    pub accepted: Accepted,
}

/// Reads a ClientHello. `Ok(None)` for a client that left without a byte, as probes of load balancers do, and for one of which none has
/// come when the drain begins.
///
/// # Errors
/// `NotTls`, after the alert that says why; `ClientGone`.
pub async fn read(core: &Core, socket: &mut TcpStream, ear: &Ear) -> Result<Option<Hello>, Fault> {
    let most = core.shared.limits.hello_bytes;
    let mut acceptor = Acceptor::default();
    let mut bytes = core.buffers.take();
    loop {
        let before = bytes.len();
        let read = poll_fn(|cx| match pin!(socket.read_buf(&mut bytes)).poll(cx) {
            Poll::Pending if before == 0 => ear.poll_rung(cx).map(|()| Ok(0)),
            read => read,
        });
        match read.await {
            Ok(1..) => {}
            Ok(_) | Err(_) if before == 0 => return Ok(None),
            Ok(_) | Err(_) => return Err(Failure::ClientGone.into()),
        }
        feed(&mut acceptor, &bytes[before..]).map_err(|error| Fault::new(Failure::NotTls, error.to_string()))?;
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().and_then(|name| name.parse().ok());
                return Ok(Some(Hello { name, bytes, accepted }));
            }
            Ok(None) if bytes.len() < most => bytes.reserve(crate::buffers::BUFFER_BYTES),
            Ok(None) => return Err(Fault::new(Failure::NotTls, "it is longer than --hello-bytes")),
            Err((error, mut alert)) => {
                let mut answer = Vec::new();
                // a Vec takes every write
                let _ = alert.write_all(&mut answer);
                say(socket, &answer).await;
                return Err(Fault::new(Failure::NotTls, error.to_string()));
            }
        }
    }
}

fn feed(acceptor: &mut Acceptor, mut new: &[u8]) -> io::Result<()> {
    while !new.is_empty() {
        acceptor.read_tls(&mut new)?;
    }
    Ok(())
}

/// What cannot be said is lost: the connection ends all the same.
async fn say(socket: &mut TcpStream, alert: &[u8]) {
    let _ = socket.write_all(alert).await;
    let _ = socket.shutdown().await;
}
