//! The body that an authorization service gets: read whole before it is asked. Never more than the filter says, and never without a charge.

use super::{closed, passed};
use crate::{
    backend::{Backend, Charge, Refusal},
    core::Core,
    deadline::earlier,
    exchange::Fault,
    failure::Failure,
    plan::Plan,
    proxy::{Down, Tools, go_on},
    relay::Progress,
    replay::Replay,
};
use headgate_config::{AuthProtocol, ExternalAuth};
use headgate_message::Part;
use std::{rc::Rc, sync::Arc, time::Instant};

/// What decides how much of a body is kept.
pub(super) struct Kept<'a> {
    pub auth: &'a ExternalAuth,
    pub backend: &'a Arc<Backend>,
    pub plan: &'a Plan,
    pub progress: &'a Progress,
}

impl Kept<'_> {
    /// Reads the whole body, if the service gets it: up to the filter's limit, and charged to the service's backend for as long as it is kept.
    /// What its message takes beyond that is charged apart, and only for as long as the service is asked.
    pub async fn read(
        &self,
        core: &Rc<Core>,
        down: &mut Down,
        replay: &mut Replay,
        tools: &mut Tools<'_>,
    ) -> Result<Charge, Fault> {
        let mut copies = self.backend.charge();
        let most = self.auth.body_bytes as usize;
        if most == 0 || down.framing.is_empty() {
            return Ok(copies);
        }
        // a message is made of it, and the bytes of that
        let copies_of_byte = if self.auth.protocol == AuthProtocol::Grpc { 2 } else { 0 };
        let mut charge_copies = |bytes: usize| copies.grow((bytes * copies_of_byte) as u64).map_err(full);
        let too_large = || Fault::new(Failure::AuthBodyTooLarge, format!("more than {most} bytes"));
        if let Some(whole) = replay.whole() {
            if whole.len() > most {
                return Err(too_large());
            }
            charge_copies(whole.len())?;
            return Ok(copies);
        }
        if down.framing.length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        if std::mem::take(&mut down.expects) {
            go_on(core, &mut down.tx, tools.timer).await?;
        }
        *replay = Replay::charged(most, self.backend.charge());
        let limits = &core.shared.limits;
        loop {
            let since = Instant::now();
            let idle = self.progress.body_due(since, limits);
            let until = || earlier(earlier(Some(idle), self.plan.deadline), core.bell.until());
            let part = match tools.ear.hearing(tools.timer.bound(until, down.rx.recv())).await {
                Some(part) => part?,
                None => return Err(passed(core, self.plan).unwrap_or(Failure::BodyTimeout).into()),
            };
            self.progress.waited_for_body(since.elapsed());
            let chunk = match part {
                Part::Data(chunk) => chunk,
                Part::Trailers(trailers) => break replay.end(Some(trailers)),
                Part::End => break replay.end(None),
                Part::Interim(_) | Part::Final(..) => return Err(Failure::Internal.into()),
            };
            let bytes = chunk.as_slice();
            self.progress.read(bytes.len(), limits)?;
            if replay.kept().len() + bytes.len() > most {
                return Err(too_large());
            }
            replay.charge(bytes.len()).map_err(full)?;
            charge_copies(bytes.len())?;
            replay.keep(bytes);
        }
        Ok(copies)
    }
}

fn full(refusal: Refusal) -> Fault {
    closed(refusal.into())
}
