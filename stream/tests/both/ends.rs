//! A controller and a gateway's Pod, as small as they can be. Nothing of a test outlives its runtime.

use crate::given::{backend, gateway};
use headgate_config::{BackendName, Demand, Endpoints, GatewayName, Redacted, Snapshot};
use headgate_stream::{
    Certificates, Following, FromGateway, Identity, Pace, Publisher, Refusal, Report, Serve, ServerTls,
    authority::Material, follow, serve,
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Short limits, long enough for a machine that does much else.
pub fn quick() -> Pace {
    Pace {
        beat: Duration::from_millis(200),
        silence: Duration::from_secs(3),
        open: Duration::from_secs(3),
        retry: Duration::from_millis(20),
        retry_most: Duration::from_millis(200),
        lookup: Duration::from_millis(200),
        ..Pace::default()
    }
}

/// Returns once it holds.
pub async fn until(holds: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "it did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub struct Controller {
    pub publisher: Publisher,
    pub port: u16,
    material: Material,
    tls: ServerTls,
    heard: Arc<Mutex<Vec<Report>>>,
    asked: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Controller {
    /// One with an authority of its own.
    pub async fn start(name: &str, leading: bool) -> Self {
        let names = ["localhost".to_owned()];
        let material = Material::renewed(None, &names, SystemTime::now()).unwrap().unwrap();
        Self::new(0, name, leading, material).await
    }

    /// One whose authority is what it became some days ago.
    pub async fn with_authority(name: &str, material: &Material) -> Self {
        Self::new(0, name, true, material.clone()).await
    }

    /// Shows another certificate from the next connection on.
    pub fn show(&self, material: &Material) {
        self.tls.replace(material.chain(), material.key()).unwrap();
    }

    pub async fn sharing_authority(name: &str, leading: bool, other: &Self) -> Self {
        Self::new(0, name, leading, other.material.clone()).await
    }

    /// In the place of one that was stopped.
    pub async fn on_port(port: u16, name: &str, other: &Self) -> Self {
        Self::new(port, name, true, other.material.clone()).await
    }

    async fn new(port: u16, name: &str, leading: bool, material: Material) -> Self {
        let listener = loop {
            // the port of one that was stopped is free only after its tasks have ended
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let port = listener.local_addr().unwrap().port();
        let (publisher, mut inbox) = Publisher::new(name, 1, "test", quick());
        publisher.lead(leading);
        let tls = ServerTls::new(material.chain(), material.key()).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let shown = tls.clone();
        let authenticate = move |token: Redacted| {
            counted.fetch_add(1, SeqCst);
            std::future::ready(bearer(token.reveal()))
        };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, public) = (heard.clone(), publisher.clone());
        // a port of ours before it counts who tries
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = inner.local_addr().unwrap();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let tried = handshakes.clone();
        let tasks = vec![
            tokio::spawn(async move { serve(inner, shown, authenticate, public).await.unwrap() }),
            tokio::spawn(async move {
                while let Some(FromGateway { report, .. }) = inbox.recv().await {
                    kept.lock().unwrap().push(report);
                }
            }),
            tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    tried.fetch_add(1, SeqCst);
                    let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
                }
            }),
        ];
        Self { publisher, port, material, tls, heard, asked, handshakes, tasks }
    }

    pub fn at(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Returns once such a report has come.
    pub async fn heard(&self, wanted: impl Fn(&Report) -> bool) {
        until(|| self.heard.lock().unwrap().iter().any(&wanted)).await;
    }

    pub fn reports(&self) -> Vec<Report> {
        self.heard.lock().unwrap().clone()
    }

    /// Tokens that were looked at.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    /// Connections that came.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(SeqCst)
    }

    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Tokens here say whose they are: `namespace/gateway/pod`.
fn bearer(token: &str) -> Result<Identity, Refusal> {
    match *token.split('/').collect::<Vec<_>>() {
        [namespace, name, pod] => {
            Ok(Identity { gateway: GatewayName { namespace: namespace.into(), name: name.into() }, pod: pod.into() })
        }
        _ => Err(Refusal::Token("unknown".into())),
    }
}

pub struct Pod {
    pub plane: Arc<Plane>,
    following: Following,
    folder: Arc<tempfile::TempDir>,
    task: JoinHandle<()>,
}

impl Pod {
    /// Follows the controllers at `at`, trusting the authority of one.
    pub fn start(at: &str, trusted: &Controller) -> Self {
        Self::start_with_token(at, trusted, "a/web/pod")
    }

    pub fn start_with_token(at: &str, trusted: &Controller, token: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("token"), token).unwrap();
        std::fs::write(file("ca.crt"), trusted.material.trusted()).unwrap();
        std::fs::create_dir(file("state")).unwrap();
        let following = Following {
            gateway: gateway(),
            pod: "pod".into(),
            controller: at.into(),
            authority: file("ca.crt"),
            token: file("token"),
            state: Some(file("state")),
            program: "test".into(),
            pace: quick(),
        };
        Self::with(following, folder)
    }

    fn with(following: Following, folder: Arc<tempfile::TempDir>) -> Self {
        let plane = Arc::new(Plane::default());
        let (serving, followed) = (plane.clone(), following.clone());
        let task = tokio::spawn(async move { follow(followed, &*serving).await });
        Self { plane, following, folder, task }
    }

    /// The same container again: its folder is what it was.
    pub fn restart(self) -> Self {
        self.task.abort();
        Self::with(self.following, self.folder)
    }

    pub fn write_token(&self, token: &str) {
        std::fs::write(&self.following.token, token).unwrap();
    }

    pub fn write_authority(&self, trusted: &Controller) {
        self.write_trusted(&trusted.material);
    }

    pub fn write_trusted(&self, trusted: &Material) {
        std::fs::write(&self.following.authority, trusted.trusted()).unwrap();
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state").join("routes")
    }

    /// What is kept for the next start.
    pub fn kept(&self) -> Option<Vec<u8>> {
        std::fs::read(self.state()).ok()
    }

    pub fn keep(&self, bytes: &[u8]) {
        std::fs::write(self.state(), bytes).unwrap();
    }
}

/// What a data plane would hold.
#[derive(Default)]
pub struct Plane {
    versions: Mutex<Vec<(Snapshot, Arc<Certificates>)>>,
    endpoints: Mutex<HashMap<BackendName, Endpoints>>,
    wrong: Mutex<Vec<String>>,
    demand: Mutex<Vec<Demand>>,
    stirred: Notify,
}

impl Plane {
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.versions.lock().unwrap().last().map(|(snapshot, _)| snapshot.clone())
    }

    pub fn certificates(&self) -> Certificates {
        self.versions.lock().unwrap().last().map(|(_, certificates)| (**certificates).clone()).unwrap_or_default()
    }

    /// How many rules each version had, oldest first.
    pub fn history(&self) -> Vec<usize> {
        self.versions.lock().unwrap().iter().map(|(snapshot, _)| snapshot.rules.len()).collect()
    }

    /// The ports of a backend's endpoints.
    pub fn listed(&self, index: u32) -> Vec<u16> {
        let endpoints = self.endpoints.lock().unwrap();
        let list = endpoints.get(&backend(index)).map(|endpoints| endpoints.list.clone()).unwrap_or_default();
        list.iter().map(|endpoint| endpoint.address.port()).collect()
    }

    pub fn find_wrong(&self, problem: &str) {
        self.wrong.lock().unwrap().push(problem.into());
    }

    pub fn demand_now(&self, demand: Vec<Demand>) {
        *self.demand.lock().unwrap() = demand;
        self.stirred.notify_one();
    }
}

impl Serve for Plane {
    async fn publish(&self, snapshot: Snapshot, certificates: Arc<Certificates>) -> Vec<String> {
        self.versions.lock().unwrap().push((snapshot, certificates));
        self.wrong.lock().unwrap().clone()
    }

    fn orphaned(&self) {}

    async fn restore(&self, snapshot: Snapshot) {
        self.publish(snapshot, Arc::default()).await;
    }

    fn endpoints(&self, endpoints: &Endpoints) {
        self.endpoints.lock().unwrap().insert(endpoints.backend.clone(), endpoints.clone());
    }

    fn demand(&self, _whole: bool) -> Vec<Demand> {
        self.demand.lock().unwrap().clone()
    }

    async fn stirred(&self) {
        self.stirred.notified().await;
    }
}
