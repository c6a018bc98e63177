//! A revision: one immutable template with a name and a history. The record survives restarts; what runs now is never in it.

use crate::template::Template;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The record of a revision, as a state directory or a Serving object keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Name of its Service: `<function>-<hash>`.
    pub name: String,
    /// What it runs.
    pub template: Template,
    /// Grows each time a template becomes the wanted one: the greatest is the newest.
    pub turn: u64,
    /// A replica of it has been ready once.
    pub proven: bool,
    /// The function's own route leads to it.
    pub serving: bool,
    /// Not wanted any more: it ends as soon as nothing of it runs.
    #[serde(default)]
    pub dropped: bool,
    /// What it is doing.
    pub state: State,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// What a revision is doing.
///
/// New → Proving → Warm ⇄ Idle → Closing → Cold → Waking → Warm; Broken from Proving and Waking, and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Just made.
    New,
    /// Started to see whether it becomes ready; gets no requests of the function's route.
    Proving,
    /// Serves.
    Warm,
    /// Could serve; nobody asks.
    Idle,
    /// Gets nothing new; it stops once all gateways know and nothing is in flight.
    Closing {
        /// The stop has been ordered: there is no way back but through Cold.
        stopping: bool,
    },
    /// Nothing runs.
    Cold,
    /// Started on demand; requests wait.
    Waking,
    /// Three starts in a row failed; requests are answered at once until the next try.
    Broken,
}

impl State {
    /// Its name in logs, metrics and `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Proving => "proving",
            Self::Warm => "warm",
            Self::Idle => "idle",
            Self::Closing { .. } => "closing",
            Self::Cold => "cold",
            Self::Waking => "waking",
            Self::Broken => "broken",
        }
    }
}

/// What runtimes and gateways report of the revisions of one function, by revision name. A revision that is missing has nothing
/// running.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed(pub BTreeMap<String, Seen>);

/// What is seen of one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Replicas that exist: starting, ready or ending.
    pub running: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Requests that it works on, all gateways together.
    pub in_flight: u32,
    /// Requests that wait for it, all gateways together, and leases.
    pub queued: u32,
    /// Starts in a row that ended before the replica was ready; 0 after one that became ready.
    pub failed_starts: u32,
    /// The last end that nobody ordered.
    pub last_exit: Option<Exit>,
    /// All gateways have acknowledged the closing that the last plan ordered, or none of them knows the revision; false again as
    /// soon as it is not closing.
    pub closing_acknowledged: bool,
}

/// An end that nobody ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why, as callers and operators read it: `exit status 1: Error: Cannot find module`.
    pub reason: String,
}

/// Starts in a row that must fail before callers are answered with the reason.
pub const FAILED_STARTS_BROKEN: u32 = 3;

impl Seen {
    /// Requests that want it now.
    pub fn demand(&self) -> u32 {
        self.in_flight.saturating_add(self.queued)
    }

    /// When it may be started again, in milliseconds since 1970; 0 where nothing stands against it.
    ///
    /// 100 and 300 ms after the first two failures, then 1 s, doubled up to 30 s.
    pub fn start_not_before_ms(&self) -> u64 {
        let Some(exit) = self.last_exit.as_ref().filter(|_| self.ready == 0) else { return 0 };
        let pause_ms = match self.failed_starts {
            0 => return 0,
            1 => 100,
            2 => 300,
            n => (1_000_u64 << (n - FAILED_STARTS_BROKEN).min(5)).min(30_000),
        };
        exit.at_ms + pause_ms
    }

    /// Whether it counts as unable to start.
    pub fn is_broken(&self) -> bool {
        self.ready == 0 && self.failed_starts >= FAILED_STARTS_BROKEN
    }

    /// The reason of the last failed start.
    pub fn reason(&self) -> &str {
        self.last_exit.as_ref().map_or("it ended before it was ready", |exit| exit.reason.as_str())
    }
}

/// The name of a revision's Service: at most 63 characters, unlike any of `taken`.
pub fn revision_name(function: &str, template: &Template, taken: &[&str]) -> String {
    const LENGTH_MAX: usize = 63 - 9;
    let stem: String = function.chars().take(LENGTH_MAX).collect();
    (0..)
        .map(|salt| format!("{}-{}", stem.trim_end_matches('-'), template.hash(function, salt)))
        .find(|name| !taken.contains(&name.as_str()))
        .expect("some salt gives a free name")
}

/// The name of the alias for a version: `<function>-<version>` in characters of a Service's name (`v1.0.0` → `-v1-0-0`); `None`
/// where the version has no such character or the name would be longer than 63.
pub fn version_alias(function: &str, version: &str) -> Option<String> {
    let label: String =
        version.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let label = label.trim_matches('-');
    let name = format!("{function}-{label}");
    (!label.is_empty() && name.len() <= 63).then_some(name)
}
