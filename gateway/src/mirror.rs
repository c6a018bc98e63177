//! Copies of requests for mirrors: sent once, their answers dropped. A mirror never delays, fails or changes the request it copies.

use crate::{
    backend::{Admission, Backend, CoreId, Ticket},
    connect::{self, To},
    core::Core,
    exchange::Outgoing,
    listen::Connection,
    telemetry::MirrorEnd,
};
use headgate_config::CertificateName;
use headgate_message::{Chunk, Framing, Part, RequestHead};
use std::{rc::Rc, sync::Arc, time::Duration, time::Instant};

/// Copies under way at once on one core; more are dropped and counted.
pub const MIRRORS_MAX: usize = 256;
/// A copy takes no longer.
const LIMIT: Duration = Duration::from_secs(10);

/// Of whom a request is, as for the request itself.
#[derive(Clone, Copy)]
pub struct Source<'s> {
    /// The connection that it came on.
    pub client: &'s Rc<Connection>,
    /// What is shown to an endpoint that asks for a certificate.
    pub identity: Option<&'s CertificateName>,
}

/// Sends a copy, if there is room; returns at once.
pub fn send(core: &Rc<Core>, backend: &Arc<Backend>, head: &RequestHead, body: &[u8], source: Source<'_>) {
    if Rc::strong_count(&core.mirrors) > MIRRORS_MAX {
        return core.shard.mirrored(MirrorEnd::Dropped);
    }
    let room = core.mirrors.clone();
    let (client, identity) = (source.client.clone(), source.identity.cloned());
    let (core, backend, head, body) = (core.clone(), backend.clone(), head.clone(), body.to_vec());
    tokio::task::spawn_local(async move {
        let _room = room;
        let source = Source { client: &client, identity: identity.as_ref() };
        let end = match tokio::time::timeout(LIMIT, exchange(&core, &backend, &head, &body, source)).await {
            Ok(Some(())) => MirrorEnd::Sent,
            Ok(None) | Err(_) => MirrorEnd::Failed,
        };
        core.shard.mirrored(end);
    });
}

async fn exchange(
    core: &Rc<Core>,
    backend: &Backend,
    head: &RequestHead,
    body: &[u8],
    source: Source<'_>,
) -> Option<()> {
    let ticket = Ticket::new(CoreId(core.id), None);
    let slot = match backend.try_admit(&ticket, core.roll(), Instant::now()) {
        Admission::Slot(slot) => slot,
        // a copy waits for nothing
        Admission::MustWait | Admission::Refused(_) => return None,
    };
    let framing = if body.is_empty() { Framing::NONE } else { Framing::of_whole(body) };
    let outgoing = Outgoing { head, framing, upgrade: None, trailers: false };
    let mut up = connect::open(core, To { backend, slot: &slot, identity: source.identity }, source.client, &outgoing)
        .await
        .ok()?;
    if !body.is_empty() {
        up.tx.data(Chunk::Lent(body)).await.ok()?;
    }
    up.tx.end(None).await.ok()?;
    loop {
        if let Part::End = up.rx.recv().await.ok()? {
            break;
        }
    }
    up.finish(core, true, Instant::now());
    Some(())
}
