//! The leader among replicas of the controller, by a Lease. Whoever leads gives up by its own clock before another can take over.

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

/// Takes part in the election until it is dropped.
pub struct Leader {
    leading: watch::Receiver<bool>,
    task: JoinHandle<()>,
    leases: Api<Lease>,
    identity: String,
}

impl Leader {
    /// Takes part under this name, which no other replica may have.
    pub fn start(client: Client, namespace: &str, identity: &str) -> Self {
        let (told, leading) = watch::channel(false);
        let leases: Api<Lease> = Api::namespaced(client, namespace);
        let task = tokio::spawn(run(leases.clone(), identity.to_owned(), told));
        Self { leading, task, leases, identity: identity.to_owned() }
    }

    /// Whether this one leads.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Ends; if it led, another can take over at once.
    pub async fn release(self) {
        self.task.abort();
        if !*self.leading.borrow() {
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

async fn run(leases: Api<Lease>, identity: String, told: watch::Sender<bool>) {
    let mut seen = Seen::default();
    let mut renewed: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let deadline = renewed.map_or(began + ANSWER_MOST, |renewed| (renewed + RENEW_WITHIN).min(began + ANSWER_MOST));
        match tokio::time::timeout_at(deadline.into(), hold(&leases, &identity, &mut seen)).await {
            Ok(Ok(true)) => renewed = Some(began),
            Ok(Ok(false)) => renewed = None,
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not looked at"),
            Err(_) => tracing::warn!("the Lease could not be looked at in time"),
        }
        let leads = renewed.is_some_and(|renewed| renewed + RENEW_WITHIN > Instant::now());
        told.send_if_modified(|told| std::mem::replace(told, leads) != leads);
        let pause = PERIOD.mul_f64(0.9 + fastrand::f64() / 5.0);
        let end = renewed.filter(|_| leads).map(|renewed| renewed + RENEW_WITHIN);
        match end.filter(|end| *end < Instant::now() + pause) {
            Some(end) => {
                tokio::time::sleep_until(end.into()).await;
                told.send_replace(false);
            }
            None => tokio::time::sleep(pause).await,
        }
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

/// Takes or renews the Lease; whether it is held now. Clocks of others are not compared: they may be wrong.
async fn hold(leases: &Api<Lease>, identity: &str, seen: &mut Seen) -> Result<bool, kube::Error> {
    let Some(lease) = leases.get_opt(LEASE).await? else {
        let first = Lease {
            metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
            spec: Some(taken(None, identity)),
        };
        return settle(leases.create(&PostParams::default(), &first).await);
    };
    let holder = holder(&lease);
    if holder != identity && !holder.is_empty() && !seen.is_over(&lease, Instant::now()) {
        return Ok(false);
    }
    let mut next = lease;
    next.spec = Some(taken(next.spec.take(), identity));
    settle(leases.replace(LEASE, &PostParams::default(), &next).await)
}

fn settle(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        // somebody was faster
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
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
