//! A gateway between a hostile client and an application that records every byte, and the verdict on what passed. It sends nothing but what a test gives it, and one honest request after it.

use headgate_e2e::{Answer, Authority, Headgate, Origin, Request, Script, Wire, backend, marked_route};
use std::net::{SocketAddr, TcpListener};

/// The host that the application serves.
pub const HOST: &str = "app.localhost";

/// A request that nobody may ever see as one: it stands in bodies.
pub const SMUG: &str = "GET /smug HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

/// What is right.
#[derive(Clone, Debug, PartialEq)]
pub enum Right {
    /// An answer of 4xx or 5xx, the connection closed, not a byte at the application.
    Refused,
    /// The same, but the fault shows in the body only: a part of the request may have been sent on, on a connection that is never used again.
    Cut,
    /// The application gets a clean request with each of these bodies, and as many answers come.
    Clean(Vec<&'static str>),
    /// Refused, or one clean request with this body.
    Either(&'static str),
}

/// How the client comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Over TCP.
    Plain,
    /// Over TLS.
    Tls,
}

/// One input.
pub struct Case {
    /// The rule that it breaks, or keeps.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is right.
    pub right: Right,
}

impl Case {
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, right: Right) -> Self {
        Self { name: name.into(), bytes: bytes.into(), right }
    }

    /// Whether nothing of it may wait for an application.
    pub fn is_refused_at_its_head(&self) -> bool {
        self.right == Right::Refused
    }

    /// How many requests it is at most.
    pub fn owed(&self) -> usize {
        if let Right::Clean(bodies) = &self.right { bodies.len() } else { 1 }
    }
}

/// A head with the usual Host, and what follows.
pub fn head(first: &str, fields: &str, rest: &str) -> String {
    format!("{first}\r\nHost: {HOST}\r\n{fields}\r\n{rest}")
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A gateway with one core, so that the next request uses the connections of the one before.
pub struct Rig {
    pub headgate: Headgate,
    pub origin: Origin,
    /// Where plain requests are served.
    pub plain: SocketAddr,
    tls: SocketAddr,
    authority: Authority,
}

/// An HTTPRoute of the rig's Gateway, which has a listener for plain requests and one for TLS.
pub fn attached(route: &str) -> String {
    route.replacen("spec:\n", "spec:\n  parentRefs: [{name: edge}]\n", 1)
}

fn app_route(version: usize) -> String {
    attached(&marked_route("app", HOST, version, "app"))
}

impl Rig {
    /// One whose application answers 200 to all.
    pub async fn start() -> Self {
        Self::with(&[], |_| Script::ok("ok")).await
    }

    /// One with flags, and an application that answers as it likes.
    pub async fn with(flags: &[&str], reply: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        Self::beside(flags, &[], reply).await
    }

    /// The same with more files.
    pub async fn beside(
        flags: &[&str],
        more: &[(&str, String)],
        reply: impl Fn(&Request) -> Script + Send + Sync + 'static,
    ) -> Self {
        let (origin, authority) = (Origin::start(reply).await, Authority::default());
        let [plain, tls] = [free_port(), free_port()];
        let edge = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: any\n  \
             listeners:\n  - {{name: plain, port: {plain}, protocol: HTTP}}\n  \
             - {{name: tls, port: {tls}, protocol: HTTPS, hostname: {HOST}, tls: {{certificateRefs: [{{name: app}}]}}}}\n"
        );
        let mut files = vec![
            ("app.yaml", backend("app", None, &[origin.address])),
            ("route.yaml", app_route(0)),
            ("edge.yaml", edge),
            ("secret.yaml", authority.secret("app", &[HOST])),
        ];
        files.extend(more.iter().cloned());
        let flags = [&["--cores", "1"], flags].concat();
        let headgate = Headgate::run_with(&flags, &files).await;
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        Self { headgate, origin, plain: at(plain), tls: at(tls), authority }
    }

    /// Saves the routes anew.
    pub fn reload(&self, version: usize) {
        self.headgate.save("route.yaml", &app_route(version));
    }

    /// A connection.
    pub async fn open(&self, way: Way) -> Wire {
        match way {
            Way::Plain => Wire::open(self.plain).await,
            Way::Tls => Wire::over(self.authority.connect(self.tls, HOST, &["http/1.1"]).await.unwrap()),
        }
    }

    /// Where TLS is served.
    pub fn tls(&self) -> SocketAddr {
        self.tls
    }

    /// Who issued its certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A connection over TLS that speaks HTTP/2.
    pub async fn open_h2(&self) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {
        self.authority.connect(self.tls, HOST, &["h2"]).await.unwrap()
    }

    /// An honest request of somebody else; the application's connections must be as clean as before.
    pub async fn canary(&self) -> u16 {
        let get = format!("GET /canary HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        self.open(Way::Plain).await.ask(get).await.status
    }

    /// Judges all cases, and says of all that are wrong why.
    pub async fn judge(self, way: Way, cases: &[Case]) -> usize {
        let mut refused = 0;
        let mut wrong = Vec::new();
        for case in cases {
            match self.verdict(way, case).await {
                Ok(is_refused) => refused += usize::from(is_refused),
                Err(why) => wrong.push(format!("{}: {why}", case.name)),
            }
        }
        assert!(wrong.is_empty(), "{} of {} wrong, {way:?}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
        self.headgate.stop().await;
        refused
    }

    /// Whether one input was refused, or what is wrong.
    pub async fn verdict(&self, way: Way, case: &Case) -> Result<bool, String> {
        self.origin.forget();
        let mut wire = self.open(way).await;
        wire.send(&case.bytes).await;
        let (answers, closed) = answers(&mut wire, case.owed()).await?;
        drop(wire);
        let canary = self.canary().await;
        self.seen(&case.right, &answers, closed, canary)
    }

    fn seen(&self, right: &Right, answers: &[Answer], closed: bool, canary: u16) -> Result<bool, String> {
        let origin = &self.origin;
        let malformed = origin.malformed();
        let verdict = |holds: bool, why: String| if holds { Ok(()) } else { Err(why) };
        verdict(malformed.is_empty(), format!("the application got {malformed:?}"))?;
        verdict(canary == 200, format!("the next client got {canary}"))?;
        let mut seen = origin.requests();
        let last = seen.pop().map(|request| request.target);
        verdict(last.as_deref() == Some("/canary"), format!("the next request was {last:?}"))?;
        let targets: Vec<&str> = seen.iter().map(|request| request.target.as_str()).collect();
        verdict(!targets.iter().any(|target| target.contains("smug")), format!("smuggled: {targets:?}"))?;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let is_refused = matches!(statuses[..], [400..=599]) && closed && seen.is_empty();
        let is_untouched = origin.broken() == 0 && is_one_canary(&origin.received());
        let bodies: Vec<String> = seen.iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
        let clean = |wanted: &[&str]| {
            let good = statuses.iter().filter(|status| **status == 200).count();
            bodies == wanted && good == wanted.len() && origin.broken() == 0
        };
        let holds = match right {
            Right::Refused => is_refused && is_untouched,
            Right::Cut => is_refused,
            Right::Clean(bodies) => clean(bodies),
            Right::Either(body) => (is_refused && is_untouched) || clean(&[body]),
        };
        let broken = origin.broken();
        verdict(
            holds,
            format!(
                "not {right:?}: answers {statuses:?}, closed {closed}; the application saw {targets:?} {bodies:?}, {broken} broken"
            ),
        )?;
        Ok(is_refused)
    }
}

/// Whether the bytes are those of one honest request and nothing else.
fn is_one_canary(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.starts_with("GET /canary HTTP/1.1\r\n") && text.find("\r\n\r\n") == Some(text.len() - 4)
}

/// All answers until the connection ends or nothing more is owed.
pub async fn answers(wire: &mut Wire, owed: usize) -> Result<(Vec<Answer>, bool), String> {
    let mut answers = Vec::new();
    loop {
        if answers.len() == owed && answers.last().is_none_or(Answer::keeps_alive) {
            return Ok((answers, false));
        }
        match wire.try_answer(false).await {
            Ok(answer) => answers.push(answer),
            Err(why) if why.contains("malformed") => return Err(format!("its answer is {why}")),
            Err(_) => return Ok((answers, true)),
        }
    }
}
