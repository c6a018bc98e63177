//! Where backends are that are hosts outside the cluster: their names are asked for again and again, and what is found becomes their endpoints. It never asks for a request: those go to what was found last.

use crate::{backend::Registry, limits::Limits};
use headgate_config::Text;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Which hosts a backend may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Any that this machine finds, itself included: whoever writes routes here may do as much anyway.
    #[default]
    OfMachine,
    /// Names from the root of DNS only, at addresses that are neither this Pod's own nor of a link: `kubernetes.default` and 169.254.169.254
    /// are nobody's backends.
    Outside,
}

/// Names that are asked for at the same time. Some resolvers go on for longer than they are waited for, each in a thread.
const ASKED_MOST: usize = 64;
/// A name that cannot be found is asked for so many times as rarely, in the end.
const RARER_MOST: u32 = 12;

/// A name that is asked for.
type Name = (Text, u16);

/// What became of asking.
type Answer = Result<BTreeSet<SocketAddr>, String>;

/// What is known of a name.
#[derive(Default)]
struct Known {
    /// When it was answered last, or not.
    at: Option<Instant>,
    /// What was found last.
    found: BTreeSet<SocketAddr>,
    failure: Option<String>,
    /// How often in a row it was not found.
    failures: u32,
    is_asked: bool,
}

impl Known {
    /// When it is to be asked for again; at once where it never was.
    fn due(&self, refresh: Duration) -> Option<Instant> {
        self.at.map(|at| at + refresh * (1 + self.failures).min(RARER_MOST))
    }

    fn take(&mut self, host: &str, answer: Answer) {
        (self.at, self.is_asked) = (Some(Instant::now()), false);
        match answer {
            Ok(found) => {
                if self.failure.take().is_some() {
                    tracing::info!(host, addresses = found.len(), "the host is found again");
                }
                (self.found, self.failures) = (found, 0);
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if self.failure.as_ref() != Some(&why) {
                    tracing::warn!(host, why, "the host is not found; what was found before stays");
                }
                self.failure = Some(why);
            }
        }
    }
}

/// Runs for as long as the gateway. What was found stays while a name cannot be resolved.
pub async fn run(registry: Registry, hosts: Hosts, limits: Limits) {
    let mut all = HashMap::<Name, Known>::new();
    let mut answers = JoinSet::<(Name, Answer)>::new();
    loop {
        let named = registry.hosts();
        let names: HashSet<Name> = named.iter().map(|(backend, host)| (host.clone(), backend.port)).collect();
        all.retain(|name, known| known.is_asked || names.contains(name));
        for name in names {
            all.entry(name).or_default();
        }
        for (backend, host) in &named {
            let known = all.get(&(host.clone(), backend.port)).filter(|known| known.at.is_some());
            known.into_iter().for_each(|known| registry.set_found(backend, host, &known.found, Instant::now()));
        }
        let next = ask_due(&mut all, &mut answers, hosts, &limits);
        let rest = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(Ok((name, answer))) = answers.join_next() => {
                if let Some(known) = all.get_mut(&name) {
                    known.take(&name.0, answer);
                }
            }
            () = registry.host_named() => {}
            () = rest => {}
        }
    }
}

/// Asks for the names that are due, those first that were never asked for; when the next one will be, where not as many are asked for as may be.
fn ask_due(
    all: &mut HashMap<Name, Known>,
    answers: &mut JoinSet<(Name, Answer)>,
    hosts: Hosts,
    limits: &Limits,
) -> Option<Instant> {
    let now = Instant::now();
    let mut waiting: Vec<_> = all.iter_mut().filter(|(_, known)| !known.is_asked).collect();
    waiting.sort_by_key(|(_, known)| known.due(limits.dns_refresh));
    for (name, known) in waiting {
        if answers.len() >= ASKED_MOST {
            return None;
        }
        match known.due(limits.dns_refresh) {
            Some(at) if at > now => return Some(at),
            _ => {
                known.is_asked = true;
                let (name, within) = (name.clone(), limits.dns_timeout);
                answers.spawn(async move {
                    let answer = ask(&name, hosts, within).await;
                    (name, answer)
                });
            }
        }
    }
    None
}

async fn ask((host, port): &Name, hosts: Hosts, within: Duration) -> Answer {
    let name = match hosts {
        Hosts::OfMachine => host.to_string(),
        // a search list would find names of the cluster
        Hosts::Outside => format!("{}.", host.trim_end_matches('.')),
    };
    let looked = tokio::time::timeout(within, tokio::net::lookup_host((name, *port)));
    let found = match looked.await {
        Err(_) => return Err(format!("no answer within {} ms", within.as_millis())),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(found)) => found.collect::<BTreeSet<_>>(),
    };
    if found.is_empty() {
        return Err("no address".to_owned());
    }
    let is_allowed =
        |address: &SocketAddr| hosts == Hosts::OfMachine || is_outside(address.ip()) && !is_own(address.ip());
    let allowed: Vec<SocketAddr> = found.into_iter().filter(is_allowed).collect();
    if allowed.is_empty() {
        return Err("only addresses that no backend may have: this Pod's own, or of its link".to_owned());
    }
    let reached: BTreeSet<_> = allowed.into_iter().filter(has_way_to).collect();
    if reached.is_empty() { Err("no address to which there is a way from here".to_owned()) } else { Ok(reached) }
}

/// Whether an address is one that others have as well: neither of this Pod nor of a link, and no service that clouds have for their machines.
/// Sources: RFC 6890, RFC 6052 §2.1; the addresses of instance metadata of AWS and of Google Cloud over IPv6.
fn is_outside(address: IpAddr) -> bool {
    const METADATA: [Ipv6Addr; 2] =
        [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_this_network = v4.octets()[0] == 0;
            !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || is_this_network)
        }
        IpAddr::V6(v6) => match v6.segments() {
            // an address of IPv4 behind a translator
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_outside(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
            }
            _ => {
                let is_known = METADATA.contains(&v6);
                !(v6.is_loopback()
                    || v6.is_unicast_link_local()
                    || v6.is_multicast()
                    || v6.is_unspecified()
                    || is_known)
            }
        },
    }
}

/// Whether it is one of this machine's or Pod's own: only those can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether packets can be sent there at all: many names have addresses of IPv6 that a machine without it has no way to. Nothing is sent.
fn has_way_to(address: &SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_found_is_asked_for_ever_more_rarely_up_to_a_bound() {
        let refresh = Duration::from_secs(5);
        let mut known = Known::default();
        assert_eq!(known.due(refresh), None, "at once");
        known.take("a", Ok(BTreeSet::new()));
        let until = |known: &Known| known.due(refresh).unwrap() - known.at.unwrap();
        assert_eq!(until(&known), refresh);
        for times in [2, 3, 4] {
            known.take("a", Err("silent".into()));
            assert_eq!(until(&known), refresh * times);
        }
        (0..100).for_each(|_| known.take("a", Err("silent".into())));
        assert_eq!(until(&known), refresh * RARER_MOST);
        known.take("a", Ok(BTreeSet::new()));
        assert_eq!(until(&known), refresh);
    }

    #[test]
    fn addresses_of_this_machine_are_its_own() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
        assert!(has_way_to(&"127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn what_belongs_to_the_pod_or_its_node_is_no_backend() {
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
        ] {
            assert!(!is_outside(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2606:2800::1", "fd00::1", "64:ff9b::808:808"] {
            assert!(is_outside(outside.parse().unwrap()), "{outside}");
        }
    }
}
