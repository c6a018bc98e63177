//! What a controller says of itself at `/status`: `controller` writes it, `status` reads it. Data only; never a key.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the admin port of a controller shows it.
pub const PAGE: &str = "/status";

/// How it stands with one controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Version of the program.
    pub program: String,
    /// Its name among its replicas: that of its Pod.
    pub identity: String,
    /// Whether it leads: only then it writes.
    pub leading: bool,
    /// Whether every kind has been listed once, or is missing.
    pub synced: bool,
    /// By kind that is watched.
    pub watches: Vec<Watch>,
    /// Objects that were to be written and could not be, of the leader.
    pub unwritten: Vec<Unwritten>,
    /// Of the writer of statuses.
    pub statuses: Statuses,
    /// Gateways, and the Pods of them that follow this controller.
    pub gateways: Vec<Follow>,
}

/// How it stands with the watch of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Watch {
    /// `Kind.group`, and what of it is read where that is not all.
    pub kind: String,
    /// `syncing`, `missing`, `synced` or `failing`.
    pub state: String,
    /// How long ago it said anything last, in seconds: each watch is begun anew about every two minutes, and says so.
    pub last_event_seconds: Option<u64>,
    /// How often listing or watching failed since the start.
    pub failures: u64,
    /// Since how many seconds it fails.
    pub failing_seconds: Option<u64>,
    /// Why it fails.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// An object that could not be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unwritten {
    /// `Kind namespace/name`.
    pub object: String,
    /// Why, with what to do where that is known.
    pub why: String,
}

/// Writes of statuses since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Statuses {
    /// Those that succeeded.
    pub written: u64,
    /// Those that met another version of the object, and are tried again.
    pub conflicts: u64,
    /// Those that failed otherwise.
    pub failed: u64,
    /// Objects that wait to be looked at or are being written.
    pub pending: u64,
    /// Events that were not written, because there were too many or the API server took none.
    pub events_dropped: u64,
}

/// Who follows the routes of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Follow {
    /// `namespace/name`.
    pub gateway: String,
    /// The newest version of its routes, as this controller counts; 0 before the first.
    pub version: u64,
    /// By Pod that follows this controller: the version that it serves; 0 for none.
    pub pods: BTreeMap<String, u64>,
}

impl Follow {
    /// How many Pods serve an older version than the newest.
    pub fn behind(&self) -> usize {
        self.pods.values().filter(|version| **version < self.version).count()
    }
}

impl Health {
    /// The kinds that have not been listed yet.
    pub fn unsynced(&self) -> impl Iterator<Item = &str> {
        let is_open = |watch: &&Watch| watch.last_event_seconds.is_none() || watch.state == "failing";
        self.watches.iter().filter(is_open).map(|watch| watch.kind.as_str())
    }
}
