//! Ports are opened and closed by what the routes say, also where another socket is in the way for a while.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

use headgate_config::{HostPattern, Listener, ListenerName, Protocol, Snapshot};
use headgate_gateway::{Binding, Gateway, Proxied, Settings, forwarded::TrustedHops, limits::Limits};
use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

fn gateway() -> Gateway {
    Gateway::start(Settings {
        cores: 2,
        binding: Binding { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], unprivileged_offset: None },
        limits: Limits::default(),
        trusted: TrustedHops::default(),
        proxied: Proxied::default(),
        log: None,
        admin: None,
    })
    .unwrap()
}

fn listening(port: u16) -> Snapshot {
    let name =
        ListenerName { namespace: "default".into(), gateway: "edge".into(), set: "".into(), section: "http".into() };
    let listener = Listener {
        name: name.clone(),
        port,
        protocol: Protocol::Http,
        hostname: HostPattern::Any,
        tls: None,
        backend_certificate: None,
    };
    Snapshot { listeners: [(name, listener)].into(), ..Snapshot::default() }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_port_that_is_removed_and_added_again_at_once_is_served() {
    let (gateway, port) = (gateway(), free_port());
    for _ in 0..20 {
        let published = gateway.publish(listening(port), Arc::default()).await;
        assert_eq!(published.problems, Vec::<String>::new());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        gateway.publish(Snapshot::default(), Arc::default()).await;
    }
}

#[tokio::test]
async fn a_port_that_another_process_had_is_opened_once_it_is_free() {
    let gateway = gateway();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let published = gateway.publish(listening(port), Arc::default()).await;
    assert!(published.problems[0].contains(&format!("port {port} is in use")), "{:?}", published.problems);
    drop(other);
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < until, "it was not opened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // what is told by the same version now has no problem any more
    let published = gateway.publish(listening(port), Arc::default()).await;
    assert_eq!(published.problems, Vec::<String>::new());
    assert_eq!(published.ports[&port].len(), 1);
}
