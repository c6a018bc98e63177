//! F1: what networks do to an application's connections is told by its name or shows as a broken answer; no answer is cut and looks whole, and a POST reaches the application at most once.

use headgate_e2e::{H2, Headgate, Origin, Poison, Proxy, Script, Toxic, Wire, backend, pattern, rules, until};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

const HOST: &str = "app.localhost";
/// The same application, whose answer is not waited for.
const HASTY: &str = "hasty.localhost";
const BYTES: usize = 20_000;

/// How an exchange ends.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Whole,
    Failed(u16, String),
    Broken,
}

/// One gateway before one proxy before one application.
struct Line {
    headgate: Headgate,
    proxy: Proxy,
    origin: Origin,
    /// How often each POST arrived, by its number.
    arrived: RefCell<BTreeMap<usize, usize>>,
    posts: Cell<usize>,
}

impl Line {
    async fn start() -> Self {
        let origin = Origin::start(|_| Script::ok(pattern(BYTES))).await;
        let proxy = Proxy::before(origin.address).await;
        let rule = "  - backendRefs: [{name: app, port: 80}]\n";
        let hasty = format!("{rule}    timeouts: {{request: 500ms}}\n");
        let files = [
            ("app.yaml", backend("app", None, &[proxy.address])),
            ("route.yaml", rules("app", HOST, rule)),
            ("hasty.yaml", rules("hasty", HASTY, &hasty)),
        ];
        // the endpoint is not given up after some failures: each exchange is to meet its toxic
        let headgate = Headgate::run_with(&["--eject-failures", "1000"], &files).await;
        Self { headgate, proxy, origin, arrived: RefCell::default(), posts: Cell::default() }
    }

    /// A POST's number and body; those of a GET are nothing.
    fn sent(&self, method: &str) -> (usize, Vec<u8>) {
        if method == "GET" {
            return (0, Vec::new());
        }
        self.posts.set(self.posts.get() + 1);
        (self.posts.get(), pattern(BYTES))
    }

    async fn http1(&self, host: &str, method: &str) -> End {
        let (order, body) = self.sent(method);
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: {host}\r\nX-Order: {order}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut wire = Wire::open(self.headgate.address).await;
        wire.send([head.into_bytes(), body].concat()).await;
        match wire.try_answer(false).await {
            Ok(answer) if answer.status == 200 => whole(&answer.body),
            Ok(answer) => End::Failed(answer.status, answer.failure().unwrap().to_owned()),
            Err(why) if why.starts_with("it broke off") => End::Broken,
            Err(why) => panic!("{why}"),
        }
    }

    async fn http2(&self, host: &str, method: &str) -> End {
        let (order, body) = self.sent(method);
        let request = http::Request::builder().method(method).uri(format!("http://{host}/")).header("x-order", order);
        match H2::open(self.headgate.address).await.call(request.body(()).unwrap(), body).await {
            Ok(answer) if answer.status == 200 => whole(&answer.body),
            Ok(answer) => End::Failed(answer.status, answer.failure().unwrap().to_owned()),
            Err(error) => {
                assert!(error.is_reset(), "{error}");
                End::Broken
            }
        }
    }

    /// No POST reached the application twice, whole or in part.
    fn assert_once(&self) {
        let taken = self.origin.take();
        assert!(taken.malformed.is_empty(), "{:?}", taken.malformed);
        let mut arrived = self.arrived.borrow_mut();
        for request in taken.whole.iter().chain(&taken.unfinished).filter(|request| request.method == "POST") {
            *arrived.entry(request.field("x-order").unwrap().parse().unwrap()).or_default() += 1;
        }
        let twice: Vec<_> = arrived.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

/// An answer that looks whole has to be.
fn whole(body: &[u8]) -> End {
    assert!(body == pattern(BYTES), "{} bytes look like a whole answer", body.len());
    End::Whole
}

fn failed(status: u16, failure: &str) -> Vec<End> {
    vec![End::Failed(status, failure.into())]
}

#[tokio::test]
async fn each_toxic_is_told_by_its_name_and_no_post_is_sent_twice() {
    let line = Line::start().await;
    let (short, reset) = (Duration::from_millis(20), || failed(502, "upstream_reset"));
    let closed = || failed(502, "upstream_closed_early");
    // where bytes of a request are lost on a reset, it may show as a reset or as an end
    let lost = || [reset(), closed()].concat();
    // it breaks off, unless the gateway saw the end before it had sent the head on
    let cut = || [vec![End::Broken], failed(502, "upstream_truncated"), lost()].concat();
    for (poison, ends) in [
        (Poison::down(Toxic::Latency(short)), vec![End::Whole]),
        (Poison::down(Toxic::Bandwidth(200_000)), vec![End::Whole]),
        (Poison::down(Toxic::Slices(700, Duration::from_millis(1))), vec![End::Whole]),
        (Poison::up(Toxic::Slices(700, Duration::from_millis(1))), vec![End::Whole]),
        (Poison::down(Toxic::SlowClose(short)), vec![End::Whole]),
        (Poison::down(Toxic::Limit(5_000)), cut()),
        (Poison::down(Toxic::Reset(5_000)), cut()),
        (Poison::down(Toxic::Limit(10)), lost()),
        (Poison::down(Toxic::Reset(10)), lost()),
        (Poison::up(Toxic::Limit(60)), lost()),
        (Poison::up(Toxic::Reset(60)), lost()),
        (Poison::down(Toxic::Hole), failed(504, "request_timeout")),
        (Poison::up(Toxic::Hole), failed(504, "request_timeout")),
        (Poison::down(Toxic::Gone), failed(502, "connect_refused")),
    ] {
        line.proxy.poison(poison);
        let host = if poison.toxic == Toxic::Hole { HASTY } else { HOST };
        for (version, method) in [(1, "GET"), (1, "POST"), (2, "GET"), (2, "POST")] {
            let end = if version == 1 { line.http1(host, method).await } else { line.http2(host, method).await };
            assert!(ends.contains(&end), "{poison:?}, {method} over HTTP/{version}: {end:?} is none of {ends:?}");
        }
        line.proxy.poison(None);
        until("healed", async || line.http1(HOST, "GET").await == End::Whole).await;
        line.assert_once();
    }
    line.headgate.stop().await;
}
