//! Regular expressions of matches: anchored at both ends, bounded in size, compiled once per text. Never while a request waits.

use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashMap;

/// The most memory that one compiled expression may take, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// The most memory that one expression may take for its cache, per thread that uses it, in bytes.
const CACHE_BYTES_MAX: usize = 256 << 10;

/// Compiles expressions, each text once: 1,000 rules with the same expression share one program.
#[derive(Default)]
pub(crate) struct Regexes(HashMap<String, Result<Regex, String>>);

impl Regexes {
    /// The expression that must match a whole value, or what a person reads.
    pub(crate) fn get(&mut self, text: &str) -> Result<Regex, String> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let made = compile(text);
        self.0.insert(text.to_owned(), made.clone());
        made
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    // Alone first: `a)|(?:b` is no expression, though it is one between our parentheses.
    regex_syntax::parse(text).map_err(|error| advice(text, &reason(&error.to_string())))?;
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
        .map_err(|error| advice(text, &reason(&error.to_string())))
}

fn advice(text: &str, reason: &str) -> String {
    format!(
        "{text:?} is no regular expression of this gateway ({reason}): write RE2 syntax, without look-around and \
         back-references; it must match the whole value"
    )
}

/// The last line of the parser's drawing says what is wrong.
fn reason(drawing: &str) -> String {
    drawing.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_the_whole_value() {
        let mut regexes = Regexes::default();
        for (text, value, matches) in [
            ("/v[0-9]+", "/v1", true),
            ("/v[0-9]+", "/v1/x", false),
            ("/v[0-9]+", "/a/v1", false),
            ("a|b", "a", true),
            ("a|b", "ab", false),
            ("^a$", "a", true),
            ("a", "a\n", false),
        ] {
            assert_eq!(regexes.get(text).unwrap().is_match(value.as_bytes()), matches, "{text} on {value}");
        }
    }

    #[test]
    fn a_bad_or_huge_expression_is_told_not_compiled() {
        let mut regexes = Regexes::default();
        for bad in ["(", "a)|(?:b", "(?=a)", r"(a)\1", r"(\w{100}){100}"] {
            let message = regexes.get(bad).unwrap_err();
            assert!(message.contains("write RE2 syntax"), "{message}");
        }
    }
}
