//! The jobs that Headgate and its peers do, as one table: what is served, what is asked, and how far Headgate is to be from whom.

use crate::{
    drive::Work,
    peers::{Name, Upstream},
    site::Site,
};

/// One job.
pub struct Scenario {
    /// For `--only`.
    pub name: &'static str,
    /// In words.
    pub job: &'static str,
    /// What one of it is.
    pub unit: &'static str,
    /// What is asked.
    pub work: Work,
    /// What is served.
    pub site: fn() -> Site,
    /// What the origin speaks.
    pub upstream: Upstream,
    /// Whether requests would be tried again. None has to be: what is measured is being ready for it.
    pub retries: bool,
    /// Whether somebody else gets a copy of each request.
    pub mirrors: bool,
    /// Bytes of an answer's body.
    pub body_bytes: usize,
    /// Headgate's cost is to be at most so much of each of the nearest peers'.
    bar: f64,
    /// Whether the cost is almost only that of a head: then those far behind have sharper goals.
    is_small: bool,
}

/// Hosts of almost all jobs.
const HOSTS: usize = 1_000;
/// A length that costs more than the heads around it.
const MEBIBYTE: usize = 1_048_576;
const LONG: usize = 100_000_000;

fn many_hosts() -> Site {
    Site::hosts(HOSTS)
}

const PLAIN: Scenario = Scenario {
    name: "",
    job: "",
    unit: "request",
    work: Work::Kept(64),
    site: many_hosts,
    upstream: Upstream::Http1,
    retries: false,
    mirrors: false,
    body_bytes: 100,
    bar: 1.0,
    is_small: false,
};

/// In the order in which they are measured and shown.
pub const SCENARIOS: [Scenario; 21] = [
    Scenario { name: "http1", job: "HTTP/1.1, 100 B, 64 connections, saturated", bar: 0.75, is_small: true, ..PLAIN },
    Scenario {
        name: "http1-16k",
        job: "HTTP/1.1, 16 KiB, 64 connections, saturated",
        body_bytes: 16_384,
        bar: 0.85,
        ..PLAIN
    },
    Scenario {
        name: "http1-1024",
        job: "HTTP/1.1, 100 B, 1,024 connections, saturated",
        work: Work::Kept(1_024),
        ..PLAIN
    },
    // its rate is found before it begins
    Scenario {
        name: "http1-third",
        job: "HTTP/1.1, 100 B, 64 connections, a third of saturation",
        work: Work::Paced(0.0),
        bar: 0.85,
        ..PLAIN
    },
    Scenario { name: "new", job: "HTTP/1.1, a new connection for each request", work: Work::Fresh(32), ..PLAIN },
    Scenario {
        name: "h2c",
        job: "HTTP/2 without TLS, 100 B, to HTTP/1.1",
        work: Work::H2 { tls: false, grpc: false },
        is_small: true,
        ..PLAIN
    },
    Scenario {
        name: "h2-tls",
        job: "HTTP/2 over TLS, 100 B, to HTTP/1.1",
        work: Work::H2 { tls: true, grpc: false },
        ..PLAIN
    },
    Scenario {
        name: "h2c-h2c",
        job: "HTTP/2 without TLS, 100 B, to HTTP/2",
        work: Work::H2 { tls: false, grpc: false },
        upstream: Upstream::H2c,
        ..PLAIN
    },
    Scenario {
        name: "grpc",
        job: "gRPC, unary, 100 B each way",
        work: Work::H2 { tls: false, grpc: true },
        upstream: Upstream::Grpc,
        ..PLAIN
    },
    Scenario {
        name: "grpc-stream",
        job: "gRPC, 64 streams in both directions, messages of 100 B and back",
        unit: "message",
        work: Work::Streams(64),
        upstream: Upstream::Grpc,
        ..PLAIN
    },
    Scenario {
        name: "tls-full",
        job: "TLS 1.3, ECDSA, a full handshake for each request",
        work: Work::Handshakes { resumed: false },
        ..PLAIN
    },
    Scenario {
        name: "tls-resumed",
        job: "TLS 1.3, a resumed handshake for each request",
        work: Work::Handshakes { resumed: true },
        ..PLAIN
    },
    Scenario {
        name: "tls-bulk",
        job: "TLS 1.3, answers of 1 MiB, 8 connections",
        work: Work::Tls(8),
        body_bytes: MEBIBYTE,
        ..PLAIN
    },
    Scenario {
        name: "download",
        job: "answers of 100 MB",
        work: Work::Download(LONG as u64),
        body_bytes: LONG,
        ..PLAIN
    },
    Scenario { name: "upload", job: "request bodies of 100 MB", work: Work::Upload(LONG as u64), ..PLAIN },
    Scenario {
        name: "websocket",
        job: "WebSocket, messages of 100 B and back, 1,000 connections",
        unit: "message",
        work: Work::WebSocket(1_000),
        ..PLAIN
    },
    Scenario {
        name: "regex",
        job: "HTTP/1.1, 100 regular expressions on a host",
        site: || Site::regexes(100),
        ..PLAIN
    },
    Scenario {
        name: "headers",
        job: "HTTP/1.1, 100 rules on a host that differ by the value of a header",
        site: || Site::fields(100),
        ..PLAIN
    },
    Scenario { name: "retries", job: "HTTP/1.1, 100 B, 64 connections, with retries", retries: true, ..PLAIN },
    Scenario { name: "mirror", job: "HTTP/1.1, 100 B, 64 connections, each request mirrored", mirrors: true, ..PLAIN },
    Scenario {
        name: "idle",
        job: "HTTP/1.1, 64 connections beside 10,000 idle ones",
        work: Work::BesideIdle(10_000),
        ..PLAIN
    },
];

impl Scenario {
    /// Whether there is a TLS listener.
    pub fn is_tls(&self) -> bool {
        matches!(self.work, Work::H2 { tls: true, .. } | Work::Handshakes { .. } | Work::Tls(_))
    }

    /// The ratio to a peer is to be at most this.
    pub fn goal(&self, peer: Name) -> f64 {
        match peer {
            Name::Headgate | Name::Nginx | Name::Haproxy => self.bar,
            Name::Envoy | Name::Pingora if self.is_small => 0.4,
            Name::Caddy | Name::Traefik if self.is_small => 0.25,
            Name::Envoy | Name::Pingora | Name::Caddy | Name::Traefik => 0.7,
        }
    }
}

/// For `--only`.
pub fn names() -> Vec<&'static str> {
    SCENARIOS.iter().map(|scenario| scenario.name).collect()
}

/// Whether there is such a job.
pub fn is_name(name: &str) -> bool {
    names().contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PEERS;

    #[test]
    fn each_job_has_a_name_of_its_own_and_a_goal_beside_each_peer() {
        let mut found = names();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            assert!(PEERS.iter().all(|peer| (0.1..=1.0).contains(&scenario.goal(*peer))), "{}", scenario.name);
        }
    }
}
