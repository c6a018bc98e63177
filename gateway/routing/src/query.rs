//! Query parameters as a matcher sees them: percent-decoded, `+` as a space. Never a map, never a copy of what is plain.

use std::borrow::Cow;

/// The encoded value of the first parameter of a name; a parameter without `=` has the empty value.
pub(crate) fn first<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let named = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    named.into_iter().find(|(encoded, _)| is(encoded, name)).map(|(_, value)| value)
}

/// Whether `encoded` spells `plain`.
pub(crate) fn is(encoded: &str, plain: &str) -> bool {
    decoded(encoded).eq(plain.bytes())
}

/// What `encoded` spells; borrows where nothing is encoded.
pub(crate) fn decode(encoded: &str) -> Cow<'_, [u8]> {
    if encoded.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        decoded(encoded).collect::<Vec<u8>>().into()
    } else {
        encoded.as_bytes().into()
    }
}

/// A `%` without two hexadecimal digits stands for itself, as in the URL standard (application/x-www-form-urlencoded).
fn decoded(encoded: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded.as_bytes();
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match (byte, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, tail @ ..]) => Some(hex(*high, *low).map_or(b'%', |value| {
                rest = tail;
                value
            })),
            _ => Some(byte),
        }
    })
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_name_counts() {
        for (query, name, value) in [
            ("a=1&a=2", "a", Some("1")),
            ("ab=1&a=2", "a", Some("2")),
            ("a", "a", Some("")),
            ("a=b=c", "a", Some("b=c")),
            ("%61=1", "a", Some("1")),
            ("a+b=1", "a b", Some("1")),
            ("", "a", None),
            ("&&a=1", "a", Some("1")),
            ("A=1", "a", None),
        ] {
            assert_eq!(first(query, name), value, "{query}");
        }
    }

    #[test]
    fn values_are_compared_decoded() {
        for (encoded, plain) in [
            ("a", "a"),
            ("a%20b", "a b"),
            ("a+b", "a b"),
            ("%2b", "+"),
            ("%C3%A9", "é"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
        ] {
            assert!(is(encoded, plain), "{encoded}");
            assert_eq!(decode(encoded).as_ref(), plain.as_bytes(), "{encoded}");
        }
        assert!(!is("a%20", "a"));
        assert!(!is("a", "a "));
        assert!(matches!(decode("plain"), Cow::Borrowed(_)));
    }
}
