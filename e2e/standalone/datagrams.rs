//! UDPRoutes: the datagrams of a client stay together, answers find their way back, and what changes takes the next datagram elsewhere.

use headgate_e2e::{Headgate, until, within};
use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket as Bound},
    time::Duration,
};
use tokio::net::UdpSocket;

/// An application that answers each datagram with its name and what came.
async fn echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            let answer = [name.as_bytes(), &datagram[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

async fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    socket
}

/// The answer to a datagram; an application that is reached for the first time may be found late.
async fn ask(client: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    let asking = async {
        let mut answer = vec![0; 65_535];
        loop {
            let _ = client.send(datagram).await;
            let waiting = tokio::time::timeout(Duration::from_secs(1), client.recv(&mut answer)).await;
            if let Ok(Ok(length)) = waiting {
                answer.truncate(length);
                return answer;
            }
        }
    };
    within("an answer", asking).await
}

fn free_port() -> u16 {
    Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn files(port: u16, services: &[(&str, SocketAddr)], arms: &[(&str, u32)]) -> Vec<(&'static str, String)> {
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: edge\nspec:\n  gatewayClassName: headgate\n  \
         listeners:\n  - {{name: dns, port: {port}, protocol: UDP}}\n  - {{name: dns-tcp, port: {port}, protocol: TCP}}\n"
    );
    let service = |(name, at): &(&str, SocketAddr)| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - {{name: dns-tcp, port: 53}}\n  \
             - {{name: dns, port: 53, protocol: UDP}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: {name}-1\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports:\n\
             - {{name: dns, port: {}, protocol: UDP}}\nendpoints:\n- addresses: [{}]\n---\n",
            at.port(),
            at.ip()
        )
    };
    vec![
        ("gateway.yaml", gateway),
        ("services.yaml", services.iter().map(service).collect()),
        ("route.yaml", route(arms)),
    ]
}

fn route(arms: &[(&str, u32)]) -> String {
    let arms: String =
        arms.iter().map(|(arm, weight)| format!("    - {{name: {arm}, port: 53, weight: {weight}}}\n")).collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\nmetadata:\n  name: dns\nspec:\n  \
         parentRefs: [{{name: edge, sectionName: dns}}]\n  rules:\n  - backendRefs:\n{arms}"
    )
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint_until_the_routes_change() {
    let services = [("one", echo("one").await), ("two", echo("two").await)];
    let port = free_port();
    let flags = ["--log-format", "json", "--datagram-idle", "300ms"];
    let headgate = Headgate::run_with(&flags, &files(port, &services, &[("one", 1), ("two", 1)])).await;
    let mut seen = BTreeSet::new();
    // all stay: the port of one that is gone may be the next one's, who would be the same client then
    let mut clients = Vec::new();
    for _ in 0..40 {
        let client = client(port).await;
        let first = ask(&client, b"?").await;
        for _ in 0..5 {
            assert_eq!(ask(&client, b"?").await, first, "its datagrams were split");
        }
        seen.insert(first.clone());
        clients.push((client, first));
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let large = vec![7; 9_000];
    let (kept, first) = clients.pop().unwrap();
    assert_eq!(ask(&kept, &large).await.len(), large.len() + 3);

    // the same client, without a pause
    let (other, name) = if first.starts_with(b"one") { ("two", &b"two?"[..]) } else { ("one", &b"one?"[..]) };
    headgate.save("route.yaml", &route(&[(other, 1)]));
    until("the new route", async || ask(&kept, b"?").await == name).await;
    until("silent clients are over", async || headgate.metric("headgate_carried_open", "").await == 0.0).await;
    let ended = async || headgate.metric("headgate_carried_total", "result=\"ended\"").await;
    until("each client is counted", async || ended().await >= 41.0).await;
    let log = headgate.access_log();
    assert!(log.contains("\"protocol\":\"UDP\"") && log.contains("UDPRoute/default/dns/0"), "{log}");
    headgate.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_of_and_its_successor_found() {
    let gone = Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = free_port();
    let flags = ["--log-format", "json"];
    let headgate = Headgate::run_with(&flags, &files(port, &[("app", gone)], &[("app", 1)])).await;
    let client = client(port).await;
    until("the refusal", async || {
        let _ = client.send(b"?").await;
        headgate.access_log().contains("\"failure\":\"connect_refused\"")
    })
    .await;
    let new = echo("new").await;
    let all = files(port, &[("app", new)], &[("app", 1)]);
    headgate.save("services.yaml", &all[1].1);
    assert_eq!(ask(&client, b"?").await, b"new?");
    headgate.stop().await;
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_for_one_to_be_silent() {
    let app = echo("app").await;
    let port = free_port();
    let flags = ["--datagram-clients", "1", "--datagram-idle", "1s"];
    let headgate = Headgate::run_with(&flags, &files(port, &[("app", app)], &[("app", 1)])).await;
    let (first, second) = (client(port).await, client(port).await);
    assert_eq!(ask(&first, b"1").await, b"app1");
    second.send(b"2").await.unwrap();
    until("a drop", async || headgate.metric("headgate_datagrams_dropped_total", "").await > 0.0).await;
    assert_eq!(ask(&second, b"2").await, b"app2", "once the first is silent");
    headgate.stop().await;
}
