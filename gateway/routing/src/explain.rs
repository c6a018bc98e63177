//! Why a request goes where it goes: the winner, the losers with the field that decided, the near misses. Uses no index, so that it checks the one that `route` uses.

use crate::{CompiledRule, Failed, Table, problem, table::Entry};
use headgate_config::{
    ArmTarget, ColdArm, Filter, HostPattern, HostRank, Listener, ListenerName, Match, Rank, Retry, RuleName, Text,
    Timeouts, Transport, Version,
};
use headgate_message::RequestHead;
use serde::Serialize;
use std::cmp::Reverse;

/// The most losers, and the most near misses, that are listed.
const LISTED_MAX: usize = 50;

/// What `explain` prints of one request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The version of the routes.
    pub version: Version,
    /// The port that was asked.
    pub port: u16,
    /// The method.
    pub method: String,
    /// The canonical host.
    pub host: String,
    /// The canonical path.
    pub path: String,
    /// What becomes of the request.
    pub verdict: Verdict,
    /// The listener that takes the host.
    #[serde(serialize_with = "problem::text_or_null")]
    pub listener: Option<ListenerName>,
    /// Its filters, which come before any rule and may change what rules see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listener_filters: Vec<Filter>,
    /// The others of the port, and why they do not.
    pub other_listeners: Vec<OtherListener>,
    /// The rule that takes the request.
    pub winner: Option<Contender>,
    /// The rules that match too, greatest rank first.
    pub losers: Vec<Contender>,
    /// How many more losers there are than are listed.
    pub losers_omitted: usize,
    /// The rules with this host that do not match, nearest first.
    pub near_misses: Vec<Contender>,
    /// How many more near misses there are than are listed.
    pub near_misses_omitted: usize,
    /// Why the winner answers 500, or the filters of the listener before any rule can, if so.
    pub invalid: Option<String>,
    /// The winner's filters.
    pub filters: Vec<Filter>,
    /// The winner's arms.
    pub split: Vec<Share>,
    /// What happens if the chosen arm is cold.
    pub cold: ColdArm,
    /// The winner's limits of time.
    pub timeouts: Timeouts,
    /// The winner's tries after the first.
    pub retry: Option<Retry>,
}

/// What becomes of a request, as far as routes decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It goes to an arm of the winner, or a filter answers it.
    Found,
    /// 500: the winner cannot serve, or the filters of the listener come to nothing.
    Invalid,
    /// 404: no listener of the port takes the host.
    NoListener,
    /// 404: no rule has the host.
    NoHost,
    /// 404: rules have the host, but none takes the request.
    NoMatch,
}

/// A listener that does not take the host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherListener {
    /// Its name.
    #[serde(serialize_with = "problem::text")]
    pub listener: ListenerName,
    /// Its hostname.
    pub hostname: HostPattern,
    /// Why.
    pub reason: String,
}

/// A match of a rule that was compared.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contender {
    /// The rule.
    #[serde(serialize_with = "problem::text")]
    pub rule: RuleName,
    /// Its title, empty where it has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub title: Text,
    /// The host as the route declares it.
    pub host: HostPattern,
    /// The index of the match in the rule.
    pub at: usize,
    /// The match.
    pub matching: Match,
    /// Its precedence.
    pub rank: Rank,
    /// Of a loser: the field of the rank in which the winner is greater; `kind` where the ranks are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<&'static str>,
    /// Of a near miss: the part in which the request fails, as `header x-role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// An arm of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The backend as `namespace/service:port`, where the arm has one.
    pub backend: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Its share of the requests, in percent.
    pub percent: f64,
    /// Its own filters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Why its share is answered 500, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
}

impl<B> Table<B> {
    /// Why a request on a port goes where it goes. Compares with every rule of the listener: not for the request path.
    pub fn explain(&self, port: u16, head: &RequestHead) -> Explanation {
        self.explain_on(Transport::Tcp, port, head)
    }

    /// The same for what another transport carries; of what is no HTTP the host alone counts, as the server name.
    pub fn explain_on(&self, transport: Transport, port: u16, head: &RequestHead) -> Explanation {
        let mut explanation = Explanation::of(self.version(), port, head);
        let taking = self.listeners.on(transport, port).filter(|(_, listener)| listener.hostname.takes(head.host()));
        let chosen = taking.max_by_key(|(_, listener)| HostRank::of(&listener.hostname));
        let chosen_listener = chosen.map(|(_, listener)| &**listener);
        let others =
            self.listeners.on(transport, port).filter(|(number, _)| chosen.is_none_or(|(chosen, _)| chosen != *number));
        explanation.other_listeners =
            others.map(|(_, other)| passed_over(other, chosen_listener, head.host())).collect();
        let Some((number, listener)) = chosen else { return explanation };
        explanation.listener = Some(listener.name.clone());
        explanation.verdict = Verdict::NoHost;
        if let Some(name) = &listener.gate {
            let gate = self.rule(name);
            explanation.listener_filters = gate.map(|gate| gate.filters().to_vec()).unwrap_or_default();
            explanation.invalid = match gate {
                Some(gate) => gate.invalid().map(str::to_owned).or_else(|| asks_nobody(gate.filters())),
                None => Some(format!("there is no rule {name} of the listener's filters")),
            };
            if explanation.invalid.is_some() {
                explanation.verdict = Verdict::Invalid;
                return explanation;
            }
        }

        let mut matching = Vec::new();
        let mut missing = Vec::new();
        let here = self.entries().filter(|(on, _)| *on == number).map(|(_, entry)| entry);
        for entry in here.filter(|entry| entry.takes_host(head.host())) {
            explanation.verdict = Verdict::NoMatch;
            match entry.failing(head) {
                None => matching.push((entry.rank(), entry)),
                Some(failed) => missing.push((failed, entry.rank(), entry)),
            }
        }
        // Rules of equal rank stand by name.
        matching.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.rule.name().cmp(y.rule.name())));
        // A rule attached twice is not its own rival.
        matching.dedup_by(|(a, x), (b, y)| a == b && x.rule.name() == y.rule.name());
        missing.sort_by_cached_key(|(failed, rank, _)| Reverse((failed.stage(), rank.clone())));

        explanation.near_misses_omitted = missing.len().saturating_sub(LISTED_MAX);
        let missed = missing.iter().take(LISTED_MAX).map(|(failed, rank, entry)| Contender {
            failed: Some(failed.to_string()),
            ..entry.contender(rank.clone())
        });
        explanation.near_misses = missed.collect();
        let Some(((best, winner), rest)) = matching.split_first() else { return explanation };
        explanation.losers_omitted = rest.len().saturating_sub(LISTED_MAX);
        let lost = rest.iter().take(LISTED_MAX).map(|(rank, entry)| Contender {
            decided_by: Some(best.decided_by(rank).unwrap_or("kind")),
            ..entry.contender(rank.clone())
        });
        explanation.losers = lost.collect();
        explanation.winner = Some(winner.contender(best.clone()));
        explanation.describe(winner.rule);
        explanation
    }
}

impl Explanation {
    fn of(version: Version, port: u16, head: &RequestHead) -> Self {
        Self {
            version,
            port,
            method: head.method.to_string(),
            host: head.host().to_owned(),
            path: head.path().to_owned(),
            verdict: Verdict::NoListener,
            listener: None,
            listener_filters: Vec::new(),
            other_listeners: Vec::new(),
            winner: None,
            losers: Vec::new(),
            losers_omitted: 0,
            near_misses: Vec::new(),
            near_misses_omitted: 0,
            invalid: None,
            filters: Vec::new(),
            split: Vec::new(),
            cold: ColdArm::default(),
            timeouts: Timeouts::default(),
            retry: None,
        }
    }

    fn describe<B>(&mut self, winner: &CompiledRule<B>) {
        self.invalid = winner.invalid().map(str::to_owned).or_else(|| asks_nobody(winner.filters()));
        if self.invalid.is_none() && winner.total_weight() == 0 && !winner.is_answered_by_filter() {
            self.invalid = Some("no arm has a weight: write a backend with a weight of at least 1".to_owned());
        }
        self.verdict = if self.invalid.is_some() { Verdict::Invalid } else { Verdict::Found };
        self.filters = winner.filters().to_vec();
        self.split = winner.shares();
        self.cold = winner.cold();
        self.timeouts = winner.timeouts();
        self.retry = winner.retry().cloned();
    }
}

/// Why a filter that must ask a service can ask none.
fn asks_nobody(filters: &[Filter]) -> Option<String> {
    filters.iter().find_map(|filter| match filter {
        Filter::ExternalAuth(auth) => match &auth.service {
            ArmTarget::Invalid(why) => Some(why.clone()),
            ArmTarget::Backend(_) => None,
        },
        _ => None,
    })
}

impl<B> CompiledRule<B> {
    /// Whether a redirect answers every request, so that no arm is needed.
    fn is_answered_by_filter(&self) -> bool {
        self.filters().iter().any(|filter| matches!(filter, Filter::Redirect(_)))
    }

    /// The arms as a person reads them.
    pub(crate) fn shares(&self) -> Vec<Share> {
        let total = self.total_weight().max(1) as f64;
        let share = |(at, arm): (usize, &crate::CompiledArm<B>)| Share {
            backend: self.arm_name(at).map(ToString::to_string),
            weight: arm.weight,
            percent: 100.0 * f64::from(arm.weight) / total,
            filters: self.arm_filters(at).to_vec(),
            invalid: arm.target().err().map(str::to_owned),
        };
        self.arms().iter().enumerate().map(share).collect()
    }
}

impl<'t, B> Entry<'t, B> {
    fn takes_host(&self, host: &str) -> bool {
        self.host.pattern.takes(host) && self.host.declared.takes(host)
    }

    fn failing(&self, head: &RequestHead) -> Option<Failed<'t>> {
        match self.rule.path_taken(self.at, head.path()) {
            None => Some(Failed::Path),
            Some(_) => self.rule.failing(self.at, head),
        }
    }

    pub(crate) fn rank(&self) -> Rank {
        self.rule.rank(&self.host.declared, self.at)
    }

    fn contender(&self, rank: Rank) -> Contender {
        Contender {
            rule: self.rule.name().clone(),
            title: self.rule.config().title.clone(),
            host: self.host.declared.clone(),
            at: self.at,
            matching: self.rule.config().matches[self.at].clone(),
            rank,
            decided_by: None,
            failed: None,
        }
    }
}

fn passed_over(other: &Listener, chosen: Option<&Listener>, host: &str) -> OtherListener {
    let reason = match chosen {
        Some(chosen) if other.hostname.takes(host) => {
            format!("{} is more specific than {}", chosen.hostname, other.hostname)
        }
        _ => format!("{} does not take {host}", other.hostname),
    };
    OtherListener { listener: other.name.clone(), hostname: other.hostname.clone(), reason }
}
