//! What a piece of configuration is called on the wire: a hash of its content, the same in every replica. Never a hash that anybody could collide by writing a route.

use ring::digest::{Context, SHA256};
use std::fmt;

/// The first 16 bytes of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Digest::BYTES]);

impl Digest {
    /// Its length.
    pub const BYTES: usize = 16;

    /// Of several texts; where one ends counts.
    pub fn of(texts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for text in texts {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text);
        }
        let whole = context.finish();
        let (first, _) = whole.as_ref().split_first_chunk().expect("SHA-256 has 32 bytes");
        Self(*first)
    }

    /// Many as one text.
    pub fn join<'d>(digests: impl IntoIterator<Item = &'d Self>) -> bytes::Bytes {
        digests.into_iter().flat_map(|digest| digest.0).collect::<Vec<u8>>().into()
    }

    /// The digests of a text; what is left over at its end is no digest.
    pub fn split(text: &[u8]) -> impl Iterator<Item = Self> + '_ {
        text.as_chunks().0.iter().map(|chunk| Self(*chunk))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_its_borders_count() {
        assert_eq!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"ab", b"c"]));
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
    }

    #[test]
    fn many_travel_as_one_text() {
        let two = [Digest::of(&[b"a"]), Digest::of(&[b"b"])];
        let text = Digest::join(&two);
        assert_eq!(Digest::split(&text).collect::<Vec<_>>(), two);
        assert_eq!(Digest::split(&text[..20]).collect::<Vec<_>>(), two[..1]);
    }
}
