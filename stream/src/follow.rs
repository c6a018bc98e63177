//! The gateway's half: follows one controller, the leader where it can, and serves on what it has while there is none. Never waits for a controller without a limit.

use crate::{
    connect::choose,
    converse::{Ended, Follower},
    pace::Pace,
    publication::Certificates,
    store::Store,
};
use headgate_config::{Demand, Endpoints, GatewayName, Snapshot};
use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Whom to follow, and as who.
#[derive(Clone, Debug)]
pub struct Following {
    /// The Gateway that this Pod belongs to.
    pub gateway: GatewayName,
    /// Name of the Pod.
    pub pod: String,
    /// `host:port` of the controllers, several with commas between them; the host stands in their certificate. A host with several
    /// addresses is several controllers.
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

/// The data plane, as the stream needs it.
pub trait Serve {
    /// Makes a version live, and says what is wrong in it, one sentence each.
    fn publish(&self, snapshot: Snapshot, certificates: Arc<Certificates>) -> impl Future<Output = Vec<String>> + Send;
    /// Its Gateway is gone: nobody sends anything here any more. What runs is served on.
    fn orphaned(&self);
    /// Makes the routes of the last run live. No key is kept: until a version is published, what needs one cannot be served.
    fn restore(&self, snapshot: Snapshot) -> impl Future<Output = ()> + Send;
    /// Takes the endpoints of a backend, at once.
    fn endpoints(&self, endpoints: &Endpoints);
    /// What it counts now: for every scale target if `whole`, otherwise for those at least of which the counts may have changed.
    fn demand(&self, whole: bool) -> Vec<Demand>;
    /// Returns once something is newly demanded since the last call: that cannot wait for the next count.
    fn stirred(&self) -> impl Future<Output = ()> + Send;
}

/// Follows for ever. Serves first what is stored, if there is something.
pub async fn follow<S: Serve>(following: Following, serve: &S) {
    let pace = following.pace;
    let store = following.state.as_deref().map(Store::new);
    let mut follower = Follower::restored(serve, store).await;
    let mut pause = pace.retry;
    loop {
        match choose(&following, None).await {
            Ok(open) => {
                let since = Instant::now();
                let mut next = Some(open);
                while let Some(open) = next.take() {
                    match follower.converse(open, &following).await {
                        Ended::Better(better) => next = Some(*better),
                        Ended::Because(why) => tracing::info!(why, "the stream ended; what is known serves on"),
                    }
                }
                follower.keep().await;
                // one that is cut again and again is no better than one that does not open
                if since.elapsed() >= pace.silence {
                    pause = pace.retry;
                }
            }
            Err(why) => {
                tracing::warn!(controller = following.controller, why, "no controller; what is known serves on");
            }
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(pace.retry_most);
    }
}

/// Half of it at least: gateways that lost one controller do not all come at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
