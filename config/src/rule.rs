//! A rule: which requests it takes and what becomes of them. Resolved by `translate`; never an object name that still must be looked up.

use crate::{BackendName, ColdArm, Filter, HostPattern, List, ListenerName, RuleName, Seniority, Text};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;

/// One rule of one route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Written<'_>")]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// `spec.rules[].name`, empty where none was given.
    pub title: Text,
    /// `metadata.creationTimestamp` of the route in seconds since 1970; 0 where there is none.
    pub created: i64,
    /// The listeners that it is attached to, and there the hosts.
    pub attachments: List<Attachment>,
    /// Any of these takes a request; never empty (`translate` writes out the default `/`). Rules of routes of the transport layer
    /// have the one that takes everything.
    pub matches: List<Match>,
    /// Applied in order.
    pub filters: Vec<Filter>,
    /// What becomes of a request that no filter answered.
    pub action: Action,
    /// Limits of time.
    pub timeouts: Timeouts,
    /// Tries after the first.
    // boxed: most rules have none
    pub retry: Option<Box<Retry>>,
}

/// A rule as it is written: it says its seniority as a whole, of which all but the time is its name.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'r> {
    name: Cow<'r, RuleName>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    title: Cow<'r, Text>,
    seniority: Seniority,
    attachments: Cow<'r, List<Attachment>>,
    matches: Cow<'r, List<Match>>,
    #[serde(default, skip_serializing_if = "<[Filter]>::is_empty")]
    filters: Cow<'r, [Filter]>,
    action: Cow<'r, Action>,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<Cow<'r, Retry>>,
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            name: Cow::Borrowed(&self.name),
            title: Cow::Borrowed(&self.title),
            seniority: self.seniority(0),
            attachments: Cow::Borrowed(&self.attachments),
            matches: Cow::Borrowed(&self.matches),
            filters: Cow::Borrowed(&self.filters),
            action: Cow::Borrowed(&self.action),
            timeouts: self.timeouts,
            retry: self.retry.as_deref().map(Cow::Borrowed),
        };
        written.serialize(serializer)
    }
}

impl From<Written<'_>> for Rule {
    fn from(read: Written<'_>) -> Self {
        Self {
            name: read.name.into_owned(),
            title: read.title.into_owned(),
            created: read.seniority.created,
            attachments: read.attachments.into_owned(),
            matches: read.matches.into_owned(),
            filters: read.filters.into_owned(),
            action: read.action.into_owned(),
            timeouts: read.timeouts,
            retry: read.retry.map(|retry| Box::new(retry.into_owned())),
        }
    }
}

impl Rule {
    /// How old its match of this index is.
    pub fn seniority(&self, at: u32) -> Seniority {
        let RuleName { namespace, route, index, .. } = &self.name;
        Seniority { created: self.created, namespace: namespace.clone(), route: route.clone(), rule: *index, at }
    }

    /// The Backends that it names: those of arms, and those of filters, of the rule's own and of its arms.
    pub fn backends(&self) -> impl Iterator<Item = &BackendName> {
        let targets = self.arms().iter().filter_map(|arm| match &arm.target {
            ArmTarget::Backend(name) => Some(name),
            ArmTarget::Invalid(_) => None,
        });
        targets.chain(self.all_filters().filter_map(Filter::backend))
    }

    /// Its filters, then those of its arms.
    pub fn all_filters(&self) -> impl Iterator<Item = &Filter> {
        self.filters.iter().chain(self.arms().iter().flat_map(|arm| &arm.filters))
    }

    fn arms(&self) -> &[Arm] {
        match &self.action {
            Action::Forward(split) => &split.arms,
            Action::Invalid(_) => &[],
        }
    }
}

/// A listener that a rule is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The listener.
    pub listener: ListenerName,
    /// The hosts there; empty only for the gate of a listener, which is found by that.
    pub hosts: Vec<Host>,
}

/// A host on which a rule serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "ReadHost")]
pub struct Host {
    /// What the listener and the route both match.
    pub pattern: HostPattern,
    /// What the route itself says: decides precedence.
    pub declared: HostPattern,
}

/// A host as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadHost {
    pattern: HostPattern,
    declared: HostPattern,
}

impl From<ReadHost> for Host {
    /// Most routes say what is matched: that is one text.
    fn from(read: ReadHost) -> Self {
        let ReadHost { pattern, declared } = read;
        let declared = if declared == pattern { pattern.clone() } else { declared };
        Self { pattern, declared }
    }
}

/// All parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// The path, canonical.
    pub path: PathMatch,
    /// Upper-case as in HTTP; `None` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    /// Header tests; names lower-case, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    /// Query parameter tests, on the first value of a name; names as written, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<ValueMatch>,
}

impl Match {
    /// Takes everything.
    pub fn everything() -> Self {
        Self { path: PathMatch::Prefix("/".into()), method: None, headers: Vec::new(), queries: Vec::new() }
    }
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(Text),
    /// Whole segments: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix(Text),
    /// The whole path matches the expression (RE2 syntax, anchored at both ends).
    Regex(Text),
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueMatch {
    /// Header or parameter.
    pub name: String,
    /// What its value must be.
    pub test: ValueTest,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueTest {
    /// Byte-equal.
    Exact(String),
    /// Matches as a whole.
    Regex(String),
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Sent to one of the arms.
    Forward(Split),
    /// The rule as a whole cannot be served: 500, with the reason in log and `explain`. Invalid input is data.
    Invalid(String),
}

/// Arms and how one is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Weighted arms; a total weight of 0 (or no arm) answers 500, as Gateway API says.
    pub arms: List<Arm>,
    /// What happens if the chosen arm is cold.
    #[serde(default)]
    pub cold: ColdArm,
}

/// One weighted backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arm {
    /// Where to.
    pub target: ArmTarget,
    /// Its share of the sum of weights, 0 to 1,000,000.
    pub weight: u32,
    /// Applied after the rule's filters to what goes to this arm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

/// Where an arm leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ArmTarget {
    /// A backend of the same Snapshot.
    Backend(BackendName),
    /// The share of this arm is answered 500, with the reason in log and `explain`.
    Invalid(String),
}

/// Limits of time, in milliseconds; `None` is the gateway's default, `Some(0)` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the head received to the end of the answer, over all tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ms: Option<u64>,
    /// One try, from its first byte sent to the end of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_ms: Option<u64>,
}

/// Tries after the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many more tries; 0 is none.
    pub attempts: u32,
    /// Answers of the backend that are tried again.
    pub codes: Vec<u16>,
    /// The least pause before a try, in milliseconds; `None` is the gateway's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Endpoints};

    /// A gateway holds each of these once for each of its routes: docs/decisions/memory.md.
    #[test]
    fn what_every_route_has_is_small() {
        let sizes = [
            (size_of::<Rule>(), 192),
            (size_of::<Attachment>(), 88),
            (size_of::<Match>(), 88),
            (size_of::<Arm>(), 88),
            (size_of::<Backend>(), 144),
            (size_of::<Endpoints>(), 104),
        ];
        for (size, most) in sizes {
            assert!(size <= most, "{size} bytes, {most} are allowed: box what few routes have");
        }
    }

    #[test]
    fn a_host_that_a_route_itself_says_is_read_as_one_text() {
        let host: Host = serde_json::from_str(r#"{"pattern": "a.example", "declared": "a.example"}"#).unwrap();
        let (HostPattern::Exact(pattern), HostPattern::Exact(declared)) = (&host.pattern, &host.declared) else {
            panic!("{host:?}")
        };
        assert!(std::ptr::eq(pattern.as_str(), declared.as_str()));
        let narrower: Host = serde_json::from_str(r#"{"pattern": "a.example", "declared": "*.example"}"#).unwrap();
        assert_eq!(serde_json::to_string(&narrower).unwrap(), r#"{"pattern":"a.example","declared":"*.example"}"#);
    }
}
