//! F3 and Z4: one of an application's endpoints fails, or is a hole into which everything falls. It is left out, the others serve, it comes back; where all fail none is left out; and what was not sent waits again.

use crate::rig::HOST;
use headgate_e2e::{Headgate, Origin, Script, Wire, backend, route, until};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

async fn serving(endpoints: &[SocketAddr]) -> Headgate {
    let files = [("app.yaml", backend("app", None, endpoints)), ("route.yaml", route("app", HOST, &[("app", 1)]))];
    Headgate::run_with(&["--cores", "1", "--connect-timeout", "300ms"], &files).await
}

async fn in_service(headgate: &Headgate) -> f64 {
    headgate.metric("headgate_backend_endpoints_ready", "app").await
}

async fn ask(headgate: &Headgate) -> u16 {
    headgate.get(HOST, "/").await.status
}

/// An application with a status that can be changed.
async fn answering(status: u16) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let says = status.clone();
    (Origin::start(move |_| Script::status(says.load(Relaxed), "")).await, status)
}

/// Of so many requests, those that were not answered 200.
async fn errors(headgate: &Headgate, count: usize) -> usize {
    let mut errors = 0;
    for _ in 0..count {
        errors += usize::from(ask(headgate).await != 200);
    }
    errors
}

/// Envoy's consecutive_5xx: an endpoint that answers 500 again and again is left out, costs next to nothing, and serves again once it is mended.
#[tokio::test]
async fn an_endpoint_that_only_errs_is_left_out_and_comes_back() {
    let (good, other, bad) = (answering(200).await, answering(200).await, answering(500).await);
    let headgate = serving(&[good.0.address, other.0.address, bad.0.address]).await;
    let mut lost = 0;
    until("it is left out", async || {
        lost += usize::from(ask(&headgate).await != 200);
        in_service(&headgate).await == 2.0
    })
    .await;
    assert!((1..=5).contains(&lost), "{lost} requests were lost until then");
    let lost = errors(&headgate, 1_000).await;
    println!("{lost} of the next 1000 requests were lost");
    assert!(lost < 10, "{lost} of 1000");

    bad.1.store(200, Relaxed);
    bad.0.forget();
    until("it serves again", async || ask(&headgate).await == 200 && bad.0.complete() > 0).await;
    assert_eq!(errors(&headgate, 100).await, 0);
    assert_eq!(in_service(&headgate).await, 3.0);
    headgate.stop().await;
}

/// Where all endpoints answer 500 the cause is likely not theirs: the application's own answer goes on to the client, and the first good one is seen at once.
#[tokio::test]
async fn where_all_err_none_is_left_out() {
    let apps = [answering(500).await, answering(500).await, answering(500).await];
    let headgate = serving(&apps.each_ref().map(|(origin, _)| origin.address)).await;
    for _ in 0..100 {
        let answer = headgate.get(HOST, "/").await;
        assert_eq!((answer.status, answer.failure()), (500, None), "{}", answer.text());
    }
    assert!(apps.iter().all(|(origin, _)| origin.complete() > 5), "each is asked, though each fails");
    apps.iter().for_each(|(_, status)| status.store(200, Relaxed));
    assert_eq!(errors(&headgate, 100).await, 0);
    headgate.stop().await;
}

/// A listener whose queue of connections is full: what comes after that is dropped, as by a network policy.
async fn hole() -> (TcpListener, SocketAddr, JoinSet<std::io::Result<TcpStream>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = JoinSet::new();
    loop {
        let mut one = Box::pin(TcpStream::connect(address));
        let is_full = tokio::time::timeout(Duration::from_millis(300), &mut one).await.map(|socket| {
            filling.spawn(std::future::ready(socket));
        });
        if is_full.is_err() {
            return (listener, address, filling);
        }
    }
}

/// Answers whoever comes, those who have waited included.
async fn mend(listener: TcpListener, served: Arc<AtomicU16>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let served = served.clone();
        tokio::spawn(async move {
            let mut trash = [0; 4096];
            while socket.read(&mut trash).await.is_ok_and(|read| read > 0) {
                served.fetch_add(1, Relaxed);
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
    }
}

/// RFC 9110 §9.2.2: nothing was sent, so a request that fell into a hole is served elsewhere; soon none falls in any more.
#[tokio::test]
async fn nobody_is_lost_in_a_hole_and_it_may_be_mended() {
    let (good, other, (listener, hole, _filling)) = (answering(200).await, answering(200).await, hole().await);
    let headgate = serving(&[good.0.address, other.0.address, hole]).await;
    until("it is left out", async || {
        assert_eq!(ask(&headgate).await, 200);
        in_service(&headgate).await == 2.0
    })
    .await;
    assert_eq!(errors(&headgate, 300).await, 0);
    let served = Arc::new(AtomicU16::new(0));
    let mending = tokio::spawn(mend(listener, served.clone()));
    until("it serves", async || {
        assert_eq!(ask(&headgate).await, 200);
        served.load(Relaxed) > 0
    })
    .await;
    assert_eq!(errors(&headgate, 100).await, 0);
    mending.abort();
    headgate.stop().await;
}

/// Z4: an endpoint that is there when a request's turn comes and gone before a byte was sent: the request is in line again, and is served once and whole.
#[tokio::test]
async fn who_was_sent_nowhere_is_in_line_again() {
    const POLICY: &str = "apiVersion: headgate.dev/v1alpha1\nkind: ScalingPolicy\nmetadata:\n  name: app\nspec:\n  \
                          targetRefs: [{kind: Service, name: app}]\n  scaleTargetRef: {name: app}\n  concurrency: 1\n";
    let turns = Arc::new(Semaphore::new(0));
    let held = turns.clone();
    let app = Origin::start(move |request| Script::default().wait_for(&held).then(Script::ok(&request.body))).await;
    let (_listener, hole, _filling) = hole().await;
    let files = [
        ("app.yaml", backend("app", None, &[app.address])),
        ("route.yaml", route("app", HOST, &[("app", 1)])),
        ("policy.yaml", POLICY.to_owned()),
    ];
    let headgate = Headgate::run_with(&["--cores", "1", "--connect-timeout", "500ms"], &files).await;
    let ask = |body: &'static str| {
        let address = headgate.address;
        tokio::spawn(async move { Wire::post(address, HOST, "/", body.as_bytes()).await })
    };
    let gauge = async |name: &str| headgate.metric(name, "app").await;
    let busy = ask("first");
    until("it runs", async || gauge("headgate_backend_in_flight").await == 1.0).await;
    let waits = ask("second");
    until("it waits", async || gauge("headgate_queue_depth").await == 1.0).await;

    headgate.save("app.yaml", &backend("app", None, &[app.address, hole]));
    until("its turn comes", async || gauge("headgate_queue_depth").await == 0.0).await;
    assert_eq!(gauge("headgate_backend_in_flight").await, 2.0);
    headgate.save("app.yaml", &backend("app", None, &[app.address]));
    until("it waits again", async || gauge("headgate_queue_depth").await == 1.0).await;
    turns.add_permits(2);
    for (asked, body) in [(busy, "first"), (waits, "second")] {
        let answer = asked.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
    assert_eq!(app.complete(), 2, "each reached the application once");
    headgate.stop().await;
}
