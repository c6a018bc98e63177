//! The precedence of Gateway API as a type: of all rules that match, the one with the greatest `Rank` serves. Never decided anywhere else.

use crate::{HostPattern, Match, PathMatch, RouteKind, Text};
use serde::Serialize;
use std::cmp::Reverse;

/// How specific the route's own hostname is: exact before wildcard before none, longer before shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostRank {
    /// No hostname: any host.
    Any,
    /// `*.suffix`, by the length of the suffix in bytes.
    Wildcard(usize),
    /// One host, by its length in bytes.
    Exact(usize),
}

impl HostRank {
    /// The rank of a pattern.
    pub fn of(pattern: &HostPattern) -> Self {
        match pattern {
            HostPattern::Any => Self::Any,
            HostPattern::Wildcard(suffix) => Self::Wildcard(suffix.as_str().len()),
            HostPattern::Exact(host) => Self::Exact(host.as_str().len()),
        }
    }
}

/// How specific the path match is. The specification orders Exact before Prefix by length and leaves regular expressions to
/// implementations; ours stand between, by their length, since a person writes one to carve out of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathRank {
    /// Prefix, by its length in bytes without a trailing slash.
    Prefix(usize),
    /// Regular expression, by its length in bytes.
    Regex(usize),
    /// The whole path, by its length in bytes.
    Exact(usize),
}

/// Who was there first: creation time, then `namespace/name`, then the order of rules and matches within the route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seniority {
    /// `metadata.creationTimestamp` in seconds since 1970; 0 where there is none.
    pub created: i64,
    /// Namespace of the route.
    pub namespace: Text,
    /// Name of the route.
    pub route: Text,
    /// Index of the rule in the route.
    pub rule: u32,
    /// Index of the match in the rule.
    pub at: u32,
}

/// The precedence of one match of one rule on one host; the first field that differs decides, and `explain` names that field.
///
/// Source: Gateway API v1.7.0, HTTPRouteRule.matches and GRPCRouteRule.matches; hostnames by
/// GatewayRouteHostnameIntersectionPrecedence (the route's own hostname, not the intersection).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rank {
    /// The route's hostname.
    pub host: HostRank,
    /// The path match.
    pub path: PathRank,
    /// Whether a method is matched.
    pub method: bool,
    /// Number of header matches.
    pub headers: usize,
    /// Number of query parameter matches.
    pub queries: usize,
    /// Older wins.
    pub age: Reverse<Seniority>,
}

impl Rank {
    /// The rank of `matching` on a host that the route calls `declared`. `seniority.at` must be the index of the match.
    pub fn of(declared: &HostPattern, matching: &Match, seniority: Seniority) -> Self {
        let path = match &matching.path {
            PathMatch::Exact(text) => PathRank::Exact(text.len()),
            PathMatch::Regex(text) => PathRank::Regex(text.len()),
            PathMatch::Prefix(text) => PathRank::Prefix(text.trim_end_matches('/').len()),
        };
        Self {
            host: HostRank::of(declared),
            path,
            method: matching.method.is_some(),
            headers: matching.headers.len(),
            queries: matching.queries.len(),
            age: Reverse(seniority),
        }
    }

    /// The name of the first field in which two ranks differ, as `explain` prints it; `None` where they are equal.
    pub fn decided_by(&self, other: &Self) -> Option<&'static str> {
        let older = (&self.age.0, &other.age.0);
        [
            (self.host != other.host, "hostname"),
            (self.path != other.path, "path"),
            (self.method != other.method, "method"),
            (self.headers != other.headers, "headers"),
            (self.queries != other.queries, "query parameters"),
            (older.0.created != older.1.created, "age"),
            ((&older.0.namespace, &older.0.route) != (&older.1.namespace, &older.1.route), "name"),
            (older.0.rule != older.1.rule, "rule order"),
            (older.0.at != older.1.at, "match order"),
        ]
        .into_iter()
        .find_map(|(differs, field)| differs.then_some(field))
    }
}

impl RouteKind {
    /// Whether requests must be gRPC for rules of this kind to match.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::GRPCRoute)
    }
}
