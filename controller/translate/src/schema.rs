//! Reading of objects as an API server reads them: a `Reader` walks a JSON value and collects every `Problem` with its field path. It never stops at the first one.

use crate::form::Form;
use headgate_config::Text;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{borrow::Cow, cell::RefCell, collections::BTreeMap, fmt, ops::RangeInclusive};

/// One step of a path into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A field of an object, or a key of a map.
    Key(Cow<'static, str>),
    /// An element of a list, from 0.
    Index(usize),
}

/// Where in an object something stands; prints as `spec.rules[0].matches[1].path.value`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The path of a field below this one.
    #[must_use]
    pub fn key(&self, key: impl Into<Cow<'static, str>>) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.into()));
        Self(steps)
    }

    /// The path of an element below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// The path of fields joined by dots: `FieldPath::of("spec.rules")`.
    pub fn of(dotted: &'static str) -> Self {
        Self(dotted.split('.').map(|key| Step::Key(Cow::Borrowed(key))).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.contains(['.', '/']) => write!(f, "[{key}]")?,
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// An API server would refuse the object, and so do we, as a whole.
    Error,
    /// The object is taken; something in it has no effect, or not the one that was meant.
    Warning,
}

/// What is wrong in an object, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub path: FieldPath,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    /// A problem for which an object is refused.
    pub fn error(path: FieldPath, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path, message: message.into(), remedy: remedy.into() }
    }

    /// A problem with which an object is taken.
    pub fn warning(path: FieldPath, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, path, message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.message, self.remedy)
    }
}

/// Collects problems while an object is read.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
    admitted: bool,
}

impl Report {
    /// For an object that an API server has let through, perhaps with definitions newer than ours: values of enumerations
    /// that we do not know are warnings then.
    pub fn of_admitted() -> Self {
        Self { problems: RefCell::default(), admitted: true }
    }

    /// Whether the object is one of those.
    pub fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Adds one.
    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Whether an object that was read must be refused.
    pub fn has_errors(&self) -> bool {
        self.problems.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All that was collected, in the order of reading.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// An enumeration of the API that keeps what it does not know. Made by `choices!`.
pub trait Choice: Sized {
    /// The values of this version, as the API writes them.
    const NAMES: &'static [&'static str];

    /// The value of a text, `Unknown` if there is none.
    fn of(text: &str) -> Self;
}

/// Declares an enumeration that ends in `Unknown(String)`; the first value is its default.
#[macro_export]
macro_rules! choices {
    ($(#[$outer:meta])* $name:ident { $first:ident = $first_text:literal, $($value:ident = $text:literal),* $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            #[doc = concat!("`", $first_text, "`.")]
            #[default]
            $first,
            $(#[doc = concat!("`", $text, "`.")] $value,)*
            /// A value of a later version.
            Unknown(String),
        }

        impl $name {
            /// As the API writes it.
            #[allow(dead_code, reason = "not every enumeration is written back")]
            pub fn as_str(&self) -> &str {
                match self {
                    Self::$first => $first_text,
                    $(Self::$value => $text,)*
                    Self::Unknown(text) => text,
                }
            }
        }

        impl $crate::schema::Choice for $name {
            const NAMES: &'static [&'static str] = &[$first_text, $($text),*];

            fn of(text: &str) -> Self {
                match text {
                    $first_text => Self::$first,
                    $($text => Self::$value,)*
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }
    };
}

/// A value, its place, and where problems go.
///
/// Its verbs return a default after they have reported an error: the object is refused anyway, and reading goes on to find more.
#[derive(Clone)]
pub struct Reader<'a> {
    value: &'a Value,
    path: FieldPath,
    report: &'a Report,
}

impl<'a> Reader<'a> {
    /// Starts at the top of an object.
    pub fn new(value: &'a Value, report: &'a Report) -> Self {
        Self { value, path: FieldPath::default(), report }
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Its place.
    pub fn path(&self) -> &FieldPath {
        &self.path
    }

    /// Where problems go.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Reports an error here.
    pub fn error(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.report.add(Problem::error(self.path.clone(), message, remedy));
    }

    /// Reports a warning here.
    pub fn warn(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.report.add(Problem::warning(self.path.clone(), message, remedy));
    }

    /// Its fields; anything but an object is an error.
    pub fn fields(&self) -> Fields<'a> {
        let map = self.value.as_object();
        if map.is_none() {
            self.wrong_type("an object (indented `name: value` lines)");
        }
        Fields { map, at: self.clone(), known: Vec::new(), open: false }
    }

    /// Its elements, whose number must be within `bounds`.
    pub fn list(&self, bounds: RangeInclusive<usize>) -> Vec<Reader<'a>> {
        let Some(list) = self.value.as_array() else {
            self.wrong_type("a list (lines that start with `-`)");
            return Vec::new();
        };
        if list.len() < *bounds.start() {
            self.error(
                format!("has {} elements, at least {} are needed", list.len(), bounds.start()),
                "add what is missing",
            );
        }
        if list.len() > *bounds.end() {
            let remedy = format!("keep at most {}; move the rest into another object", bounds.end());
            self.error(format!("has {} elements, {} are allowed", list.len(), bounds.end()), remedy);
        }
        let element = |(index, value)| Reader { value, path: self.path.index(index), report: self.report };
        list.iter().enumerate().map(element).collect()
    }

    /// Its entries, where keys are free (labels, `data`).
    pub fn entries(&self) -> Vec<(String, Reader<'a>)> {
        let Some(map) = self.value.as_object() else {
            self.wrong_type("a map (indented `name: value` lines)");
            return Vec::new();
        };
        let entry = |(key, value): (&String, &'a Value)| {
            (key.clone(), Reader { value, path: self.path.key(key.clone()), report: self.report })
        };
        map.iter().map(entry).collect()
    }

    /// Its text, which must have the form.
    pub fn text(&self, form: Form) -> String {
        let Some(text) = self.value.as_str() else {
            self.wrong_type("a text (in quotes if it looks like a number or a truth value)");
            return String::new();
        };
        if let Err(message) = form.check(text) {
            self.error(message, form.remedy);
        }
        text.to_owned()
    }

    /// Its text as one that many objects have.
    pub fn name(&self, form: Form) -> Text {
        self.text(form).into()
    }

    /// Its whole number, which must be within `bounds`.
    pub fn number(&self, bounds: RangeInclusive<i64>) -> i64 {
        let Some(number) = self.value.as_i64() else {
            self.wrong_type("a whole number (without quotes)");
            return *bounds.start();
        };
        if !bounds.contains(&number) {
            let remedy = match *bounds.end() {
                i64::MAX => format!("write at least {}", bounds.start()),
                end => format!("write {} to {end}", bounds.start()),
            };
            self.error(format!("{number} is out of range"), remedy);
        }
        number
    }

    /// Its truth value.
    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or_else(|| {
            self.wrong_type("true or false (without quotes)");
            false
        })
    }

    /// Its value of an enumeration.
    pub fn choice<T: Choice>(&self) -> T {
        let text = self.text(Form::ANY);
        if self.value.is_string() && !T::NAMES.contains(&text.as_str()) {
            let message = format!("{text:?} is not one of {}", T::NAMES.join(", "));
            if self.report.admitted {
                self.warn(message, "this version does not know it; see the conditions for what that means");
            } else {
                self.error(message, suggestion(&text, T::NAMES.iter().copied()));
            }
        }
        T::of(&text)
    }

    fn wrong_type(&self, wanted: &str) {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.error(format!("is {found}"), format!("write {wanted}"));
    }
}

/// The fields of an object. What is null is absent, as in the API. Fields that nobody asked for are reported when it is dropped,
/// so that no reader can forget to.
pub struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    at: Reader<'a>,
    known: Vec<&'static str>,
    open: bool,
}

impl<'a> Fields<'a> {
    /// The object as a whole, to report at.
    pub fn at(&self) -> &Reader<'a> {
        &self.at
    }

    /// Allows fields that nobody asks for: for kinds of which we model a part.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Whether a field is set.
    pub fn has(&self, key: &str) -> bool {
        self.map.and_then(|map| map.get(key)).is_some_and(|value| !value.is_null())
    }

    /// Marks a field as known without reading it.
    pub fn skip(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// A field, if it is set.
    pub fn get(&mut self, key: &'static str) -> Option<Reader<'a>> {
        self.known.push(key);
        let value = self.map?.get(key).filter(|value| !value.is_null())?;
        Some(Reader { value, path: self.at.path.key(key), report: self.at.report })
    }

    /// A field that must be set.
    pub fn need(&mut self, key: &'static str) -> Option<Reader<'a>> {
        let found = self.get(key);
        if found.is_none() && self.map.is_some() {
            self.at.report.add(Problem::error(self.at.path.key(key), "is missing", format!("write {key}: …")));
        }
        found
    }

    /// A text, if set.
    pub fn text(&mut self, key: &'static str, form: Form) -> Option<String> {
        self.get(key).map(|at| at.text(form))
    }

    /// A text that must be set.
    pub fn need_text(&mut self, key: &'static str, form: Form) -> String {
        self.need(key).map(|at| at.text(form)).unwrap_or_default()
    }

    /// A text that many objects have, if set.
    pub fn name(&mut self, key: &'static str, form: Form) -> Option<Text> {
        self.get(key).map(|at| at.name(form))
    }

    /// One that must be set.
    pub fn need_name(&mut self, key: &'static str, form: Form) -> Text {
        self.need(key).map(|at| at.name(form)).unwrap_or_default()
    }

    /// A number, if set.
    pub fn number(&mut self, key: &'static str, bounds: RangeInclusive<i64>) -> Option<i64> {
        self.get(key).map(|at| at.number(bounds))
    }

    /// A port, 1 to 65535, if set.
    pub fn port(&mut self, key: &'static str) -> Option<u16> {
        self.number(key, 1..=65535).map(|port| u16::try_from(port).unwrap_or_default())
    }

    /// A port that must be set.
    pub fn need_port(&mut self, key: &'static str) -> u16 {
        self.need(key).map(|at| at.number(1..=65535)).and_then(|port| port.try_into().ok()).unwrap_or_default()
    }

    /// A truth value, if set.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.get(key).map(|at| at.flag())
    }

    /// A value of an enumeration, if set.
    pub fn choice<T: Choice>(&mut self, key: &'static str) -> Option<T> {
        self.get(key).map(|at| at.choice())
    }

    /// The elements of a list, none if it is not set.
    pub fn list(&mut self, key: &'static str, bounds: RangeInclusive<usize>) -> Vec<Reader<'a>> {
        self.get(key).map(|at| at.list(bounds)).unwrap_or_default()
    }

    /// Each element of a list, none if it is not set.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
        read: impl Fn(&Reader<'a>) -> T,
    ) -> Vec<T> {
        self.list(key, bounds).iter().map(read).collect()
    }

    /// The texts of a list, none if it is not set.
    pub fn texts(&mut self, key: &'static str, bounds: RangeInclusive<usize>, form: Form) -> Vec<String> {
        self.each(key, bounds, |at| at.text(form))
    }

    /// A map of texts, empty if it is not set.
    pub fn map(&mut self, key: &'static str, form: Form) -> BTreeMap<String, String> {
        let entries = self.get(key).map(|at| at.entries()).unwrap_or_default();
        entries.into_iter().map(|(key, at)| (key, at.text(form))).collect()
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        let Some(map) = self.map.filter(|_| !self.open) else { return };
        for key in map.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let remedy = suggestion(key, self.known.iter().copied());
            let path = self.at.path.key(key.clone());
            self.at.report.add(Problem::warning(path, "is not a field of this object and has no effect", remedy));
        }
    }
}

/// What to write instead of a word: the nearest of the words that are allowed, or all of them.
pub fn suggestion(word: &str, allowed: impl Iterator<Item = &'static str> + Clone) -> String {
    match nearest(word, allowed.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("write one of {}", allowed.collect::<Vec<_>>().join(", ")),
    }
}

/// The word nearest to `word`, if it is near enough to be meant: other case, up to a third of its letters wrong, or a part of it.
pub fn nearest(word: &str, allowed: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let word = word.to_lowercase();
    let score = |candidate: &str| match candidate {
        part if word.len() >= 4 && part.contains(&word) => 1,
        other => distance(&word, other),
    };
    let scored = allowed.map(|candidate| (score(&candidate.to_lowercase()), candidate));
    let (errors, best) = scored.min_by_key(|(errors, _)| *errors)?;
    (errors <= (best.chars().count() / 3).clamp(1, 4)).then_some(best)
}

/// Letters to insert, delete, replace or swap with the next to make one word of the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_read_as_people_write_them() {
        let path = FieldPath::of("spec.rules").index(0).key("matches").index(1).key("path").key("value");
        assert_eq!(path.to_string(), "spec.rules[0].matches[1].path.value");
        assert_eq!(FieldPath::of("metadata.labels").key("a.io/b").to_string(), "metadata.labels[a.io/b]");
    }

    #[test]
    fn a_field_that_nobody_asked_for_is_a_warning_with_the_nearest_name() {
        let (value, report) = (json!({"hostnmaes": []}), Report::default());
        Reader::new(&value, &report).fields().skip("hostnames");
        let problems = report.into_problems();
        assert_eq!(problems[0].severity, Severity::Warning);
        assert_eq!(problems[0].remedy, "did you mean hostnames?");
    }

    #[test]
    fn reading_goes_on_after_an_error() {
        let (value, report) = (json!({"port": "80", "weight": 2_000_000, "gone": null}), Report::default());
        let mut fields = Reader::new(&value, &report).fields();
        fields.port("port");
        fields.number("weight", 0..=1_000_000);
        fields.need("gone");
        drop(fields);
        let texts: Vec<String> = report.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "port: is a text; write a whole number (without quotes)",
                "weight: 2000000 is out of range; write 0 to 1000000",
                "gone: is missing; write gone: …",
            ]
        );
    }
}
