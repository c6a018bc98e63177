//! One ordered list of (name, value), as slices of what was read. Names are lower-case tokens; never framing, never hop-by-hop.

/// A slice of the owning buffer: offset and length in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The span of `start..end`; a head is far below 4 GiB by its limits.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, len: (end - start) as u32 }
    }

    /// The slice of `text`.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.start as usize + self.len as usize]
    }

    /// Where it lies in the buffer.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
}

/// Header or trailer fields and the buffer that they are slices of.
///
/// Invariants that the parsers and `push` keep: names are lower-case tokens (RFC 9110 §5.1); values hold no CR, LF or NUL and
/// no blank at either end.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    list: Vec<Field>,
}

impl Fields {
    /// Takes a buffer of read bytes, with no field yet, and a (possibly pooled) list's capacity.
    pub fn over(text: Vec<u8>) -> Self {
        Self { text, list: Vec::new() }
    }

    /// The same over the spent parts of another, so that nothing is allocated.
    pub fn reuse(text: Vec<u8>, mut spent: Fields) -> Self {
        spent.list.clear();
        Self { text, list: spent.list }
    }

    /// The same buffer and list, with nothing in them.
    pub fn emptied(mut self) -> Self {
        self.text.clear();
        self.list.clear();
        self
    }

    /// The buffer.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The buffer itself, for a parser that lower-cases names in place.
    pub fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Gives the buffer back to a pool.
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// Appends bytes to the buffer and says where they are.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        Span::new(start, self.text.len())
    }

    /// Adds a field that lies in the buffer already. The caller is a strict parser, which has checked the invariants.
    pub fn push_span(&mut self, name: Span, value: Span) {
        self.list.push(Field { name, value });
    }

    /// Where name and value of each field lie in the buffer, in order.
    pub fn spans(&self) -> impl Iterator<Item = (Span, Span)> + '_ {
        self.list.iter().map(|field| (field.name, field.value))
    }

    /// Adds a field at the end. `name` must be a lower-case token and `value` free of CR, LF and NUL.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        debug_assert!(is_token(name.as_bytes()) && is_value(value), "{name}: {value:?}");
        let (name, value) = self.store_line(name, value.len(), |text| text.extend_from_slice(value));
        self.push_span(name, value);
    }

    /// Adds a field whose value lies in the buffer already.
    pub fn push_again(&mut self, name: &str, value: Span) {
        let (name, value) = self.store_line(name, value.len(), |text| text.extend_from_within(value.range()));
        self.push_span(name, value);
    }

    /// Stores a field as HTTP/1 writes it, so that fields that lie side by side are written in one piece.
    fn store_line(&mut self, name: &str, len: usize, put: impl FnOnce(&mut Vec<u8>)) -> (Span, Span) {
        let text = &mut self.text;
        let start = text.len();
        let middle = start + name.len();
        text.reserve(name.len() + len + 4);
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        put(text);
        text.extend_from_slice(b"\r\n");
        (Span::new(start, middle), Span::new(middle + 2, middle + 2 + len))
    }

    /// Removes every field of a name (lower-case).
    pub fn remove(&mut self, name: &str) {
        let text = &self.text;
        self.list.retain(|field| field.name.of(text) != name.as_bytes());
    }

    /// Removes every field whose name `goes` says.
    pub fn remove_where(&mut self, mut goes: impl FnMut(&[u8]) -> bool) {
        let text = &self.text;
        self.list.retain(|field| !goes(field.name.of(text)));
    }

    /// Replaces all fields of a name by one, in the place of the first.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let (own, value) = self.store_line(name, value.len(), |text| text.extend_from_slice(value));
        let text = &self.text;
        let mut seen = false;
        self.list.retain_mut(|field| {
            if field.name.of(text) != name.as_bytes() {
                return true;
            }
            *field = Field { name: own, value };
            !std::mem::replace(&mut seen, true)
        });
        if !seen {
            self.push_span(own, value);
        }
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.bytes().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value of a name, where it is text.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of a name, in order.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> + 'f {
        self.bytes().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// The values of a name as one, joined with `, ` (RFC 9110 §5.3); borrows where there is only one.
    pub fn joined<'f>(&'f self, name: &'f str) -> Option<std::borrow::Cow<'f, [u8]>> {
        let mut values = self.all(name);
        let first = values.next()?;
        Some(match values.next() {
            None => first.into(),
            Some(second) => {
                let mut all = [first, second].join(&b", "[..]);
                values.for_each(|value| {
                    all.extend_from_slice(b", ");
                    all.extend_from_slice(value);
                });
                all.into()
            }
        })
    }

    /// Whether there is a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.bytes().map(|(name, value)| (as_str(name), value))
    }

    /// The same where names need not be text: on the way of each request, since to look at bytes as text is to check them again.
    pub fn bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (field.name.of(&self.text), field.value.of(&self.text)))
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes kept: what a parked request is charged for.
    pub fn retained(&self) -> usize {
        self.text.capacity() + self.list.capacity() * size_of::<Field>()
    }

    /// Capacity of the buffer in bytes, which tells a pool whether it is worth keeping.
    pub fn text_capacity(&self) -> usize {
        self.text.capacity()
    }

    /// Moves to buffers of the exact size and hands the old one over, for a pool. Shrinking in place would leave each waiting request
    /// alone on a page of its own.
    pub fn compact(&mut self) -> Vec<u8> {
        self.list = self.list.as_slice().into();
        let exact = self.text.as_slice().into();
        std::mem::replace(&mut self.text, exact)
    }
}

/// Whether bytes are an RFC 9110 token.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether bytes can be a field's value on one line: no CR, LF or NUL.
pub fn is_value(bytes: &[u8]) -> bool {
    !bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

fn as_str(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_in_place_and_add_keeps_order() {
        let mut fields = Fields::default();
        fields.push("a", b"1");
        fields.push("b", b"2");
        fields.push("a", b"3");
        fields.set("a", b"4");
        fields.set("c", b"5");
        let all: Vec<_> = fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        assert_eq!(all, [("a".into(), b"4".to_vec()), ("b".into(), b"2".to_vec()), ("c".into(), b"5".to_vec())]);
        fields.remove("b");
        assert!(!fields.has("b"));
    }

    #[test]
    fn several_values_join_with_a_comma() {
        let mut fields = Fields::default();
        fields.push("via", b"a");
        assert_eq!(fields.joined("via").unwrap().as_ref(), b"a");
        fields.push("via", b"b");
        fields.push("via", b"c");
        assert_eq!(fields.joined("via").unwrap().as_ref(), b"a, b, c");
    }
}
