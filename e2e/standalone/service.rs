//! Under a service manager: the sockets that it passes are used, and it is told what happens. The test is the manager.

use headgate_e2e::{Function, Headgate, Origin, Script, Wire, backend, marked_route, until, within};
use nix::sys::signal::Signal;
use std::{
    net::{TcpListener, UdpSocket as Bound},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::net::{UdpSocket, UnixDatagram};

const HOST: &str = "app.localhost";

/// Has the shell pass descriptors, and become the program: its standard input and standard error become 3 and 4, and 5 is no socket.
fn passing(command: &Command, tcp: &TcpListener, udp: &Bound) -> Command {
    let script = "exec 3<&0 4<&2 2>&1 5</dev/null </dev/null; \
                  LISTEN_FDS=3 LISTEN_PID=$$ LISTEN_FDNAMES=web:dns:nothing exec \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.stdin(Stdio::from(OwnedFd::from(tcp.try_clone().unwrap()))).stdout(Stdio::piped());
    shell.stderr(Stdio::from(OwnedFd::from(udp.try_clone().unwrap())));
    shell
}

/// An application that sends each datagram back.
pub async fn echo() -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 1024];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(&datagram[..length], from).await;
        }
    });
    address
}

/// A UDPRoute from a port to an application.
pub fn datagrams(port: u16, to: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n  - {{name: dns, port: {port}, protocol: UDP}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\nmetadata: {{name: dns}}\nspec:\n  \
         parentRefs: [{{name: edge, sectionName: dns}}]\n  rules:\n  - backendRefs: [{{name: dns, port: 53}}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: dns}}\nspec:\n  ports: [{{name: dns, port: 53, protocol: UDP}}]\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: dns-1\n  \
         labels: {{kubernetes.io/service-name: dns}}\naddressType: IPv4\nports: [{{name: dns, port: {}, protocol: UDP}}]\n\
         endpoints: [{{addresses: [{}]}}]\n",
        to.port(),
        to.ip()
    )
}

#[tokio::test]
async fn sockets_that_are_passed_are_served_also_what_came_before_the_start() {
    let origin = Origin::start(|request| Script::ok(request.field("x-forwarded-for").unwrap_or("nobody"))).await;
    // of both families where there are both, as systemd makes them
    let tcp = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let udp = Bound::bind("127.0.0.1:0").unwrap();
    let web = std::net::SocketAddr::from(([127, 0, 0, 1], tcp.local_addr().unwrap().port()));
    let dns = udp.local_addr().unwrap();
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web}}\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n  - {{name: http, port: {}, protocol: HTTP}}\n",
        web.port()
    );
    let route = marked_route("app", HOST, 1, "app").replace("spec:\n", "spec:\n  parentRefs: [{name: web}]\n");
    let files = [
        ("gateway.yaml", gateway.clone()),
        ("app.yaml", backend("app", None, &[origin.address])),
        ("route.yaml", route),
        ("dns.yaml", datagrams(dns.port(), echo().await)),
    ];
    let mut early = Wire::open(web).await;
    early.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(dns).await.unwrap();
    client.send(b"early").await.unwrap();

    let mut first = Headgate::start_as(|command| passing(&command, &tcp, &udp), &[], &files);
    let first_answer = early.answer().await;
    assert_eq!((first_answer.status, first_answer.text().as_str()), (200, "127.0.0.1"), "a client of IPv4 is one");
    let mut answer = [0; 1024];
    let length = within("an answer", client.recv(&mut answer)).await.unwrap();
    assert_eq!(&answer[..length], b"early");
    first.printed("number=5 name=\"nothing\"").await;
    first.printed("neither a listening socket of TCP nor one of UDP").await;
    assert!(!first.output().iter().any(|line| line.contains("is in use")), "{:?}", first.output());

    // nobody is turned away between two processes: the manager still holds the sockets
    first.signal(Signal::SIGTERM);
    assert!(first.exit().await.success());
    let mut between = Wire::open(web).await;
    between.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let second = first.start_next(|command| passing(&command, &tcp, &udp), &[]);
    assert_eq!(between.answer().await.status, 200);

    // a listener that goes and comes again finds its socket
    let version = async || second.metric("headgate_table_version", "").await;
    let before = version().await;
    std::fs::remove_file(second.files.join("gateway.yaml")).unwrap();
    until("the listener to be gone", async || version().await > before).await;
    let mut between = Wire::open(web).await;
    between.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    second.save("gateway.yaml", &gateway);
    assert_eq!(between.answer().await.status, 200);
    second.stop().await;
}

/// The test as a service manager: what it is told, in order.
struct Told {
    socket: UnixDatagram,
    seen: Vec<String>,
}

impl Told {
    async fn next(&mut self, start: &str) -> String {
        within(start, async {
            loop {
                let mut datagram = [0; 1024];
                let length = self.socket.recv(&mut datagram).await.unwrap();
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                self.seen.push(text.clone());
                if text.starts_with(start) {
                    return text;
                }
            }
        })
        .await
    }

    fn count(&self, start: &str) -> usize {
        self.seen.iter().filter(|text| text.starts_with(start)).count()
    }
}

#[tokio::test]
async fn a_manager_is_told_of_each_step() {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let mut told = Told { socket: UnixDatagram::bind(&path).unwrap(), seen: Vec::new() };
    let files = [
        ("app.yaml", backend("app", None, &[origin.address])),
        ("route.yaml", marked_route("app", HOST, 1, "app")),
        ("f.yaml", Function::named("f").to_string()),
    ];
    let with_manager = |mut command: Command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        command
    };
    let mut headgate = Headgate::start_as(with_manager, &["--drain-grace", "5s"], &files);
    let ready = told.next("READY=1").await;
    assert!(ready.ends_with("STATUS=serving 1 route and 1 function of version 1"), "{ready}");
    assert_eq!(headgate.get(HOST, "/").await.status, 200, "ready is ready");
    assert_eq!(told.seen.len() - told.count("WATCHDOG"), 1, "nothing was told before: {:?}", told.seen);

    headgate.save("route.yaml", &marked_route("app", HOST, 2, "app"));
    let status = told.next("STATUS=").await;
    assert_eq!(status, "STATUS=serving 1 route and 1 function of version 2");

    headgate.signal(Signal::SIGHUP);
    let reloading = told.next("RELOADING=1").await;
    let since: u64 = reloading.split("MONOTONIC_USEC=").nth(1).unwrap().parse().unwrap();
    assert!(since > 0, "{reloading}");
    told.next("READY=1").await;
    assert_eq!(headgate.get(HOST, "/").await.field("x-version"), Some("2"));

    // a function is no part of this
    assert_eq!(headgate.get("f.default.localhost", "/").await.status, 200);
    let of_function = |(pid, line): (u32, String)| line.contains(" echo").then_some(pid);
    let pid = headgate.processes().into_iter().find_map(of_function).unwrap();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG_"), "{environment}");

    for _ in 0..3 {
        told.next("WATCHDOG=1").await;
    }
    headgate.signal(Signal::SIGTERM);
    let stopping = told.next("STOPPING=1").await;
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=") && stopping.ends_with("STATUS=draining"), "{stopping}");
    assert!(headgate.exit().await.success());
    told.seen.clear();
    let silence = tokio::time::timeout(Duration::from_millis(1), told.next("READY")).await;
    assert!(silence.is_err() && told.count("STATUS") == 0, "the end is the last word: {:?}", told.seen);
}

#[tokio::test]
async fn a_hangup_reads_everything_again_and_ends_nothing() {
    let origin = Origin::start(|_| Script::ok("here")).await;
    let files =
        [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", marked_route("app", HOST, 1, "app"))];
    let headgate = Headgate::run(&files).await;
    let mut kept = Wire::open(headgate.address).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert_eq!(kept.ask(&get).await.status, 200);
    headgate.save("route.yaml", &marked_route("app", HOST, 2, "app"));
    headgate.signal(Signal::SIGHUP);
    headgate.printed("read again").await;
    until("the new route", async || kept.ask(&get).await.field("x-version") == Some("2")).await;
    headgate.stop().await;
}
