//! Where backends are that are hosts outside the cluster: their names are asked for again and again, and what is found becomes their endpoints. It never asks for a request: those go to what was found last.

use crate::{backend::Registry, limits::Limits};
use headgate_config::Text;
use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Which hosts a backend may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Any that this machine finds, itself included: whoever writes routes here may do as much anyway.
    #[default]
    OfMachine,
    /// Names from the root of DNS only, at addresses that are neither this Pod's own nor those of its node: `kubernetes.default` and
    /// 169.254.169.254 are nobody's backends.
    Outside,
}

/// Names that are asked for at the same time.
const ASKED_MOST: usize = 8;

/// A name that is asked for.
type Name = (Text, u16);

/// What became of asking.
type Answer = Result<BTreeSet<SocketAddr>, String>;

/// Runs for as long as the gateway. What was found stays while a name cannot be resolved.
pub async fn run(registry: Registry, hosts: Hosts, limits: Limits) {
    let permits = Arc::new(Semaphore::new(ASKED_MOST));
    let (mut asked, mut failed) = (HashMap::<Name, Instant>::new(), HashMap::<Name, String>::new());
    loop {
        let named = registry.hosts();
        let names: BTreeSet<Name> = named.iter().map(|(backend, host)| (host.clone(), backend.port)).collect();
        asked.retain(|name, _| names.contains(name));
        failed.retain(|name, _| names.contains(name));
        let mut answers = JoinSet::new();
        let is_due = |name: &&Name| asked.get(*name).is_none_or(|at| at.elapsed() >= limits.dns_refresh);
        for name in names.iter().filter(is_due) {
            let (name, permits, within) = (name.clone(), Arc::clone(&permits), limits.dns_timeout);
            answers.spawn_local(async move {
                let _permit = permits.acquire().await;
                let answer = ask(&name, hosts, within).await;
                (name, answer)
            });
        }
        while let Some(answered) = answers.join_next().await {
            let Ok((name, answer)) = answered else { continue };
            asked.insert(name.clone(), Instant::now());
            tell(&name, &answer, &mut failed);
            if let Ok(found) = answer {
                let backends = named.iter().filter(|(backend, host)| *host == name.0 && backend.port == name.1);
                backends.for_each(|(backend, host)| registry.set_found(backend, host, &found, Instant::now()));
            }
        }
        if registry.hosts().is_empty() {
            registry.host_named().await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(limits.dns_refresh) => {}
            () = registry.host_named() => {}
        }
    }
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
    let allowed: BTreeSet<_> =
        found.iter().copied().filter(|address| hosts == Hosts::OfMachine || is_outside(address.ip())).collect();
    match (found.is_empty(), allowed.is_empty()) {
        (true, _) => Err("no address".to_owned()),
        (false, true) => Err("only addresses of this Pod or its node, which no backend may have".to_owned()),
        (false, false) => Ok(allowed),
    }
}

/// Whether an address is neither this Pod's own nor that of its node's link. Source: RFC 6890.
fn is_outside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_this_network = v4.octets()[0] == 0;
            !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || is_this_network)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified()),
    }
}

/// Says it once, and once more when it is over.
fn tell(name: &Name, answer: &Answer, failed: &mut HashMap<Name, String>) {
    match answer {
        Ok(found) if failed.remove(name).is_some() => {
            tracing::info!(host = %name.0, addresses = found.len(), "the host is found again");
        }
        Ok(_) => {}
        Err(why) => {
            if failed.insert(name.clone(), why.clone()).as_ref() != Some(why) {
                tracing::warn!(host = %name.0, why, "the host is not found; what was found before stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert!(!is_outside(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2606:2800::1", "fd00::1"] {
            assert!(is_outside(outside.parse().unwrap()), "{outside}");
        }
    }
}
