//! The host and path templates of an OpenFunction Gateway: text with `{{.Name}}`-like references, and nothing else of Go's templates.

use std::fmt;

/// What a reference can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `.Name`: the function's name.
    Name,
    /// `.Namespace`, or `.NS` for short: the function's namespace.
    Namespace,
    /// `.Domain`: the gateway's `spec.domain`.
    Domain,
}

/// The variables of `spec.hostTemplate`. `.NS` is ours: OpenFunction 1.2 refuses it.
pub const HOST_VARIABLES: &[(&str, Variable)] = &[
    ("Name", Variable::Name),
    ("Namespace", Variable::Namespace),
    ("NS", Variable::Namespace),
    ("Domain", Variable::Domain),
];

/// The variables of `spec.pathTemplate`.
pub const PATH_VARIABLES: &[(&str, Variable)] =
    &[("Name", Variable::Name), ("Namespace", Variable::Namespace), ("NS", Variable::Namespace)];

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference(Variable),
}

/// What a template is filled with.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The function's name.
    pub name: &'a str,
    /// The function's namespace.
    pub namespace: &'a str,
    /// The gateway's domain.
    pub domain: &'a str,
}

/// Where a template is wrong and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Position in characters, from 1.
    pub position: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.position, self.message)
    }
}

impl std::error::Error for TemplateError {}

impl NameTemplate {
    /// Reads a template that may use `variables` only.
    ///
    /// # Errors
    /// An unclosed `{{`, something other than one field reference between the braces, or an unknown variable.
    pub fn parse(text: &str, variables: &[(&str, Variable)]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let position = text[..text.len() - rest.len() + open].chars().count() + 1;
            let fail = |message| TemplateError { position, message };
            let (before, after) = (&rest[..open], &rest[open + 2..]);
            let close = after.find("}}").ok_or_else(|| fail("\"{{\" is never closed by \"}}\"".to_owned()))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Reference(reference(&after[..close], variables).map_err(fail)?));
            rest = &after[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// Fills in the values.
    pub fn render(&self, values: Values<'_>) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Reference(Variable::Name) => values.name,
                Part::Reference(Variable::Namespace) => values.namespace,
                Part::Reference(Variable::Domain) => values.domain,
            })
            .collect()
    }
}

fn reference(inside: &str, variables: &[(&str, Variable)]) -> Result<Variable, String> {
    let name = inside.trim().strip_prefix('.').unwrap_or_default();
    let known = variables.iter().find(|(known, _)| *known == name);
    known.map(|(_, variable)| *variable).ok_or_else(|| {
        let list: Vec<String> = variables.iter().map(|(name, _)| format!("{{{{.{name}}}}}")).collect();
        format!("\"{{{{{inside}}}}}\" is not known here: use only {}", list.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values { name: "hello", namespace: "shop", domain: "ofn.io" };

    #[test]
    fn references_are_filled_in_with_and_without_spaces() {
        for (text, rendered) in [
            ("{{.Name}}.{{.Namespace}}.{{.Domain}}", "hello.shop.ofn.io"),
            ("{{ .Name }}-{{  .NS}}.{{.Domain }}", "hello-shop.ofn.io"),
            ("fixed.example.com", "fixed.example.com"),
            ("", ""),
            ("{{.Name}}{{.Name}}", "hellohello"),
            ("a}}b", "a}}b"),
        ] {
            let template = NameTemplate::parse(text, HOST_VARIABLES).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(template.render(VALUES), rendered, "{text}");
        }
    }

    #[test]
    fn errors_say_where_and_what_is_allowed() {
        for (text, variables, position, says) in [
            ("{{.Nam}}", HOST_VARIABLES, 1, "\"{{.Nam}}\" is not known here: use only {{.Name}}, {{.Namespace}}"),
            ("é{{.Name}}.{{Name}}", HOST_VARIABLES, 12, "\"{{Name}}\" is not known"),
            ("{{.Domain}}/x", PATH_VARIABLES, 1, "use only {{.Name}}, {{.Namespace}}, {{.NS}}"),
            ("x.{{.Name", HOST_VARIABLES, 3, "never closed"),
            ("{{if .Name}}", HOST_VARIABLES, 1, "not known here"),
            ("{{.Name | lower}}", HOST_VARIABLES, 1, "not known here"),
            ("{{}}", HOST_VARIABLES, 1, "not known here"),
        ] {
            let error = NameTemplate::parse(text, variables).expect_err(text);
            assert_eq!(error.position, position, "{text}");
            assert!(error.message.contains(says), "{text}: {error}");
        }
    }
}
