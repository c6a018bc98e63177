//! All rules of a Table in the order in which they are tried: what `headgate routes` prints. Not for the request path.

use crate::{Share, Table, problem, table::Entry};
use headgate_config::{HostPattern, HostRank, ListenerName, PathMatch, Protocol, Rank, RuleName, Text, ValueMatch};
use serde::Serialize;
use std::{cmp::Reverse, collections::HashMap};

/// One match of one rule on one host of one listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The listener's port.
    pub port: u16,
    /// What the listener speaks; of what is no HTTP the path says nothing.
    pub protocol: Protocol,
    /// The listener.
    #[serde(serialize_with = "problem::text")]
    pub listener: ListenerName,
    /// The host there.
    pub host: HostPattern,
    /// The host as the route declares it, which decides precedence.
    pub declared: HostPattern,
    /// The path.
    pub path: PathMatch,
    /// The method; `None` for any.
    pub method: Option<Text>,
    /// The tests of headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    /// The tests of query parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<ValueMatch>,
    /// The rule.
    #[serde(serialize_with = "problem::text")]
    pub rule: RuleName,
    /// Its title, empty where it has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub title: Text,
    /// Its arms.
    pub arms: Vec<Share>,
    /// Why it answers 500, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
}

impl<B> Table<B> {
    /// Every rule: by port; there by listener, the most specific first; there by host, the most specific first; there by
    /// `Rank`, the greatest first. Of the rows whose listener and host take a request, the first that matches serves it.
    pub fn rules_in_order(&self) -> Vec<Row> {
        let mut numbers: Vec<_> = (0..).zip(self.listeners()).map(|(number, listener)| (listener, number)).collect();
        numbers.sort_by_key(|(listener, _)| (listener.port, Reverse(HostRank::of(&listener.hostname))));
        let mut entries: HashMap<u32, Vec<Entry<'_, B>>> = HashMap::new();
        self.entries().for_each(|(number, entry)| entries.entry(number).or_default().push(entry));
        let of = |(_, number)| self.rows_of(number, entries.remove(&number).unwrap_or_default());
        numbers.into_iter().flat_map(of).collect()
    }

    fn rows_of(&self, listener: u32, entries: Vec<Entry<'_, B>>) -> Vec<Row> {
        let known = self.listeners.get(listener);
        let mut rows: Vec<(Order<'_>, Row)> = entries
            .iter()
            .map(|entry| {
                let (rule, config) = (entry.rule, entry.rule.config());
                let matching = &config.matches[entry.at];
                let host = &entry.host.pattern;
                let order = (Reverse(HostRank::of(host)), host, Reverse(entry.rank()), rule.name());
                let row = Row {
                    port: known.port,
                    protocol: known.protocol,
                    listener: known.name.clone(),
                    host: host.clone(),
                    declared: entry.host.declared.clone(),
                    path: matching.path.clone(),
                    method: matching.method.clone(),
                    headers: matching.headers.clone(),
                    queries: matching.queries.clone(),
                    rule: rule.name().clone(),
                    title: config.title.clone(),
                    arms: rule.shares(),
                    invalid: rule.invalid().map(str::to_owned),
                };
                (order, row)
            })
            .collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows.dedup_by(|(a, _), (b, _)| a == b); // attached to two listeners that are one here
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// The most specific host first; hosts as specific as each other by name; the greatest rank first; equal ranks by name.
type Order<'t> = (Reverse<HostRank>, &'t HostPattern, Reverse<Rank>, &'t RuleName);
