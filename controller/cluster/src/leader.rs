//! The leader among replicas of the controller, by a Lease. Whoever leads gives up by its own clock before another can take over.

use crate::status::with_causes;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::time::{Duration, Instant};
use tokio::{sync::watch, task::JoinHandle};

/// Name of the Lease, in the namespace of the controller.
pub const LEASE: &str = "headgate-controller";
/// Another may take over once the Lease has not changed for this long, in seconds.
const LEASE_SECONDS: i32 = 15;
/// Who leads gives up this long after it began the last renewal that succeeded.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// The longest wait for one answer.
const ANSWER_MOST: Duration = Duration::from_secs(4);

/// Whether this one leads. It is asked before each write: a process that stood still for longer than its term must not go on where it was.
#[derive(Clone, Debug)]
pub struct Leading(watch::Receiver<Option<Instant>>);

impl Leading {
    /// Of a process that has no rivals.
    pub fn always() -> Self {
        const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
        Self(watch::channel(Some(Instant::now() + FAR)).1)
    }

    /// By the clock of this moment.
    pub fn is_now(&self) -> bool {
        self.0.borrow().is_some_and(|end| end > Instant::now())
    }

    /// Returns when it may have changed; never once the election is over.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Takes part in the election until it is dropped.
pub struct Leader {
    leading: Leading,
    reached: watch::Receiver<Instant>,
    task: JoinHandle<()>,
    leases: Api<Lease>,
    identity: String,
}

impl Leader {
    /// Takes part under this name, which no other replica may have.
    pub fn start(client: Client, namespace: &str, identity: &str) -> Self {
        let (told, leading) = watch::channel(None);
        let (answered, reached) = watch::channel(Instant::now());
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let task = tokio::spawn(run(leases.clone(), identity.to_owned(), told, answered));
        Self { leading: Leading(leading), reached, task, leases, identity: identity.to_owned() }
    }

    /// When the API server was asked last of what it answered: about every two seconds, while it can be reached.
    pub fn reached(&self) -> watch::Receiver<Instant> {
        self.reached.clone()
    }

    /// Whether this one leads.
    pub fn leading(&self) -> Leading {
        self.leading.clone()
    }

    /// Ends; if it led, another can take over at once.
    pub async fn release(self) {
        self.task.abort();
        if !self.leading.is_now() {
            return;
        }
        let release = async {
            let mut lease = self.leases.get(LEASE).await?;
            if holder(&lease) == self.identity {
                lease.spec.get_or_insert_default().holder_identity = None;
                self.leases.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(ANSWER_MOST, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease was not released: another takes over when it has run out")
            }
            Err(_) => tracing::warn!("the Lease was not released in time: another takes over when it has run out"),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    leases: Api<Lease>,
    identity: String,
    told: watch::Sender<Option<Instant>>,
    answered: watch::Sender<Instant>,
) {
    let (mut seen, mut term) = (Seen::default(), Term::default());
    loop {
        let began = Instant::now();
        let limit = term.answer_until(began);
        let look = match tokio::time::timeout_at(limit.into(), hold(&leases, &identity, &mut seen)).await {
            Ok(Ok(look)) => {
                answered.send_replace(began);
                look
            }
            Ok(Err(error)) => {
                tracing::warn!(error = with_causes(&error), "the Lease was not looked at");
                Look::Unknown
            }
            Err(_) => {
                tracing::warn!("the Lease could not be looked at in time");
                Look::Unknown
            }
        };
        term.looked(look, began);
        let now = Instant::now();
        let end = term.ends().filter(|end| *end > now);
        told.send_if_modified(|told| std::mem::replace(told, end) != end);
        let next = now + PERIOD.mul_f64(0.9 + fastrand::f64() / 5.0);
        match end.filter(|end| *end < next) {
            Some(end) => {
                tokio::time::sleep_until(end.into()).await;
                told.send_replace(None);
            }
            None => tokio::time::sleep_until(next.into()).await,
        }
    }
}

/// What a look at the Lease said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is ours, and was renewed.
    Held,
    /// Another has it.
    Others,
    /// Nothing: no answer, or somebody else wrote it at the same time.
    Unknown,
}

/// How long this one may lead by its own clock.
#[derive(Debug, Default)]
struct Term {
    /// When the last renewal that succeeded was begun.
    renewed: Option<Instant>,
}

impl Term {
    fn looked(&mut self, look: Look, began: Instant) {
        match look {
            Look::Held => self.renewed = Some(began),
            Look::Others => self.renewed = None,
            Look::Unknown => {}
        }
    }

    fn ends(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + RENEW_WITHIN)
    }

    /// Until when an answer is waited for: not beyond the end of a term, for that must be said. A term that is over is forgotten.
    fn answer_until(&mut self, now: Instant) -> Instant {
        if self.ends().is_some_and(|end| end <= now) {
            self.renewed = None;
        }
        let most = now + ANSWER_MOST;
        self.ends().map_or(most, |end| end.min(most))
    }
}

/// What another holder's Lease was when it was last seen to change.
#[derive(Default)]
struct Seen {
    version: String,
    at: Option<Instant>,
}

impl Seen {
    /// Whether a Lease has not changed for as long as it says that it holds.
    fn is_over(&mut self, lease: &Lease, now: Instant) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.version != version || self.at.is_none() {
            (self.version, self.at) = (version, Some(now));
        }
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(LEASE_SECONDS);
        let holds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        self.at.is_some_and(|at| at + holds <= now)
    }
}

/// Takes or renews the Lease. Clocks of others are not compared: they may be wrong.
async fn hold(leases: &Api<Lease>, identity: &str, seen: &mut Seen) -> Result<Look, kube::Error> {
    let Some(lease) = leases.get_opt(LEASE).await? else {
        let first = Lease {
            metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
            spec: Some(taken(None, identity)),
        };
        return settle(leases.create(&PostParams::default(), &first).await);
    };
    let holder = holder(&lease);
    if holder != identity && !holder.is_empty() && !seen.is_over(&lease, Instant::now()) {
        return Ok(Look::Others);
    }
    let mut next = lease;
    next.spec = Some(taken(next.spec.take(), identity));
    settle(leases.replace(LEASE, &PostParams::default(), &next).await)
}

fn settle(written: Result<Lease, kube::Error>) -> Result<Look, kube::Error> {
    match written {
        Ok(_) => Ok(Look::Held),
        // somebody was faster: the next look says who, and no other may lead before our term is over
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Look::Unknown),
        Err(error) => Err(error),
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

fn taken(before: Option<LeaseSpec>, identity: &str) -> LeaseSpec {
    let now = MicroTime(jiff::Timestamp::now());
    let before = before.unwrap_or_default();
    let is_new = before.holder_identity.as_deref() != Some(identity);
    LeaseSpec {
        holder_identity: Some(identity.into()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(now.clone()),
        acquire_time: if is_new { Some(now) } else { before.acquire_time },
        lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(is_new)),
        ..before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_by_our_own_clock_and_another_can_begin_after_it() {
        let (mut term, start) = (Term::default(), Instant::now());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(term.answer_until(start), start + ANSWER_MOST);
        term.looked(Look::Held, start);
        term.looked(Look::Unknown, after(4));
        assert_eq!(term.ends(), Some(after(10)), "no answer prolongs nothing");
        assert_eq!(term.answer_until(after(8)), after(10), "not beyond the term");
        assert_eq!(term.answer_until(after(60)), after(60) + ANSWER_MOST, "an outage of a minute is over");
        term.looked(Look::Held, after(60));
        assert_eq!(term.ends(), Some(after(70)));
        term.looked(Look::Others, after(62));
        assert_eq!(term.ends(), None);
    }

    #[test]
    fn a_lease_of_another_is_over_once_it_has_not_changed_for_its_time_by_our_clock() {
        let lease = |version: &str| Lease {
            metadata: ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() },
            spec: Some(taken(None, "other")),
        };
        let (mut seen, start) = (Seen::default(), Instant::now());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(!seen.is_over(&lease("1"), start));
        assert!(!seen.is_over(&lease("2"), after(14)), "it was renewed");
        assert!(!seen.is_over(&lease("2"), after(28)));
        assert!(seen.is_over(&lease("2"), after(29)));
    }

    #[test]
    fn who_takes_a_lease_over_says_so_and_who_renews_keeps_when_it_was_acquired() {
        let first = taken(None, "a");
        let renewed = taken(Some(first.clone()), "a");
        assert_eq!((&renewed.acquire_time, renewed.lease_transitions), (&first.acquire_time, Some(1)));
        let other = taken(Some(renewed), "b");
        assert_eq!((other.holder_identity.as_deref(), other.lease_transitions), (Some("b"), Some(2)));
    }
}
