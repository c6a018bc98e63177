//! The tries of one request: how many are left, what may be tried again, and the pause before it. A request never reaches an application twice unless its method allows it.

use crate::{
    core::Core,
    exchange::Fault,
    failure::{Failure, Retry},
    plan::Plan,
    proxy::{Down, Tools},
    replay::Replay,
};
use std::time::{Duration, Instant};

/// Tries beyond the first that cost the endpoint nothing: a connection that was refused, or had been closed while idle.
const FREE_TRIES_MAX: u32 = 3;

/// The tries of one request: how many are left, and what can be sent again.
pub struct Tries {
    /// What was read of the body.
    pub replay: Replay,
    idempotent: bool,
    /// Tries that the rule still allows.
    left: u32,
    free_left: u32,
    done: u32,
    backoff: Duration,
    /// Of the last try: whether its connection had been used before, and whether a byte was sent.
    pub reused: bool,
    /// See `reused`.
    pub sent: bool,
    /// Whether the try that may follow is for a connection that had been closed while it was idle: that is nobody's failure.
    pub renews: bool,
}

impl Tries {
    /// For a request that goes where `plan` says.
    pub fn new(plan: &Plan, down: &Down, core: &Core) -> Self {
        let limits = &core.shared.limits;
        let idempotent = down.head.method.is_idempotent();
        let retry = plan.rule.retry();
        let for_tries = if idempotent || retry.is_some() { limits.spool_bytes } else { 0 };
        let for_mirrors = if plan.applied().mirrors.is_empty() { 0 } else { limits.mirror_bytes };
        Self {
            replay: Replay::up_to(for_tries.max(for_mirrors)),
            idempotent,
            left: retry.map_or(0, |retry| retry.attempts),
            free_left: FREE_TRIES_MAX,
            done: 0,
            backoff: retry.and_then(|retry| retry.backoff_ms).map_or(limits.retry_backoff, Duration::from_millis),
            reused: false,
            sent: false,
            renews: false,
        }
    }

    /// Of a question, which changes nothing where it is asked, so that it may be asked again where nobody answered.
    pub fn of_check(core: &Core) -> Self {
        Self {
            replay: Replay::default(),
            idempotent: true,
            left: 0,
            free_left: FREE_TRIES_MAX,
            done: 0,
            backoff: core.shared.limits.retry_backoff,
            reused: false,
            sent: false,
            renews: false,
        }
    }

    /// With a body that was read to its end already.
    #[must_use]
    pub fn with(self, replay: Replay) -> Self {
        if replay.whole().is_some() { Self { replay, ..self } } else { self }
    }

    /// The statuses that are tried again now.
    pub fn codes<'p>(&self, plan: &'p Plan) -> &'p [u16] {
        let codes = plan.rule.retry().map_or(&[][..], |retry| &retry.codes);
        if self.left > 0 { codes } else { &[] }
    }

    /// Whether another try may follow a failure: by the failure's row, and never twice to an application unless the method allows it.
    pub fn may_follow(&mut self, fault: &Fault) -> bool {
        self.renews = false;
        if !self.replay.is_possible() {
            return false;
        }
        if fault.unseen {
            self.renews = self.spend_free();
            return self.renews || self.spend();
        }
        let is_safe = !self.sent || self.idempotent;
        match fault.failure.row().retry {
            Retry::Never | Retry::Later => false,
            Retry::OtherEndpoint => self.spend_free() || self.spend(),
            // Closed while idle: the endpoint never saw the request.
            Retry::IfUnsent if self.reused && is_safe => {
                self.renews = self.spend_free();
                self.renews || self.spend()
            }
            Retry::IfUnsent => is_safe && self.spend(),
        }
    }

    /// Spends a try that the rule allows; false if there is none left.
    pub fn spend(&mut self) -> bool {
        let spent = self.left > 0;
        self.left = self.left.saturating_sub(1);
        spent
    }

    fn spend_free(&mut self) -> bool {
        let spent = self.free_left > 0;
        self.free_left = self.free_left.saturating_sub(1);
        spent
    }

    /// The pause before the next try: none before the first, then doubling.
    pub async fn pause(&mut self, deadline: Option<Instant>, tools: &mut Tools<'_>) -> Result<(), Fault> {
        self.done += 1;
        if self.done == 1 && self.reused {
            return Ok(());
        }
        let pause = self.backoff * (1 << (self.done - 1).min(6));
        match tools.timer.bound(|| deadline, tokio::time::sleep(pause)).await {
            Some(()) => Ok(()),
            None => Err(Failure::RequestTimeout.into()),
        }
    }
}
