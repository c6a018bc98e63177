//! What was read of a request's body and may have to be sent again. Bounded; beyond the bound there is no other try.

use crate::backend::{Charge, Refusal};
use headgate_message::Fields;

/// The start of a body, kept while another try is possible.
#[derive(Default)]
pub struct Replay {
    kept: Vec<u8>,
    trailers: Option<Fields>,
    /// How many bytes may be kept; 0 if nothing may be tried again.
    limit: usize,
    taken: bool,
    lost: bool,
    ended: bool,
    /// For what is kept of a body that is read before the request is sent on.
    charge: Option<Charge>,
}

impl Replay {
    /// Keeps up to `limit` bytes; 0 where the request must not be sent twice.
    pub fn up_to(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The same, of which each byte is charged first.
    pub fn charged(limit: usize, charge: Charge) -> Self {
        Self { charge: Some(charge), ..Self::up_to(limit) }
    }

    /// Charges bytes that are to be kept, or refuses them.
    pub fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.charge.as_mut().map_or(Ok(()), |charge| charge.grow(bytes as u64))
    }

    /// Notes that these bytes have been read from the client.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.taken = true;
        if self.lost || self.kept.len() + bytes.len() > self.limit {
            self.lost = true;
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Notes that the body has been read to its end.
    pub fn end(&mut self, trailers: Option<Fields>) {
        self.ended = true;
        self.trailers = trailers;
    }

    /// Whether another try can send the same body.
    pub fn is_possible(&self) -> bool {
        !self.taken || !self.lost
    }

    /// The whole body, if it was read to its end and kept.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.ended && !self.lost).then_some(&self.kept[..])
    }

    /// What the next try sends first.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether nothing follows what is kept; with the trailers.
    pub fn ended(&self) -> Option<Option<Fields>> {
        self.ended.then(|| self.trailers.clone())
    }
}
