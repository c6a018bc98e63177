//! What a controller says next on one stream: parts of a difference, endpoints, signs of life. Pure: time comes as an argument; never more than one version under way.

use crate::{
    digest::Digest,
    ledger::{self, Ledger},
    pace::Pace,
    piece::Piece,
    publication::{Difference, Held, Publication},
    wire::{self, DownSay},
};
use bytes::Bytes;
use headgate_config::{CertificateName, Version};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
    vec::IntoIter,
};

/// Digests in one message.
const REMOVES_MOST: usize = wire::PART_BYTES / Digest::BYTES;

/// The sending half of a stream.
#[derive(Debug)]
pub struct Dispatch {
    pace: Pace,
    follower: Option<Follower>,
    beat_at: Instant,
}

/// A gateway that follows.
#[derive(Debug)]
struct Follower {
    held: Held,
    sending: Option<Sending>,
    awaited: Option<(Version, Instant)>,
    committed: Option<Version>,
    endpoints: Cursor,
}

/// How far the endpoints lane is.
#[derive(Debug)]
struct Cursor {
    sent: u64,
    /// Whether one message was sent: it tells the gateway, and so the controller, that nothing was lacking.
    opened: bool,
    /// What the gateway said that it holds, and up to which number that counts.
    held: HashSet<Digest>,
    held_up_to: u64,
    gathering_since: Option<Instant>,
    flushed: Option<Instant>,
}

impl Dispatch {
    /// Nobody follows yet.
    pub fn new(pace: Pace, now: Instant) -> Self {
        Self { pace, follower: None, beat_at: now + pace.beat }
    }

    /// The gateway follows from now on, and holds this.
    pub fn follow(&mut self, pieces: HashSet<Digest>, keys: HashSet<Digest>, endpoints: HashSet<Digest>, newest: u64) {
        self.follower = Some(Follower {
            held: Held::Said { pieces, keys },
            sending: None,
            awaited: None,
            committed: None,
            endpoints: Cursor {
                sent: 0,
                opened: false,
                held: endpoints,
                held_up_to: newest,
                gathering_since: None,
                flushed: None,
            },
        });
    }

    /// The gateway follows another controller.
    pub fn unfollow(&mut self) {
        self.follower = None;
    }

    /// The gateway acknowledged a version.
    pub fn acknowledged(&mut self, version: Version) {
        if let Some(follower) = &mut self.follower {
            follower.awaited.take_if(|(awaited, _)| *awaited <= version);
        }
    }

    /// Whether a version was not acknowledged in time.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.follower.as_ref().and_then(|follower| follower.awaited).is_some_and(|(_, until)| until <= now)
    }

    /// What is to be said now; `None`: nothing before [`Dispatch::wake_at`] or news.
    pub fn next(&mut self, publication: Option<&Arc<Publication>>, ledger: &Ledger, now: Instant) -> Option<DownSay> {
        let configuration = publication.and_then(|publication| {
            let follower = self.follower.as_mut()?;
            let endpoints = follower.endpoints.next(ledger, self.pace.gather, now).map(DownSay::Endpoints);
            endpoints.or_else(|| follower.routes(publication, self.pace.acknowledge, now))
        });
        configuration.or_else(|| {
            (self.beat_at <= now).then(|| {
                self.beat_at = now + self.pace.beat;
                DownSay::Beat(wire::Beat {})
            })
        })
    }

    /// When to ask again if nothing else happens.
    pub fn wake_at(&self) -> Instant {
        let follower = self.follower.as_ref();
        let gathered = follower.and_then(|follower| follower.endpoints.due(self.pace.gather));
        let overdue = follower.and_then(|follower| follower.awaited).map(|(_, until)| until);
        [gathered, overdue].into_iter().flatten().fold(self.beat_at, Instant::min)
    }
}

impl Follower {
    fn routes(&mut self, newest: &Arc<Publication>, patience: Duration, now: Instant) -> Option<DownSay> {
        if self.sending.is_none() {
            // one at a time: what comes meanwhile is sent as one difference
            if self.awaited.is_some() || self.committed == Some(newest.version) {
                return None;
            }
            self.sending = Some(Sending::new(newest, &self.held));
        }
        let sending = self.sending.as_mut()?;
        if let Some(part) = sending.part() {
            return Some(part);
        }
        let publication = self.sending.take()?.publication;
        self.committed = Some(publication.version);
        self.awaited = Some((publication.version, now + patience));
        let commit = publication.commit();
        self.held = Held::Sent(publication);
        Some(DownSay::Commit(commit))
    }
}

impl Cursor {
    fn due(&self, gather: Duration) -> Option<Instant> {
        let since = self.gathering_since?;
        Some(self.flushed.map_or(since, |flushed| (flushed + gather).max(since)))
    }

    fn next(&mut self, ledger: &Ledger, gather: Duration, now: Instant) -> Option<wire::EndpointsPart> {
        if ledger.newest() <= self.sent && self.opened {
            return None;
        }
        self.gathering_since.get_or_insert(now);
        let waits = self.due(gather).is_some_and(|due| now < due);
        if waits && ledger.urgent() <= self.sent {
            return None;
        }
        let part = self.part(ledger);
        self.opened = true;
        self.sent = part.sequence;
        self.gathering_since = (self.sent < ledger.newest()).then_some(now);
        // a part that is full is followed by the next at once
        self.flushed = (self.sent >= ledger.newest()).then_some(now);
        Some(part)
    }

    fn part(&mut self, ledger: &Ledger) -> wire::EndpointsPart {
        let (mut sequence, mut list, mut bytes) = (ledger.newest(), Vec::new(), 0);
        for (at, digest, endpoints) in ledger.after(self.sent) {
            if at <= self.held_up_to && self.held.contains(&digest) {
                continue;
            }
            if bytes >= wire::PART_BYTES {
                break;
            }
            let json = ledger::write(&endpoints);
            bytes += json.len();
            list.push(json);
            sequence = at;
        }
        if bytes < wire::PART_BYTES {
            sequence = ledger.newest();
            self.held = HashSet::new();
        }
        wire::EndpointsPart { sequence, list }
    }
}

/// A difference that is being sent.
#[derive(Debug)]
struct Sending {
    publication: Arc<Publication>,
    removes: Vec<Digest>,
    pieces: IntoIter<Piece>,
    key_removes: Vec<Digest>,
    keys: IntoIter<CertificateName>,
}

impl Sending {
    fn new(publication: &Arc<Publication>, held: &Held) -> Self {
        let Difference { pieces, removes, keys, key_removes } = publication.lacking(held);
        Self {
            publication: Arc::clone(publication),
            removes,
            pieces: pieces.into_iter(),
            key_removes,
            keys: keys.into_iter(),
        }
    }

    /// The next part; `None` once all were.
    fn part(&mut self) -> Option<DownSay> {
        let removes = some_of(&mut self.removes);
        let pieces = filled(&mut self.pieces, |piece| Some(piece.write()), |piece| piece.json.len());
        if !removes.is_empty() || !pieces.is_empty() {
            return Some(DownSay::Part(wire::Part { pieces, removes }));
        }
        let removes = some_of(&mut self.key_removes);
        let publication = &self.publication;
        let certificates =
            filled(&mut self.keys, |name| publication.keyed(&name), |keyed| keyed.chain.len() + keyed.key.len());
        (!removes.is_empty() || !certificates.is_empty()).then(|| DownSay::Keys(wire::Keys { certificates, removes }))
    }
}

/// As many digests as fit into one message.
fn some_of(digests: &mut Vec<Digest>) -> Bytes {
    let at = digests.len().saturating_sub(REMOVES_MOST);
    Digest::join(&digests.split_off(at))
}

/// Takes until a message is full.
fn filled<T, W>(from: &mut IntoIter<T>, write: impl Fn(T) -> Option<W>, size: impl Fn(&W) -> usize) -> Vec<W> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while bytes < wire::PART_BYTES {
        let Some(next) = from.next() else { break };
        if let Some(written) = write(next) {
            bytes += size(&written);
            taken.push(written);
        }
    }
    taken
}
