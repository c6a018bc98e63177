//! The file of what a gateway keeps for its next start: records, each with its length and checksum. First all that is held, then what changed since, one record a change; a torn one at the end is as if
//! it had never been begun. Pure: where the bytes go is `store.rs`. Never a key.

use crate::{
    digest::Digest,
    held::{Held, Whole},
    ledger,
    piece::{self, Piece},
    wire,
};
use bytes::{Buf, BufMut, Bytes};
use headgate_config::BackendName;
use prost::Message;
use std::collections::HashSet;

/// Pieces are gathered to records of about so many bytes: all at once would be several times what is held.
const RECORD_BYTES: usize = 256 << 10;
/// Changes of more than such a part of all, and more than so many, are no record of their own.
const CHANGED_PART: usize = 8;
const CHANGED_LEAST: usize = 100;

/// What came and went since it was last kept.
#[derive(Debug, Default)]
pub(crate) struct Unkept {
    came: HashSet<Digest>,
    /// By what they are called in the file, which is of what was understood of them and not of what was told.
    went: HashSet<Digest>,
    endpoints: HashSet<BackendName>,
}

impl Unkept {
    pub(crate) fn came(&mut self, digest: Digest) {
        self.came.insert(digest);
    }

    pub(crate) fn went(&mut self, digest: &Digest, piece: Option<&Piece>) {
        if !self.came.remove(digest) {
            self.went.extend(piece.map(Piece::digest));
        }
    }

    pub(crate) fn told(&mut self, backend: &BackendName) {
        self.endpoints.insert(backend.clone());
    }
}

impl Held {
    /// All that is kept: routes and endpoints, never a key.
    pub(crate) fn all_kept(&self) -> impl Iterator<Item = Vec<u8>> + Send + '_ {
        let pieces = self
            .pieces
            .values()
            .flatten()
            .map(|piece| wire::Stored { pieces: vec![piece.write()], ..wire::Stored::default() });
        let endpoints = self.endpoints.values();
        let endpoints =
            endpoints.map(|(_, one)| wire::Stored { endpoints: vec![ledger::write(one)], ..wire::Stored::default() });
        let mut parts = pieces.chain(endpoints);
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            // messages of protobuf are one when they stand one after another
            let mut body = wire::Stored { protocol: wire::PROTOCOL, ..wire::Stored::default() }.encode_to_vec();
            while body.len() < RECORD_BYTES {
                match parts.next() {
                    Some(part) => body.extend(part.encode_to_vec()),
                    None => {
                        is_over = true;
                        body.extend(wire::Stored { last: true, ..wire::Stored::default() }.encode_to_vec());
                        break;
                    }
                }
            }
            Some(record(&body))
        })
    }

    /// What changed since the last call of [`Held::kept`], as one record; `None` if all is to be kept anew, as where it is a part of all that
    /// one should not write at once.
    pub(crate) fn changes(&self) -> Option<Vec<u8>> {
        let unkept = self.unkept.as_ref().filter(|unkept| !self.is_much(unkept))?;
        let pieces = unkept.came.iter().filter_map(|digest| self.pieces.get(digest)?.as_ref());
        let endpoints = unkept.endpoints.iter().filter_map(|name| self.endpoints.get(name));
        let stored = wire::Stored {
            protocol: wire::PROTOCOL,
            pieces: pieces.map(Piece::write).collect(),
            endpoints: endpoints.map(|(_, endpoints)| ledger::write(endpoints)).collect(),
            removes: Digest::join(&unkept.went),
            last: true,
        };
        Some(record(&stored.encode_to_vec()))
    }

    fn is_much(&self, unkept: &Unkept) -> bool {
        let changed = unkept.came.len() + unkept.went.len() + unkept.endpoints.len();
        changed > CHANGED_LEAST.max((self.pieces.len() + self.endpoints.len()) / CHANGED_PART)
    }

    /// It could not be kept: what changed is remembered as long as it is little.
    pub(crate) fn not_kept(&mut self) {
        self.unkept = self.unkept.take().filter(|unkept| !self.is_much(unkept));
    }

    /// All that is held is kept now.
    pub(crate) fn kept(&mut self) {
        self.unkept = Some(Unkept::default());
    }

    /// What was kept.
    ///
    /// # Errors
    /// If not even its first part is whole.
    pub fn from_bytes(mut bytes: Bytes) -> Result<(Self, Whole), String> {
        let mut held = Self::default();
        let mut is_whole = false;
        while let Some(body) = next(&mut bytes) {
            let stored = wire::Stored::decode(body).map_err(|error| error.to_string())?;
            Digest::split(&stored.removes).for_each(|digest| held.drop_piece(&digest));
            stored.pieces.iter().for_each(|sent| held.take_in(piece::digest(sent), piece::read(sent)));
            held.endpoints(&stored.endpoints);
            is_whole |= stored.last;
        }
        if !is_whole {
            return Err("it is torn, or its checksum is wrong".into());
        }
        if !bytes.is_empty() {
            tracing::warn!(bytes = bytes.len(), "the end of what was kept is torn: what was before it serves");
        }
        held.forget_unnamed();
        held.unkept = None;
        let whole = held.whole();
        Ok((held, whole))
    }
}

/// A record of a body.
fn record(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + Digest::BYTES + body.len());
    bytes.put_u32(u32::try_from(body.len()).expect("a record is less than 4 GiB"));
    bytes.extend_from_slice(&Digest::join([&Digest::of(&[body])]));
    bytes.extend_from_slice(body);
    bytes
}

/// The body of the next record, if it is whole; otherwise it stays.
fn next(bytes: &mut Bytes) -> Option<Bytes> {
    let mut rest = bytes.clone();
    let length = rest.try_get_u32().ok()? as usize;
    if rest.len() < Digest::BYTES + length {
        return None;
    }
    let digest = rest.split_to(Digest::BYTES);
    let body = rest.split_to(length);
    let is_whole = Digest::split(&digest).next() == Some(Digest::of(&[&body]));
    is_whole.then(|| {
        *bytes = rest;
        body
    })
}
