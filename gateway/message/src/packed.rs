//! The head of a request that is put aside: one block of the exact size, and back. Never loses a byte that the head can still show.

use crate::{Authority, Fields, Method, RequestHead, Span, Target};
use headgate_config::Scheme;

/// Parts of a head beside its fields: authority, host, raw target, path, query.
const OWN: usize = 5;
/// Where each of them mostly lies: in the authority or in the raw target.
const WITHIN: [usize; OWN] = [0, 0, 2, 2, 2];

/// A head in one block: the text of its own parts, names and values of its fields one after another, then how long each is.
#[derive(Clone, Debug)]
pub struct PackedHead {
    method: Method,
    scheme: Scheme,
    port: Option<u16>,
    has_query: bool,
    text_bytes: u32,
    block: Box<[u8]>,
}

/// The parts beside the fields.
struct Own {
    /// What of the head's text is to be kept for them.
    pieces: [Span; OWN],
    /// Where each lies in what is kept.
    placed: [Span; OWN],
    /// Bytes that are kept.
    bytes: usize,
}

impl PackedHead {
    /// Packs a copy; its buffers can go back to their pool.
    pub fn of(head: &RequestHead) -> Self {
        let RequestHead { method, scheme, authority, target, fields } = head;
        let (text, own) = (fields.text(), Own::of(head));
        let mut block = Vec::with_capacity(Self::bytes_of(head));
        let kept = own.pieces.into_iter().chain(fields.spans().flat_map(|(name, value)| [name, value]));
        kept.for_each(|span| block.extend_from_slice(span.of(text)));
        let text_bytes = block.len();
        let width = width(text_bytes);
        let of_own = own.placed.iter().flat_map(|span| [span.range().start, span.len()]);
        let of_fields = fields.spans().flat_map(|(name, value)| [name.len(), value.len()]);
        for number in of_own.chain([own.bytes]).chain(of_fields) {
            block.extend_from_slice(&(number as u32).to_le_bytes()[..width]);
        }
        Self {
            method: method.clone(),
            scheme: *scheme,
            port: authority.port,
            has_query: target.query.is_some(),
            text_bytes: text_bytes as u32,
            block: block.into(),
        }
    }

    /// Bytes that the block of a head has.
    pub fn bytes_of(head: &RequestHead) -> usize {
        let of_fields: usize = head.fields.spans().map(|(name, value)| name.len() + value.len()).sum();
        let text = Own::of(head).bytes + of_fields;
        text + (2 * OWN + 1 + 2 * head.fields.len()) * width(text)
    }

    /// The head as it was, in the buffers of a spent one.
    pub fn unpack(&self, spent: Fields) -> RequestHead {
        let (text, numbers) = self.block.split_at(self.text_bytes as usize);
        let mut numbers = numbers.chunks_exact(width(text.len())).map(|bytes| {
            let mut all = [0; 4];
            all[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(all) as usize
        });
        let mut next = || numbers.next().unwrap_or_default();
        let mut own = || {
            let start = next();
            Span::new(start, start + next())
        };
        let authority = Authority { text: own(), host: own(), port: self.port };
        let target = Target { raw: own(), path: own(), query: Some(own()).filter(|_| self.has_query) };
        let (own, mut rest) = text.split_at(next());
        let mut fields = spent.emptied();
        fields.store(own);
        while let (Some(name), Some(value)) = (numbers.next(), numbers.next()) {
            let (line, after) = rest.split_at(name + value);
            let (name, value) = line.split_at(name);
            fields.restore(name, value);
            rest = after;
        }
        RequestHead { method: self.method.clone(), scheme: self.scheme, authority, target, fields }
    }
}

impl Own {
    fn of(RequestHead { authority, target, .. }: &RequestHead) -> Self {
        let parts = [authority.text, authority.host, target.raw, target.path, target.query.unwrap_or_default()];
        let mut own = Self { pieces: [Span::default(); OWN], placed: [Span::default(); OWN], bytes: 0 };
        for (at, (part, whole)) in parts.into_iter().zip(WITHIN).enumerate() {
            let (inner, outer) = (part.range(), parts[whole].range());
            let start = if at != whole && outer.start <= inner.start && inner.end <= outer.end {
                own.placed[whole].range().start + inner.start - outer.start
            } else {
                own.pieces[at] = part;
                own.bytes += part.len();
                own.bytes - part.len()
            };
            own.placed[at] = Span::new(start, start + part.len());
        }
        own
    }
}

/// Bytes of a number that counts bytes of a text of this size.
fn width(text_bytes: usize) -> usize {
    if text_bytes <= usize::from(u16::MAX) { 2 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(query: Option<&str>, filler: usize) -> RequestHead {
        let mut fields = Fields::default();
        fields.store(b"bytes that no part needs");
        let target = Target {
            raw: fields.store(b"/%61"),
            path: fields.store(b"/a"),
            query: query.map(|query| fields.store(query.as_bytes())),
        };
        let authority = Authority { text: fields.store(b"a.io:8"), host: fields.store(b"a.io"), port: Some(8) };
        fields.push("x-long", &vec![b'l'; filler]);
        fields.push("x-empty", b"");
        fields.push("x-empty", b"2");
        let method = Method::parse(b"BREW").expect("a token");
        RequestHead { method, scheme: Scheme::Https, authority, target, fields }
    }

    fn shown(head: &RequestHead) -> String {
        let own = (head.authority(), head.host(), head.authority.port, head.raw_target(), head.path(), head.query());
        format!("{own:?} {} {:?} {:?}", head.method, head.scheme, head.fields.iter().collect::<Vec<_>>())
    }

    #[test]
    fn comes_back_as_it_went_in() {
        for query in [None, Some(""), Some("page=2")] {
            // the last ones need wider numbers
            for filler in [0, 10, 65_000, 65_535, 65_536, 200_000] {
                let head = head(query, filler);
                let packed = PackedHead::of(&head);
                assert_eq!(packed.block.len(), PackedHead::bytes_of(&head), "what is charged is what is kept");
                let mut spent = Fields::default();
                spent.push("x-of-another", b"request");
                assert_eq!(shown(&packed.unpack(spent)), shown(&head), "{query:?} {filler}");
            }
        }
    }

    #[test]
    fn is_smaller_than_a_head_of_exact_size() {
        let mut head = head(Some("page=2"), 10);
        let packed = PackedHead::bytes_of(&head) + size_of::<PackedHead>();
        head.fields.compact();
        let exact = head.fields.retained() + size_of::<RequestHead>();
        assert!(packed + 60 < exact, "{packed} {exact}");
        assert!(size_of::<PackedHead>() <= 48 && size_of::<Option<Method>>() == 16);
    }
}
