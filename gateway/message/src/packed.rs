//! The head of a request that is put aside: one block of the exact size, and back. Never loses a byte that the head can still show.

use crate::{Authority, Fields, Method, RequestHead, Span, Target};
use headgate_config::Scheme;

/// Spans of a head beside those of its fields: authority, host, raw target, path, query.
const OWN_SPANS: usize = 5;

/// A head in one block: its text, whole, since others may keep spans of it (the protocol of an upgrade), then where each part lies in it.
#[derive(Clone, Debug)]
pub struct PackedHead {
    method: Method,
    scheme: Scheme,
    port: Option<u16>,
    has_query: bool,
    text_bytes: u32,
    block: Box<[u8]>,
}

impl PackedHead {
    /// Packs a copy; its buffers can go back to their pool.
    pub fn of(head: &RequestHead) -> Self {
        let text = head.fields.text();
        let mut block = Vec::with_capacity(Self::bytes_of(head));
        block.extend_from_slice(text);
        let width = width(text.len());
        let RequestHead { method, scheme, authority, target, fields } = head;
        let own = [authority.text, authority.host, target.raw, target.path, target.query.unwrap_or_default()];
        for span in own.into_iter().chain(fields.spans().flat_map(|(name, value)| [name, value])) {
            for number in [span.range().start, span.len()] {
                block.extend_from_slice(&(number as u32).to_le_bytes()[..width]);
            }
        }
        Self {
            method: method.clone(),
            scheme: *scheme,
            port: authority.port,
            has_query: target.query.is_some(),
            text_bytes: text.len() as u32,
            block: block.into(),
        }
    }

    /// Bytes that the block of a head has.
    pub fn bytes_of(head: &RequestHead) -> usize {
        let text = head.fields.text().len();
        text + (OWN_SPANS + 2 * head.fields.len()) * 2 * width(text)
    }

    /// Bytes that its block has.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// The head as it was, in the buffers of a spent one.
    pub fn unpack(&self, spent: Fields) -> RequestHead {
        let (text, numbers) = self.block.split_at(self.text_bytes as usize);
        let mut fields = spent.emptied();
        fields.store(text);
        let mut numbers = numbers.chunks_exact(width(text.len())).map(|bytes| {
            let mut all = [0; 4];
            all[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(all) as usize
        });
        let mut next = || {
            let (start, len) = (numbers.next()?, numbers.next()?);
            Some(Span::new(start, start + len))
        };
        let mut own = || next().unwrap_or_default();
        let authority = Authority { text: own(), host: own(), port: self.port };
        let target = Target { raw: own(), path: own(), query: Some(own()).filter(|_| self.has_query) };
        while let (Some(name), Some(value)) = (next(), next()) {
            fields.push_span(name, value);
        }
        RequestHead { method: self.method.clone(), scheme: self.scheme, authority, target, fields }
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
