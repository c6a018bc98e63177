//! Stories that are told twice: in small for every change, and in full size by the heavy tests.

use headgate_e2e::{
    Function, H2, Headgate, Origin, Script, Wire, arrivals, backend, marked_route, pattern, until, within,
};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The recording application.
pub fn recording(home: &TempDir) -> Function {
    Function::named("busy").command(&[env!("CARGO_BIN_EXE_app")]).env("LOG", log(home).display())
}

/// The same, which listens when the test lets it.
pub fn waiting(home: &TempDir) -> Function {
    recording(home).env("LISTEN_WHEN", home.path().join("listen").display())
}

pub fn let_listen(home: &TempDir) {
    std::fs::write(home.path().join("listen"), "").unwrap();
}

pub fn log(home: &TempDir) -> PathBuf {
    home.path().join("arrivals")
}

/// 100 may wait; the rest of `count` is told so while the function is still starting.
pub async fn overflow(count: usize) {
    let home = tempfile::tempdir().unwrap();
    let cold = waiting(&home).annotation("headgate.dev/queue", 100);
    let headgate =
        Headgate::run(&[("busy.yaml", cold.to_string()), ("warm.yaml", Function::named("warm").to_string())]).await;
    assert_eq!(headgate.get("warm.default.localhost", "/").await.status, 200);

    let address = headgate.address;
    let refusals = Arc::new(AtomicUsize::new(0));
    let ask = |order: usize| {
        let refusals = refusals.clone();
        tokio::spawn(async move {
            let mut wire = Wire::open(address).await;
            let head = format!("GET / HTTP/1.1\r\nHost: busy.default.localhost\r\nX-Order: {order}\r\n\r\n");
            let answer = wire.ask(head).await;
            refusals.fetch_add(usize::from(answer.status == 503), Relaxed);
            answer
        })
    };
    let mut clients = Vec::new();
    let mut slowest_warm = Duration::ZERO;
    for order in 0..count {
        clients.push(ask(order));
        if order.is_multiple_of(50) {
            let asked = Instant::now();
            assert_eq!(headgate.get("warm.default.localhost", "/").await.text(), "warm\n");
            slowest_warm = slowest_warm.max(asked.elapsed());
        }
    }
    // all of the rest are refused while nothing has started yet
    until("the refusals", async || refusals.load(Relaxed) == count - 100).await;
    let_listen(&home);
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    let (held, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((held.len(), refused.len()), (100, count - 100));
    for answer in &refused {
        assert_eq!((answer.status, answer.failure()), (503, Some("queue_full")), "{}", answer.text());
        let retry: u32 = answer.field("retry-after").expect("a Retry-After").parse().unwrap();
        assert!(retry >= 1);
    }
    assert_eq!(arrivals(&log(&home)).len(), 100, "what was refused reached nobody");
    println!("slowest answer of the warm function: {slowest_warm:?}");
    headgate.stop().await;
}

const HOST: &str = "app.localhost";

/// Asks over connections that are kept, over new ones and over HTTP/2, until the file was saved `reloads` times and `least` requests
/// were answered. Each answer is 200, and on a connection no answer is of an older version than the one before it.
pub async fn reloads(reloads: usize, least: usize) {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let route = |version| marked_route("app", HOST, version, "app");
    let files = [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", route(0))];
    let headgate = Headgate::run_with(&["--access-log", "none"], &files).await;

    let (enough, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for kind in [Kind::Kept, Kind::Kept, Kind::New, Kind::Http2, Kind::Http2] {
        clients.push(tokio::spawn(ask(kind, headgate.address, enough.clone(), answered.clone())));
    }
    let mut to_live = Vec::new();
    let mut wire = Wire::open(headgate.address).await;
    for version in 1..=reloads {
        let saved = Instant::now();
        headgate.save("route.yaml", &route(version));
        let wanted = version.to_string();
        while wire.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await.field("x-version") != Some(&wanted) {
            assert!(saved.elapsed() < Duration::from_secs(5), "version {version} is not live");
        }
        to_live.push(saved.elapsed());
    }
    answers(&answered, least).await;
    enough.store(true, Relaxed);
    for client in clients {
        within("a client", client).await.unwrap();
    }
    to_live.sort();
    println!(
        "{} requests, none failed; from save to live p50 {:?}, p99 {:?}, most {:?}",
        answered.load(Relaxed),
        to_live[to_live.len() / 2],
        to_live[to_live.len() * 99 / 100],
        to_live.last().unwrap()
    );
    assert!(to_live[to_live.len() / 2] < Duration::from_secs(1));
    headgate.stop().await;
}

/// Waits until there are so many answers: as long as more come, however busy the machine is.
async fn answers(answered: &AtomicUsize, least: usize) {
    while answered.load(Relaxed) < least {
        let before = answered.load(Relaxed);
        until("another answer", async || answered.load(Relaxed) > before).await;
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Kept,
    New,
    Http2,
}

async fn ask(kind: Kind, to: SocketAddr, enough: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    const GET: &str = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let mut kept = Wire::open(to).await;
    let mut h2 = H2::open(to).await;
    let mut newest = 0;
    while !enough.load(Relaxed) {
        let (status, version) = match kind {
            Kind::Http2 => {
                let Some(answer) = h2.get_unless_over(HOST, "/").await else {
                    h2 = H2::open(to).await;
                    continue;
                };
                let answer = answer.expect("an answer over HTTP/2");
                (answer.status, answer.field("x-version").map(str::to_owned))
            }
            Kind::Kept | Kind::New => {
                if matches!(kind, Kind::New) {
                    kept = Wire::open(to).await;
                }
                let answer = kept.ask(GET).await;
                if !answer.keeps_alive() {
                    kept = Wire::open(to).await;
                }
                (answer.status, answer.field("x-version").map(str::to_owned))
            }
        };
        let version: usize = version.expect("a version").parse().unwrap();
        assert!(status == 200 && version >= newest, "{status}, version {version} after {newest}");
        newest = version;
        answered.fetch_add(1, Relaxed);
    }
}

/// The same clients, while one process follows another `times` times: all get at least `least` answers, and each is 200.
pub async fn handovers(times: usize, least: usize) {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let files =
        [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", marked_route("app", HOST, 0, "app"))];
    let line = tempfile::tempdir().unwrap();
    let path = line.path().join("next").display().to_string();
    let flags = ["--handover", &path, "--access-log", "none", "--drain-grace", "20s"];
    let mut headgate = Headgate::run_with(&flags, &files).await;

    let (enough, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for kind in [Kind::Kept, Kind::Kept, Kind::New, Kind::New, Kind::Http2, Kind::Http2] {
        clients.push(tokio::spawn(ask(kind, headgate.address, enough.clone(), answered.clone())));
    }
    for time in 1..=times {
        let next = headgate.start_next(|command| command, &flags);
        next.printed("follows process").await;
        let mut before = std::mem::replace(&mut headgate, next);
        let status = before.exit().await;
        assert!(status.success(), "{status}; it printed:\n{}", before.output().join("\n"));
        before.printed("every request was answered").await;
        answers(&answered, least * time / times).await;
        assert!(clients.iter().all(|client| !client.is_finished()), "a client got no answer");
    }
    enough.store(true, Relaxed);
    for client in clients {
        within("a client", client).await.unwrap();
    }
    println!("{} requests over {times} handovers, none failed", answered.load(Relaxed));
    headgate.stop().await;
}

/// A body of `size` bytes goes up, and one comes down, each through a cold start and a reload in its middle. Every byte is compared.
pub async fn transfer(size: usize) {
    upload(size).await;
    download(size).await;
}

const BUSY: &str = "busy.localhost";

async fn transferring(home: &TempDir) -> Headgate {
    let function = recording(home).annotation("autoscaling.knative.dev/window", "1h");
    Headgate::run(&[("f.yaml", function.to_string()), ("route.yaml", marked_route("busy", BUSY, 1, "busy"))]).await
}

/// Saves another route, and waits until it is live.
async fn reload(headgate: &Headgate) {
    headgate.save("route.yaml", &marked_route("busy", BUSY, 2, "busy"));
    headgate.serves(BUSY, "/bytes/1", |answer| answer.field("x-version") == Some("2")).await;
}

async fn upload(size: usize) {
    let home = tempfile::tempdir().unwrap();
    let headgate = transferring(&home).await;
    let body = pattern(size);
    let (first, second) = body.split_at(size / 2);
    let mut wire = Wire::open(headgate.address).await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: {BUSY}\r\nX-Order: 1\r\nContent-Length: {size}\r\n\r\n")).await;
    wire.send(first).await;
    reload(&headgate).await;
    wire.send(second).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.text()), (200, format!("1 {size} true")));
    assert_eq!(answer.field("x-version"), Some("1"), "it goes on as it began");
    assert_eq!(arrivals(&log(&home)).iter().filter(|arrival| arrival.order == 1).count(), 1);
    headgate.stop().await;
}

async fn download(size: usize) {
    let home = tempfile::tempdir().unwrap();
    let headgate = transferring(&home).await;
    let mut wire = Wire::open(headgate.address).await;
    wire.send(format!("GET /bytes/{size} HTTP/1.1\r\nHost: {BUSY}\r\n\r\n")).await;
    let head = wire.head().await;
    assert_eq!((head.status, head.field("content-length")), (200, Some(size.to_string().as_str())));
    let mut body = wire.bytes(size / 2).await;
    reload(&headgate).await;
    body.extend(wire.bytes(size - size / 2).await);
    assert!(body == pattern(size), "the body is not what was sent");
    // the connection is as good as new
    assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: {BUSY}\r\n\r\n")).await.status, 200);
    headgate.stop().await;
}
