//! Where routes are found: each URL with its split, and what a new version changes. For people; never parsed by anything.

use crate::assemble::Assembly;
use headgate_config::{Action, ArmTarget, BackendName, HostPattern, Listener, PathMatch, Protocol, Rule};
use imbl::ordmap::DiffItem;
use std::{collections::BTreeMap, sync::Arc};

/// URLs in order, each with its arms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// By URL.
    pub places: BTreeMap<Place, Vec<Share>>,
}

/// A place where something is served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `http` or `https`; `tls`, `tcp` or `udp` for what is not read.
    pub scheme: &'static str,
    /// Host, or a pattern.
    pub host: String,
    /// Port of the listener, as the API has it.
    pub port: u16,
    /// Path, with `*` behind a prefix other than `/` left out; empty for what is not read.
    pub path: String,
    /// What else a request must have, to be read by people.
    pub also: String,
}

/// One arm of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What a person calls it.
    pub name: String,
    /// The backend, where there is one.
    pub backend: Option<BackendName>,
    /// Its part of 100, rounded; `None` where it is the only one.
    pub percent: Option<u32>,
}

impl Listing {
    /// The places of an assembly; those on names of the cluster are left out.
    pub fn of(assembly: &Assembly, cluster_domain: &str) -> Self {
        Self::of_rules(assembly.translation.snapshot.rules.values(), assembly, cluster_domain)
    }

    fn of_rules<'r>(rules: impl Iterator<Item = &'r Arc<Rule>>, assembly: &Assembly, cluster_domain: &str) -> Self {
        let snapshot = &assembly.translation.snapshot;
        let mut places = BTreeMap::new();
        for rule in rules {
            let shares = shares(rule, assembly);
            for attachment in &rule.attachments {
                let Some(listener) = snapshot.listeners.get(&attachment.listener) else { continue };
                for host in &attachment.hosts {
                    if !is_internal(&host.pattern, cluster_domain) {
                        places.extend(
                            rule.matches.iter().map(|one| (place(listener, &host.pattern, one), shares.clone())),
                        );
                    }
                }
            }
        }
        Self { places }
    }
}

fn is_internal(pattern: &HostPattern, cluster_domain: &str) -> bool {
    matches!(pattern, HostPattern::Exact(host) | HostPattern::Wildcard(host) if host.as_str().ends_with(cluster_domain))
}

fn place(listener: &Listener, host: &HostPattern, one: &headgate_config::Match) -> Place {
    let path = match &one.path {
        _ if !listener.protocol.is_http() => String::new(),
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path.to_string(),
        PathMatch::Regex(expression) => format!("/ matching {expression}"),
    };
    let mut also: Vec<String> = one.method.iter().map(String::from).collect();
    also.extend(one.headers.iter().map(|header| format!("header {}", header.name)));
    also.extend(one.queries.iter().map(|query| format!("query {}", query.name)));
    Place {
        scheme: match listener.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
            Protocol::Tls => "tls",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        },
        host: host.to_string(),
        port: listener.port,
        path,
        also: also.join(", "),
    }
}

fn shares(rule: &Rule, assembly: &Assembly) -> Vec<Share> {
    let split = match &rule.action {
        Action::Forward(split) => split,
        Action::Invalid(reason) => {
            return vec![Share { name: format!("500: {reason}"), backend: None, percent: None }];
        }
    };
    let total: u64 = split.arms.iter().map(|arm| u64::from(arm.weight)).sum();
    if split.arms.is_empty() {
        let name = if rule.filters.is_empty() { "500: no backend" } else { "answered by a filter" };
        return vec![Share { name: name.into(), backend: None, percent: None }];
    }
    let several = split.arms.len() > 1;
    let share = |arm: &headgate_config::Arm| {
        let (name, backend) = match &arm.target {
            ArmTarget::Backend(backend) => (called(backend, assembly), Some(backend.clone())),
            ArmTarget::Invalid(reason) => (format!("500: {reason}"), None),
        };
        let percent = several.then(|| (u64::from(arm.weight) * 100 + total / 2).checked_div(total).unwrap_or(0) as u32);
        Share { name, backend, percent }
    };
    split.arms.iter().map(share).collect()
}

/// The function's name where the backend is its serving revision, otherwise the Service's.
fn called(backend: &BackendName, assembly: &Assembly) -> String {
    let serves = |(_, plan): &(&headgate_functions::kinds::NamespacedName, &headgate_functions::Plan)| {
        plan.revisions.iter().any(|revision| revision.name == backend.service && revision.serving)
    };
    let owner = assembly.expansion.plans.iter().filter(|(name, _)| name.namespace == backend.namespace).find(serves);
    owner.map_or_else(|| backend.service.to_string(), |(name, _)| name.name.clone())
}

impl Place {
    /// The URL as a client writes it, at the port where the listener really is.
    pub fn url(&self, port: u16) -> String {
        let is_default = matches!((self.scheme, port), ("http", 80) | ("https", 443));
        let port = if is_default { String::new() } else { format!(":{port}") };
        let also = if self.also.is_empty() { String::new() } else { format!(" ({})", self.also) };
        format!("{}://{}{port}{}{also}", self.scheme, self.host, self.path)
    }
}

/// The shares on one line.
pub fn split_line(shares: &[Share], state: impl Fn(&BackendName) -> Option<String>) -> String {
    let one = |share: &Share| {
        let percent = share.percent.map_or_else(String::new, |percent| format!(" {percent}%"));
        let state = share.backend.as_ref().and_then(&state).map_or_else(String::new, |state| format!(" ({state})"));
        format!("{}{percent}{state}", share.name)
    };
    shares.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What a new assembly changes, one line each. Rules that are the same are not looked at, unless listeners changed.
pub fn differences(before: &Assembly, now: &Assembly, cluster_domain: &str) -> Vec<String> {
    let (old, new) = (&before.translation.snapshot, &now.translation.snapshot);
    if old.listeners != new.listeners {
        return lines(&Listing::of(before, cluster_domain), &Listing::of(now, cluster_domain));
    }
    let (mut gone, mut added) = (Vec::new(), Vec::new());
    for item in old.rules.diff(&new.rules) {
        match item {
            DiffItem::Add(_, rule) => added.push(rule),
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                gone.push(old);
                added.push(new);
            }
            DiffItem::Remove(_, rule) => gone.push(rule),
        }
    }
    let listing = |rules: Vec<_>, assembly| Listing::of_rules(rules.into_iter(), assembly, cluster_domain);
    lines(&listing(gone, before), &listing(added, now))
}

fn lines(before: &Listing, after: &Listing) -> Vec<String> {
    let line = |shares: &[Share]| split_line(shares, |_| None);
    let mut lines = Vec::new();
    for (place, shares) in &after.places {
        match before.places.get(place) {
            None => lines.push(format!("+ {}  {}", place.url(place.port), line(shares))),
            Some(old) if old != shares => {
                lines.push(format!("~ {}  {} -> {}", place.url(place.port), line(old), line(shares)));
            }
            Some(_) => {}
        }
    }
    let gone = before.places.keys().filter(|place| !after.places.contains_key(place));
    lines.extend(gone.map(|place| format!("- {}", place.url(place.port))));
    lines
}
