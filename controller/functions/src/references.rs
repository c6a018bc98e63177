//! `$(NAME)` in command lines and environments, as Kubernetes fills it in. Never fails: what is not known stays as it is.

/// A text with its references filled in: `$$` is one `$`, and where `reference` knows what follows a `$`, its value stands in
/// its place. `reference` gives the value and what is behind it.
///
/// Source: Kubernetes API, Container.command and EnvVar.value.
pub fn fill_in<'v>(text: &str, reference: impl for<'t> Fn(&'t str) -> Option<(&'v str, &'t str)>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((value, after)) = reference(rest) {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// The value of `(NAME)` at the start of a text, and what is behind it.
pub fn in_parentheses<'v, 't>(
    text: &'t str,
    value: impl FnOnce(&str) -> Option<&'v str>,
) -> Option<(&'v str, &'t str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    Some((value(name)?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_filled_in_as_kubernetes_does() {
        let value = |name: &str| (name == "A").then_some("b c");
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)", "b c"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$", "$"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("${A}", "${A}"),
            ("$A ü $(A)$(A)", "$A ü b cb c"),
        ] {
            assert_eq!(fill_in(text, |rest| in_parentheses(rest, value)), expected, "{text}");
        }
    }
}
