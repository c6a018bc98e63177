//! A gateway's half of the stream without network, clock and files: messages go in as bytes, and out comes what would be served. For who judges the stream from outside (`fuzz/`); never a second way to follow.

use crate::{hear::Heard, held::Held, publication::Certificates, wire::Down};
use headgate_config::{Endpoints, Snapshot};
use prost::Message;
use std::sync::Arc;

/// What a gateway holds after the messages that it was told.
#[derive(Debug, Default)]
pub struct Replay(Held);

/// What a message gave.
#[derive(Debug)]
pub enum Replayed {
    /// Nothing that shows.
    Nothing,
    /// A version becomes live.
    Version {
        /// Its routes.
        snapshot: Snapshot,
        /// Its certificates, with their keys.
        certificates: Arc<Certificates>,
        /// What of it cannot be read, one sentence each.
        problems: Vec<String>,
    },
    /// Endpoints become live.
    Endpoints(Vec<Arc<Endpoints>>),
}

impl Replay {
    /// A new conversation: what was begun in the last one does not count any more.
    pub fn reconnect(&mut self) {
        self.0.begin();
    }

    /// Takes in a message, as it stands behind the length prefix of gRPC.
    ///
    /// # Errors
    /// If a gateway would end the conversation: it serves on, and asks for what it lacks in the next one.
    pub fn hear(&mut self, message: &[u8]) -> Result<Replayed, String> {
        let Down { say } = Down::decode(message).map_err(|error| error.to_string())?;
        Ok(match self.0.hear(say)? {
            Heard::Nothing | Heard::Role(_) => Replayed::Nothing,
            Heard::Version { whole, .. } => Replayed::Version {
                snapshot: whole.snapshot,
                certificates: whole.certificates,
                problems: whole.problems,
            },
            Heard::Endpoints { taken, .. } => Replayed::Endpoints(taken),
        })
    }

    /// What its pieces are called, joined, as a controller is told it: 16 bytes each.
    pub fn pieces(&self) -> Vec<u8> {
        self.0.holding().pieces.into()
    }

    /// The file that it keeps for its next start.
    pub fn stored(&self) -> Vec<u8> {
        self.0.all_kept().flatten().collect()
    }

    /// What it serves after that start.
    ///
    /// # Errors
    /// If the file is not whole.
    pub fn restored(file: Vec<u8>) -> Result<(Self, Snapshot), String> {
        let (held, whole) = Held::from_bytes(file.into())?;
        Ok((Self(held), whole.snapshot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Commit, DownHello, DownSay, EndpointsPart};

    fn word(say: DownSay) -> Vec<u8> {
        Down::from(say).encode_to_vec()
    }

    #[test]
    fn messages_become_what_would_be_served() {
        let mut replay = Replay::default();
        let endpoints = br#"{"backend":{"namespace":"a","service":"x","port":80},"list":[]}"#;
        let said = word(DownSay::Endpoints(EndpointsPart { sequence: 1, list: vec![endpoints.as_slice().into()] }));
        assert!(matches!(replay.hear(&said), Ok(Replayed::Endpoints(taken)) if taken.len() == 1));
        let empty = word(DownSay::Commit(Commit { version: 1, pieces: 0, certificates: 0 }));
        assert!(
            matches!(replay.hear(&empty), Ok(Replayed::Version { snapshot, .. }) if snapshot == Snapshot::default())
        );
        assert!(replay.hear(&word(DownSay::Commit(Commit { version: 2, pieces: 1, certificates: 0 }))).is_err());
        assert!(replay.hear(&word(DownSay::Hello(DownHello::default()))).is_err());
        assert!(replay.hear(b"\xff").is_err());
        let (restored, snapshot) = Replay::restored(replay.stored()).unwrap();
        assert_eq!((restored.pieces(), snapshot), (Vec::new(), Snapshot::default()));
    }
}
