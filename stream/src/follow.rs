//! The gateway's half: follows one controller, the leader where it can, and serves on what it has while there is none. Never waits for a controller without a limit.

use crate::{
    connect::{Open, open},
    held::Held,
    pace::Pace,
    publication::Certificates,
    store::Store,
    wire::{self, Down, DownSay, Up, UpSay},
};
use headgate_config::{Demand, Endpoints, GatewayName, Snapshot};
use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Controllers of one name that are tried.
const CONTROLLERS_MOST: usize = 8;
/// Counts that changed are told this often, and all of them every second.
const COUNT: Duration = Duration::from_millis(100);
const COUNT_ALL: Duration = Duration::from_secs(1);
/// Changes of this long are kept with one write.
const SAVE: Duration = Duration::from_millis(500);

/// Whom to follow, and as who.
#[derive(Clone, Debug)]
pub struct Following {
    /// The Gateway that this Pod belongs to.
    pub gateway: GatewayName,
    /// Name of the Pod.
    pub pod: String,
    /// `host:port` of the controllers; the host stands in their certificate.
    pub controller: String,
    /// File with the authorities of their certificates (PEM). It is read for each connection.
    pub authority: PathBuf,
    /// File with the token to show. It is read for each connection.
    pub token: PathBuf,
    /// Folder, in memory, for the last good version.
    pub state: Option<PathBuf>,
    /// Version of this program.
    pub program: String,
    /// Limits of time.
    pub pace: Pace,
}

impl Following {
    /// The host of [`Following::controller`].
    pub fn host(&self) -> &str {
        self.controller.rsplit_once(':').map_or(&self.controller, |(host, _)| host)
    }
}

/// The data plane, as the stream needs it.
pub trait Serve {
    /// Makes a version live, and says what is wrong in it, one sentence each.
    fn publish(&self, snapshot: Snapshot, certificates: Arc<Certificates>) -> impl Future<Output = Vec<String>> + Send;
    /// Takes the endpoints of a backend, at once.
    fn endpoints(&self, endpoints: &Endpoints);
    /// What it counts now for each scale target.
    fn demand(&self) -> Vec<Demand>;
}

/// Follows for ever. Serves first what is stored, if there is something.
pub async fn follow<S: Serve>(following: Following, serve: &S) {
    let store = following.state.as_deref().map(Store::new);
    let mut follower = Follower { serve, held: Held::default(), store, unsaved_since: None };
    follower.restore().await;
    let mut pause = following.pace.retry;
    loop {
        match choose(&following, None).await {
            Ok(mut open) => {
                pause = following.pace.retry;
                while let Some(better) = follower.converse(open, &following).await {
                    open = better;
                }
            }
            Err(why) => {
                tracing::warn!(controller = following.controller, why, "no controller; what is known serves on")
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(following.pace.retry_most);
    }
}

/// Opens a stream to the leader, or to any controller if none of them leads or `instead` is `None`. With `instead`, only to a leader at another address.
async fn choose(following: &Following, instead: Option<SocketAddr>) -> Result<Open, String> {
    let found = tokio::time::timeout(following.pace.open, tokio::net::lookup_host(&following.controller)).await;
    let found =
        found.map_err(|_| "its name was not resolved in time".to_owned())?.map_err(|error| error.to_string())?;
    let mut addresses: Vec<SocketAddr> = found.filter(|address| Some(*address) != instead).collect();
    fastrand::shuffle(&mut addresses);
    addresses.truncate(CONTROLLERS_MOST);
    let (mut second, mut why) = (None, "its name has no address".to_owned());
    for address in addresses {
        match open(following, address).await {
            Ok(open) if open.hello.leading => return Ok(open),
            Ok(open) => second = second.or(Some(open)),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    match second {
        Some(second) if instead.is_none() => Ok(second),
        _ => Err(why),
    }
}

struct Follower<'s, S> {
    serve: &'s S,
    held: Held,
    store: Option<Store>,
    unsaved_since: Option<Instant>,
}

/// When what is due, on one stream.
struct Clock {
    heard: Instant,
    beat: Instant,
    count: Instant,
    count_all: Instant,
    lookup: Instant,
}

impl<S: Serve> Follower<'_, S> {
    async fn restore(&mut self) {
        let Some(store) = &self.store else { return };
        let Some((held, whole)) = store.load().await else { return };
        tracing::info!(
            rules = whole.snapshot.rules.len(),
            "serving the routes of the last run until a controller is there"
        );
        self.held = held;
        self.serve.publish(whole.snapshot, whole.certificates).await;
        self.held.named_endpoints().for_each(|endpoints| self.serve.endpoints(endpoints));
    }

    /// Follows one controller until its stream ends; gives the stream of a better one, if that is why.
    async fn converse(&mut self, open: Open, following: &Following) -> Option<Open> {
        let Open { up, mut down, hello, address } = open;
        tracing::info!(controller = hello.controller, program = hello.program, leading = hello.leading, %address, "following");
        let mut leading = hello.leading;
        self.held.begin();
        up.send(UpSay::Holding(self.held.holding()).into()).await.ok()?;
        let now = Instant::now();
        let pace = &following.pace;
        let mut clock =
            Clock { heard: now, beat: now + pace.beat, count: now, count_all: now, lookup: now + pace.lookup };
        let mut told: HashMap<String, Demand> = HashMap::new();
        loop {
            let wake = self.wake(&clock, pace, leading);
            tokio::select! {
                message = down.message() => match message {
                    Ok(Some(Down { say })) => {
                        clock.heard = Instant::now();
                        if let Some(DownSay::Role(role)) = &say {
                            leading = role.leading;
                            clock.lookup = Instant::now();
                        }
                        if let Err(why) = self.hear(say, &up).await {
                            tracing::warn!(why, "the stream begins anew");
                            return None;
                        }
                    }
                    Ok(None) => {
                        tracing::info!("the controller ended the stream");
                        return None;
                    }
                    Err(status) => {
                        tracing::info!(code = %status.code(), why = status.message(), "the stream ended");
                        return None;
                    }
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let now = Instant::now();
            if now >= clock.heard + pace.silence {
                tracing::warn!("the controller was silent for too long");
                return None;
            }
            if self.unsaved_since.is_some_and(|since| since + SAVE <= now) {
                self.save().await;
            }
            if now >= clock.count {
                clock.count = now + COUNT;
                let all = now >= clock.count_all;
                if all {
                    clock.count_all = now + COUNT_ALL;
                }
                self.count(&mut told, all, &up).await?;
            }
            if now >= clock.beat {
                clock.beat = now + pace.beat;
                up.send(UpSay::Beat(wire::Beat {}).into()).await.ok()?;
            }
            if !leading && now >= clock.lookup {
                clock.lookup = now + pace.lookup;
                if let Ok(better) = choose(following, Some(address)).await {
                    return Some(better);
                }
                // looking took its time: this one may have spoken meanwhile
                clock.heard = Instant::now();
            }
        }
    }

    fn wake(&self, clock: &Clock, pace: &Pace, leading: bool) -> Instant {
        let lookup = (!leading).then_some(clock.lookup);
        let save = self.unsaved_since.map(|since| since + SAVE);
        let due = [Some(clock.heard + pace.silence), Some(clock.beat), Some(clock.count), lookup, save];
        due.into_iter().flatten().min().unwrap_or(clock.count)
    }

    async fn hear(&mut self, say: Option<DownSay>, up: &tokio::sync::mpsc::Sender<Up>) -> Result<(), String> {
        let gone = |_| "the controller closed it".to_owned();
        match say {
            Some(DownSay::Part(part)) => self.held.part(part),
            Some(DownSay::Keys(keys)) => self.held.keyed(keys),
            Some(DownSay::Commit(commit)) => {
                let whole = self.held.commit(commit).map_err(|drifted| drifted.to_string())?;
                let rules = whole.snapshot.rules.len();
                let mut problems = whole.problems;
                problems.extend(self.serve.publish(whole.snapshot, whole.certificates).await);
                // what came before its backend was known may not have been kept
                self.held.named_endpoints().for_each(|endpoints| self.serve.endpoints(endpoints));
                tracing::info!(version = commit.version, rules, problems = problems.len(), "routes are live");
                self.unsaved_since.get_or_insert_with(Instant::now);
                let ack = wire::Ack { version: commit.version, problems };
                up.send(UpSay::Ack(ack).into()).await.map_err(gone)?;
            }
            Some(DownSay::Endpoints(part)) => {
                let (taken, problems) = self.held.endpoints(&part.list);
                taken.iter().for_each(|endpoints| self.serve.endpoints(endpoints));
                problems.iter().for_each(|problem| tracing::warn!(problem, "endpoints"));
                if !taken.is_empty() {
                    self.unsaved_since.get_or_insert_with(Instant::now);
                }
                let ack = wire::EndpointsAck { sequence: part.sequence };
                up.send(UpSay::EndpointsAck(ack).into()).await.map_err(gone)?;
            }
            Some(DownSay::Hello(_)) => return Err("a second first word".into()),
            // a word of a later version is no error
            Some(DownSay::Beat(_) | DownSay::Role(_)) | None => {}
        }
        Ok(())
    }

    /// Tells the counts that changed; all of them, if `all`.
    async fn count(
        &self,
        told: &mut HashMap<String, Demand>,
        all: bool,
        up: &tokio::sync::mpsc::Sender<Up>,
    ) -> Option<()> {
        let demand = self.serve.demand();
        let is_news = |one: &&Demand| all || told.get(&one.target) != Some(*one);
        let write = |one: &Demand| serde_json::to_vec(one).map(bytes::Bytes::from).ok();
        let list: Vec<bytes::Bytes> = demand.iter().filter(is_news).filter_map(write).collect();
        if list.is_empty() && !all {
            return Some(());
        }
        *told = demand.into_iter().map(|one| (one.target.clone(), one)).collect();
        up.send(UpSay::Demand(wire::DemandList { list }).into()).await.ok()
    }

    async fn save(&mut self) {
        self.unsaved_since = None;
        if let Some(store) = &self.store {
            store.save(self.held.to_bytes()).await;
        }
    }
}
