//! What a gateway holds: pieces and certificates by content, endpoints by backend. Pure; a version is taken whole or not at all, and no key ever leaves it but to serve.

use crate::{
    digest::Digest,
    kept::Unkept,
    ledger,
    piece::{self, Piece, Read},
    publication::{Certificates, key_digest},
    wire,
};
use bytes::Bytes;
use headgate_config::{Backend, BackendName, ByName, Certificate, CertificateName, Endpoints, Redacted, Snapshot};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{collections::HashMap, sync::Arc};

/// Backends by name.
pub type Backends = OrdMap<ByName<Backend>, Arc<Backend>>;

/// Backends that no route names and whose endpoints are kept all the same: their routes may come next.
const UNNAMED_KEPT: usize = 1_000;

/// What is held, and what has come of the next version.
#[derive(Debug, Default)]
pub struct Held {
    /// `None` for what cannot be served at all.
    pub(crate) pieces: HashMap<Digest, Option<Piece>>,
    /// What is wrong with the few of which something is.
    problems: HashMap<Digest, String>,
    keys: HashMap<Digest, CertificateName>,
    certificates: Arc<Certificates>,
    snapshot: Snapshot,
    pub(crate) endpoints: HashMap<ByName<Endpoints>, (Digest, Arc<Endpoints>)>,
    staged: Staged,
    /// What the next start would not know; `None` for all.
    pub(crate) unkept: Option<Unkept>,
    /// The last version did not add up: what is held of it is nothing to keep.
    drifted: bool,
}

#[derive(Debug, Default)]
struct Staged {
    // read when they come: the texts of all would be more than all that is held
    pieces: Vec<(Digest, Read)>,
    removes: Vec<Digest>,
    keys: Vec<Certificate>,
    key_removes: Vec<Digest>,
}

/// A version that can be served.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its routes.
    pub snapshot: Snapshot,
    /// Its certificates.
    pub certificates: Arc<Certificates>,
    /// What of it cannot be read, one sentence each.
    pub problems: Vec<String>,
}

/// What came does not add up to what was sent: everything must be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pieces held are not those of the version")]
pub struct Drifted;

impl Held {
    /// What is said of it to a controller.
    pub fn holding(&self) -> wire::Holding {
        wire::Holding {
            pieces: Digest::join(self.pieces.keys()),
            certificates: Digest::join(self.keys.keys()),
            endpoints: Digest::join(self.endpoints.values().map(|(digest, _)| digest)),
            last: true,
        }
    }

    /// Whether what is held is worth more to the next start than what was kept before.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        !self.drifted
    }

    /// Nothing of a version that was begun counts any more.
    pub fn begin(&mut self) {
        self.staged = Staged::default();
    }

    /// Part of the next version.
    pub fn part(&mut self, part: wire::Part) {
        self.staged.pieces.extend(part.pieces.iter().map(|sent| (piece::digest(sent), piece::read(sent))));
        self.staged.removes.extend(Digest::split(&part.removes));
    }

    /// Certificates of the next version.
    pub fn keyed(&mut self, keys: wire::Keys) {
        let certificate = |keyed: wire::Keyed| Certificate {
            name: CertificateName { namespace: keyed.namespace, secret: keyed.secret },
            chain: keyed.chain,
            key: Redacted::new(keyed.key),
        };
        self.staged.keys.extend(keys.certificates.into_iter().map(certificate));
        self.staged.key_removes.extend(Digest::split(&keys.removes));
    }

    /// The version is complete.
    ///
    /// # Errors
    /// If it does not add up; then nothing is held any more but endpoints, and what serves goes on serving.
    pub fn commit(&mut self, commit: wire::Commit) -> Result<Whole, Drifted> {
        let Staged { pieces, removes, keys, key_removes } = std::mem::take(&mut self.staged);
        removes.iter().for_each(|digest| self.drop_piece(digest));
        pieces.into_iter().for_each(|(digest, read)| self.take_in(digest, read));
        self.take_keys(keys, &key_removes);
        if (self.pieces.len() as u64, self.keys.len() as u64) != (commit.pieces, commit.certificates) {
            (self.pieces, self.problems, self.keys, self.snapshot) = Default::default();
            (self.certificates, self.unkept, self.drifted) = (Arc::default(), None, true);
            return Err(Drifted);
        }
        self.drifted = false;
        self.forget_unnamed();
        Ok(self.whole())
    }

    pub(crate) fn drop_piece(&mut self, digest: &Digest) {
        self.problems.remove(digest);
        let Some(gone) = self.pieces.remove(digest) else { return };
        if let Some(unkept) = &mut self.unkept {
            unkept.went(digest, gone.as_ref());
        }
        if let Some(piece) = gone {
            self.take_out(&piece);
        }
    }

    pub(crate) fn whole(&self) -> Whole {
        let problems = self.problems.values().cloned().collect();
        Whole { snapshot: self.snapshot.clone(), certificates: self.certificates.clone(), problems }
    }

    fn take_keys(&mut self, keys: Vec<Certificate>, removes: &[Digest]) {
        if keys.is_empty() && removes.is_empty() {
            return;
        }
        let mut certificates = Certificates::clone(&self.certificates);
        for name in removes.iter().filter_map(|digest| self.keys.remove(digest)) {
            certificates.remove(&name);
        }
        for certificate in keys {
            self.keys.insert(key_digest(&certificate), certificate.name.clone());
            certificates.insert(certificate.name.clone(), certificate);
        }
        self.certificates = Arc::new(certificates);
    }

    pub(crate) fn take_in(&mut self, digest: Digest, read: Read) {
        if let Some(piece) = &read.piece {
            self.put_in(piece);
        }
        if let Some(problem) = read.problem {
            self.problems.insert(digest, problem);
        }
        let is_new = self.pieces.insert(digest, read.piece).is_none();
        if let Some(unkept) = self.unkept.as_mut().filter(|_| is_new) {
            unkept.came(digest);
        }
    }

    fn put_in(&mut self, piece: &Piece) {
        match piece {
            Piece::Rule(rule) => self.snapshot.insert_rule(rule.clone()),
            Piece::Backend(backend) => self.snapshot.insert_backend(backend.clone()),
            Piece::Listener(listener) => self.snapshot.insert_listener(listener.clone()),
        }
    }

    fn take_out(&mut self, piece: &Piece) {
        match piece {
            Piece::Rule(rule) => drop(self.snapshot.rules.remove(&rule.name)),
            Piece::Backend(backend) => drop(self.snapshot.backends.remove(&backend.name)),
            Piece::Listener(one) => drop(self.snapshot.listeners.remove(&one.name)),
        }
    }

    /// Endpoints of some backends, each whole; those that cannot be read are said.
    pub fn endpoints(&mut self, list: &[Bytes]) -> (Vec<Arc<Endpoints>>, Vec<String>) {
        let (mut taken, mut problems) = (Vec::new(), Vec::new());
        for json in list {
            match serde_json::from_slice::<Endpoints>(json) {
                Ok(endpoints) => {
                    let endpoints = Arc::new(endpoints);
                    if let Some(unkept) = &mut self.unkept {
                        unkept.told(&endpoints.backend);
                    }
                    // the key is the list itself, so that an old one goes with what it is the key of
                    self.endpoints.remove(&endpoints.backend);
                    self.endpoints.insert(ByName::of(&endpoints), (ledger::digest(json), endpoints.clone()));
                    taken.push(endpoints);
                }
                Err(error) => problems.push(format!("endpoints that cannot be read: {error}")),
            }
        }
        (taken, problems)
    }

    /// The backends that routes name.
    pub fn backends(&self) -> Backends {
        self.snapshot.backends.clone()
    }

    /// The endpoints of backends that routes name, and did not name before; costs as much as differs.
    pub fn endpoints_named_since<'h>(&'h self, before: &'h Backends) -> impl Iterator<Item = &'h Arc<Endpoints>> {
        before.diff(&self.snapshot.backends).filter_map(|item| match item {
            DiffItem::Add(name, _) => self.endpoints.get::<BackendName>(name).map(|(_, endpoints)| endpoints),
            DiffItem::Update { .. } | DiffItem::Remove(..) => None,
        })
    }

    pub(crate) fn forget_unnamed(&mut self) {
        if self.endpoints.len() <= self.snapshot.backends.len() + UNNAMED_KEPT {
            return;
        }
        let named = &self.snapshot.backends;
        let mut unnamed = 0;
        self.endpoints.retain(|name, _| {
            let is_named = named.contains_key::<BackendName>(name);
            unnamed += usize::from(!is_named);
            is_named || unnamed <= UNNAMED_KEPT
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use headgate_config::{BackendProtocol, QueueBounds, Wait};

    pub(crate) fn backend(service: &str, concurrency: u32) -> Piece {
        let name = BackendName::tcp("a", service, 80);
        Piece::Backend(Arc::new(Backend {
            name,
            protocol: BackendProtocol::Http1,
            hostname: None,
            tls: None,
            proxy_protocol: None,
            concurrency,
            queue: QueueBounds::default(),
            scales: None,
            wait: Wait::default(),
            retries: None,
        }))
    }

    fn part(adds: &[Piece], removes: &[&Piece]) -> wire::Part {
        let removes: Vec<Digest> = removes.iter().map(|piece| piece.digest()).collect();
        wire::Part { pieces: adds.iter().map(Piece::write).collect(), removes: Digest::join(&removes) }
    }

    fn commit(pieces: u64) -> wire::Commit {
        wire::Commit { version: 1, pieces, certificates: 0 }
    }

    #[test]
    fn a_replaced_piece_stays_in_whatever_order_it_came() {
        let (old, new) = (backend("x", 1), backend("x", 2));
        let mut held = Held::default();
        held.part(part(std::slice::from_ref(&old), &[]));
        held.commit(commit(1)).unwrap();
        held.part(part(std::slice::from_ref(&new), &[]));
        held.part(part(&[], &[&old]));
        let whole = held.commit(commit(1)).unwrap();
        assert_eq!(whole.snapshot.backends.values().map(|one| one.concurrency).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_does_not_add_up_is_asked_for_again() {
        let mut held = Held::default();
        held.part(part(&[backend("x", 1)], &[]));
        assert_eq!(held.commit(commit(2)).unwrap_err(), Drifted);
        assert_eq!(held.holding().pieces, Bytes::new());
    }

    #[test]
    fn a_version_that_was_cut_off_leaves_nothing() {
        let mut held = Held::default();
        held.part(part(&[backend("x", 1)], &[]));
        held.begin();
        held.part(part(&[backend("y", 1)], &[]));
        assert_eq!(held.commit(commit(1)).unwrap().snapshot.backends.len(), 1);
    }

    #[test]
    fn what_is_stored_comes_back_without_keys_and_a_torn_file_is_refused() {
        let mut held = Held::default();
        held.part(part(&[backend("x", 1)], &[]));
        let keyed = wire::Keyed { secret: "tls".into(), key: "PRIVATE".into(), ..wire::Keyed::default() };
        held.keyed(wire::Keys { certificates: vec![keyed], removes: Bytes::new() });
        held.commit(wire::Commit { version: 1, pieces: 1, certificates: 1 }).unwrap();
        let bytes: Vec<u8> = held.all_kept().flatten().collect();
        assert!(!String::from_utf8_lossy(&bytes).contains("PRIVATE") && !format!("{held:?}").contains("PRIVATE"));
        let (again, whole) = Held::from_bytes(bytes.clone().into()).unwrap();
        assert_eq!(again.holding().pieces, held.holding().pieces);
        assert_eq!((whole.snapshot.backends.len(), again.holding().certificates.len()), (1, 0));
        assert!(Held::from_bytes(bytes[..bytes.len() - 1].to_vec().into()).is_err());
        assert!(Held::from_bytes(Bytes::new()).is_err());
    }

    #[test]
    fn a_piece_of_a_later_version_is_said_and_everything_else_serves() {
        let mut held = Held::default();
        let mut sent = part(&[backend("x", 1)], &[]);
        sent.pieces.push(wire::Piece { kind: 99, json: Bytes::from_static(b"{}") });
        held.part(sent);
        let whole = held.commit(commit(2)).unwrap();
        assert_eq!(whole.snapshot.backends.len(), 1);
        assert!(matches!(&whole.problems[..], [one] if one.contains("kind 99")), "{:?}", whole.problems);
        // held all the same: its controller would send it again for ever
        assert_eq!(Digest::split(&held.holding().pieces).count(), 2);
    }
}
