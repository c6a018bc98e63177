//! Edits of header fields: `set`, then `add`, then `remove`. Never of framing, hop-by-hop fields or the host.

use headgate_config::HeaderEdit;
use headgate_message::Fields;

/// Names that no filter may touch: they describe the connection or the message (RFC 9110 §7.6.1, RFC 9112 §6), and the host,
/// which a rewrite changes.
const NOT_EDITABLE: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A change of one field that an authorization service asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Lower-case, and one that may be edited.
    pub name: String,
    /// Without control characters.
    pub value: Vec<u8>,
    /// What becomes of fields of the name.
    pub how: How,
}

/// What becomes of fields that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// They go, whatever their spelling.
    Set,
    /// They stay.
    Add,
    /// They stay, and nothing is added.
    AddIfAbsent,
    /// They go, and where there are none nothing is added.
    SetIfPresent,
}

impl Edit {
    /// Makes the change.
    pub fn apply(&self, fields: &mut Fields) {
        let applies = match self.how {
            How::Set | How::Add => true,
            How::AddIfAbsent => !fields.has(&self.name),
            How::SetIfPresent => fields.has(&self.name),
        };
        if matches!(self.how, How::Set | How::SetIfPresent) {
            remove_like(fields, &self.name);
        }
        if applies {
            fields.push(&self.name, &self.value);
        }
    }
}

/// Removes the fields of a name, and those that some backends read as the same: CGI and its heirs take `_` for `-`.
pub fn remove_like(fields: &mut Fields, name: &str) {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    fields.remove_where(|other| other.iter().copied().map(plain).eq(name.bytes().map(plain)));
}

/// Whether a filter may write fields of this name, lower-case.
pub fn is_editable(name: &str) -> bool {
    is_token(name) && !NOT_EDITABLE.contains(&name)
}

/// Applies a vetted edit.
pub(super) fn edit(edit: &HeaderEdit, fields: &mut Fields) {
    for (name, value) in &edit.set {
        fields.set(name, value.as_bytes());
    }
    for (name, value) in &edit.add {
        fields.push(name, value.as_bytes());
    }
    for name in &edit.remove {
        fields.remove(name);
    }
}

/// The edit with lower-case names and trimmed values, or why it cannot be applied.
pub(super) fn vet(edit: HeaderEdit) -> Result<HeaderEdit, String> {
    let pair = |(name, value): (String, String)| Ok((vet_name(&name)?, vet_value(&name, &value)?));
    let pairs = |list: Vec<(String, String)>| list.into_iter().map(pair).collect::<Result<Vec<_>, String>>();
    Ok(HeaderEdit {
        set: pairs(edit.set)?,
        add: pairs(edit.add)?,
        remove: edit.remove.iter().map(|name| vet_name(name)).collect::<Result<_, _>>()?,
    })
}

/// A lower-case token that may be edited.
fn vet_name(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    if !is_token(&lower) {
        return Err(format!("{name:?} is no header name: use letters, digits and any of !#$%&'*+-.^_`|~"));
    }
    match NOT_EDITABLE.contains(&lower.as_str()) {
        true if lower == "host" => Err("the host header cannot be edited: use the hostname of a URLRewrite".to_owned()),
        true => Err(format!("the header {lower} belongs to the connection and cannot be edited: leave it out")),
        false => Ok(lower),
    }
}

fn vet_value(name: &str, value: &str) -> Result<String, String> {
    let trimmed = value.trim_matches([' ', '\t']);
    match trimmed.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
        true => Err(format!("the value of the header {name} has a control character: leave it out")),
        false => Ok(trimmed.to_owned()),
    }
}

/// Whether text is an RFC 9110 §5.6.2 token.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_then_adds_then_removes() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let made = HeaderEdit {
            set: vec![pair("my-header", "bar"), pair("new", "1")],
            add: vec![pair("my-header", "baz"), pair("gone", "2")],
            remove: vec!["gone".into(), "old".into(), "absent".into()],
        };
        let mut fields = Fields::default();
        for (name, value) in [("my-header", "foo"), ("old", "0"), ("my-header", "again"), ("kept", "x")] {
            fields.push(name, value.as_bytes());
        }
        edit(&made, &mut fields);
        let all: Vec<_> = fields.iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v))).collect();
        assert_eq!(all, ["my-header: bar", "kept: x", "new: 1", "my-header: baz"]);
    }
}
