//! A published version as a set of pieces by content, and what a gateway lacks of it. Pure: no clock, no network; never orders anything by time.

use crate::{digest::Digest, piece::Piece, wire};
use headgate_config::{Certificate, CertificateName, Snapshot, Version};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// Certificates with their keys, by name.
pub type Certificates = BTreeMap<CertificateName, Certificate>;

/// A version of one Gateway. Versions share what is equal in them.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// Counts within one publisher.
    pub version: Version,
    snapshot: Snapshot,
    pieces: OrdMap<Digest, Piece>,
    certificates: Arc<Certificates>,
    keys: OrdMap<Digest, CertificateName>,
}

/// What a gateway holds, as far as a session knows.
#[derive(Clone, Debug)]
pub enum Held {
    /// What it said itself.
    Said {
        /// Of rules, backends and listeners.
        pieces: HashSet<Digest>,
        /// Of certificates.
        keys: HashSet<Digest>,
    },
    /// What it was sent.
    Sent(Arc<Publication>),
}

/// What makes one set of pieces of another.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// New or changed.
    pub pieces: Vec<Piece>,
    /// Gone, or replaced.
    pub removes: Vec<Digest>,
    /// Certificates new or changed.
    pub keys: Vec<CertificateName>,
    /// Certificates gone or replaced.
    pub key_removes: Vec<Digest>,
}

impl Publication {
    /// The next version; costs as much as differs.
    pub fn next(&self, version: Version, snapshot: Snapshot, certificates: Arc<Certificates>) -> Self {
        let mut pieces = self.pieces.clone();
        changes(&self.snapshot, &snapshot).for_each(|(old, new)| {
            old.iter().for_each(|old| drop(pieces.remove(&old.digest())));
            new.into_iter().for_each(|new| insert(&mut pieces, new));
        });
        let keys = if Arc::ptr_eq(&self.certificates, &certificates) || self.certificates == certificates {
            self.keys.clone()
        } else {
            certificates.values().filter(|one| fits(one)).map(|one| (key_digest(one), one.name.clone())).collect()
        };
        Self { version, snapshot, pieces, certificates, keys }
    }

    /// Whether these routes and certificates are those of this version.
    pub fn is(&self, snapshot: &Snapshot, certificates: &Arc<Certificates>) -> bool {
        self.snapshot == *snapshot
            && (Arc::ptr_eq(&self.certificates, certificates) || self.certificates == *certificates)
    }

    /// Whether it has a backend of this name.
    pub fn has_backend(&self, name: &headgate_config::BackendName) -> bool {
        self.snapshot.backends.contains_key(name)
    }

    /// Backends that it has.
    pub fn backends(&self) -> usize {
        self.snapshot.backends.len()
    }

    /// Whether it has no certificates.
    pub fn has_no_keys(&self) -> bool {
        self.keys.is_empty()
    }

    /// What makes this of what is held.
    pub fn lacking(&self, held: &Held) -> Difference {
        match held {
            Held::Said { pieces, keys } => Difference {
                pieces: lacking(&self.pieces, pieces),
                removes: surplus(&self.pieces, pieces),
                keys: lacking(&self.keys, keys),
                key_removes: surplus(&self.keys, keys),
            },
            Held::Sent(before) => {
                let (pieces, removes) = difference(&before.pieces, &self.pieces);
                let (keys, key_removes) = difference(&before.keys, &self.keys);
                Difference { pieces, removes, keys, key_removes }
            }
        }
    }

    /// The message that ends a difference.
    pub fn commit(&self) -> wire::Commit {
        wire::Commit { version: self.version.0, pieces: self.pieces.len() as u64, certificates: self.keys.len() as u64 }
    }

    /// A certificate as it travels; `None` if it is not of this version.
    pub fn keyed(&self, name: &CertificateName) -> Option<wire::Keyed> {
        self.certificates.get(name).map(|certificate| wire::Keyed {
            namespace: name.namespace.clone(),
            secret: name.secret.clone(),
            chain: certificate.chain.clone(),
            key: certificate.key.reveal().to_owned(),
        })
    }
}

/// What a certificate with its key is called.
pub fn key_digest(certificate: &Certificate) -> Digest {
    let CertificateName { namespace, secret } = &certificate.name;
    let texts = [namespace, secret, &certificate.chain, certificate.key.reveal()];
    Digest::of(&texts.map(str::as_bytes))
}

fn fits(certificate: &Certificate) -> bool {
    let fits = certificate.chain.len() + certificate.key.reveal().len() <= wire::PIECE_BYTES_MAX;
    if !fits {
        tracing::error!(certificate = %certificate.name, "larger than a message may be: not sent to gateways");
    }
    fits
}

fn insert(pieces: &mut OrdMap<Digest, Piece>, piece: Piece) {
    let written = piece.write();
    if written.json.len() <= wire::PIECE_BYTES_MAX {
        pieces.insert(crate::piece::digest(&written), piece);
    } else {
        let start: String = String::from_utf8_lossy(&written.json).chars().take(200).collect();
        tracing::error!(piece = start, "larger than a message may be: not sent to gateways");
    }
}

/// Old and new of everything that differs.
fn changes<'s>(old: &'s Snapshot, new: &'s Snapshot) -> impl Iterator<Item = (Option<Piece>, Option<Piece>)> {
    let rule = |rule: &Arc<_>| Piece::Rule(Arc::clone(rule));
    let backend = |backend: &Arc<_>| Piece::Backend(Arc::clone(backend));
    let listener = |listener: &Arc<_>| Piece::Listener(Arc::clone(listener));
    let listeners = old.listeners.diff(&new.listeners).map(move |item| both(item, listener));
    let rules = old.rules.diff(&new.rules).map(move |item| both(item, rule));
    let backends = old.backends.diff(&new.backends).map(move |item| both(item, backend));
    listeners.chain(rules).chain(backends)
}

fn both<K, V>(item: DiffItem<'_, '_, K, V>, piece: impl Fn(&V) -> Piece) -> (Option<Piece>, Option<Piece>) {
    match item {
        DiffItem::Add(_, new) => (None, Some(piece(new))),
        DiffItem::Update { old: (_, old), new: (_, new) } => (Some(piece(old)), Some(piece(new))),
        DiffItem::Remove(_, old) => (Some(piece(old)), None),
    }
}

fn difference<V: Clone + PartialEq>(old: &OrdMap<Digest, V>, new: &OrdMap<Digest, V>) -> (Vec<V>, Vec<Digest>) {
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    for item in old.diff(new) {
        match item {
            DiffItem::Add(_, value) => adds.push(value.clone()),
            DiffItem::Remove(digest, _) => removes.push(*digest),
            // one digest is one content
            DiffItem::Update { .. } => {}
        }
    }
    (adds, removes)
}

fn lacking<V: Clone>(wanted: &OrdMap<Digest, V>, held: &HashSet<Digest>) -> Vec<V> {
    wanted.iter().filter(|(digest, _)| !held.contains(digest)).map(|(_, value)| value.clone()).collect()
}

fn surplus<V>(wanted: &OrdMap<Digest, V>, held: &HashSet<Digest>) -> Vec<Digest> {
    held.iter().filter(|digest| !wanted.contains_key(*digest)).copied().collect()
}
