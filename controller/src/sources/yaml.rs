//! Reads YAML (and JSON, which is YAML) into values that know where each field stands. It reads text only: no file, no kind, and it never guesses.
//!
//! What is read is YAML 1.2 with the core schema: `true`/`false` are booleans, `yes`, `no`, `on` and `off` are text. kubectl reads YAML 1.1,
//! where these are booleans and `010` is eight; a document that would mean something else there gets a [`Hint`]. Two equal keys are an error,
//! merge keys (`<<`) are understood, and anchors are expanded within [`ALIAS_NODES_MAX`] and [`ALIAS_BYTES_MAX`]. A document that is broken
//! costs nothing but itself: reading goes on at the next `---`.

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};
use std::{borrow::Cow, collections::HashMap};

/// How long a text may be, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// How deep maps and lists may nest.
pub const DEPTH_MAX: usize = 100;
/// How many values the aliases of a document may add to it.
pub const ALIAS_NODES_MAX: usize = 100_000;
/// How much text the aliases of a document may add to it, in bytes.
pub const ALIAS_BYTES_MAX: usize = 4 << 20;

/// A place in a text: line and column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// A document of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// It could be read.
    Document(Document),
    /// It could not.
    Broken(Broken),
}

/// A document that could be read; one without content is not told at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Where each of its fields stands.
    pub places: Place,
    /// What another reader of YAML would understand differently.
    pub hints: Vec<Hint>,
}

/// A document that could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// Why.
    pub fault: Fault,
    /// What was complete before the fault, so that the object can be named: unfinished maps and lists are left out.
    pub before: Value,
    /// Whether the fault is that the text ended too early, as in a file that is half written.
    pub cut_off: bool,
}

/// Something wrong at one place, in words for whoever wrote the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

/// A value that kubectl (YAML 1.1) would read differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Where it stands.
    pub position: Position,
    /// As it is written.
    pub written: String,
    /// As YAML 1.1 reads it.
    pub elsewhere: String,
}

/// Where a value stands, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its key stands; none for items of a list and for the document.
    pub key: Option<Position>,
    /// Where the value starts.
    pub value: Position,
    /// Its parts.
    pub parts: Parts,
}

/// The parts of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    /// A scalar has none.
    Scalar,
    /// The fields of a map, in the order of the text.
    Fields(Vec<(String, Place)>),
    /// The items of a list.
    Items(Vec<Place>),
}

/// Reads every document of a text. A text beyond [`TEXT_BYTES_MAX`] is one broken document.
#[must_use]
pub fn parse(text: &str) -> Vec<Parsed> {
    if text.len() > TEXT_BYTES_MAX {
        return vec![Parsed::Broken(too_long())];
    }
    let mut parser = Parser::new_from_str_with_options(
        text,
        granit_parser::options! { flow_nesting_limit: DEPTH_MAX + 1, block_nesting_limit: DEPTH_MAX + 1, emit_comments: false },
    );
    let mut documents = Vec::new();
    loop {
        let mut tree = Tree::default();
        match tree.read_document(&mut parser) {
            Ok(Read::End) => return documents,
            Ok(Read::Empty) => {}
            Ok(Read::Whole) => documents.extend(tree.finish().map(Parsed::Document)),
            Err(stop) => {
                documents.push(Parsed::Broken(tree.broken(&stop, text)));
                if !parser.proceed_next_document().unwrap_or(false) {
                    return documents;
                }
            }
        }
    }
}

/// The line of a text that a position names, without its line break; empty beyond the end.
#[must_use]
pub fn line(text: &str, position: Position) -> &str {
    text.lines().nth(position.line as usize - 1).unwrap_or_default()
}

impl Place {
    /// The place of the field at `path` (`spec.rules[0].name`, `metadata.labels["a.b/c"]`), or of the nearest field that holds it; the
    /// second says whether the field itself is there.
    #[must_use]
    pub fn find(&self, path: &str) -> (&Self, bool) {
        let mut place = self;
        let mut rest = path.trim_start_matches(['$', '.']);
        while !rest.is_empty() {
            let Some((next, left)) = place.step(rest) else { return (place, false) };
            (place, rest) = (next, left.strip_prefix('.').unwrap_or(left));
        }
        (place, true)
    }

    /// Where a caret helps most: at a scalar itself, at the key of what spans lines.
    #[must_use]
    pub fn pointer(&self) -> Position {
        match (&self.parts, self.key) {
            (Parts::Fields(_) | Parts::Items(_), Some(key)) => key,
            _ => self.value,
        }
    }

    fn step<'p>(&self, path: &'p str) -> Option<(&Self, &'p str)> {
        match &self.parts {
            Parts::Scalar => None,
            Parts::Items(items) => {
                let (index, rest) = bracketed(path)?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }
            Parts::Fields(fields) => {
                if let Some((name, rest)) = bracketed(path) {
                    let name = name.trim_matches(['"', '\'']);
                    return fields.iter().find(|(key, _)| key == name).map(|(_, place)| (place, rest));
                }
                let named =
                    |key: &str| path.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
                // A key may contain dots (labels, annotations): the longest that fits is the one meant.
                let fitting = fields.iter().filter_map(|(key, place)| Some((key.len(), place, named(key)?)));
                fitting.max_by_key(|(length, _, _)| *length).map(|(_, place, rest)| (place, rest))
            }
        }
    }
}

fn bracketed(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_prefix('[')?;
    if let Some(quote @ ('"' | '\'')) = inner.chars().next() {
        let end = inner[1..].find(quote)? + 1;
        return Some((&inner[1..end], inner[end + 1..].strip_prefix(']')?));
    }
    inner.split_once(']')
}

/// A document while it is read: what is open, what is anchored, what was counted.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    hints: Vec<Hint>,
    alias_nodes: usize,
    alias_bytes: usize,
}

/// A value with its place, and what copying it would cost.
#[derive(Clone)]
struct Node {
    value: Value,
    place: Place,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// A map or list that has begun.
struct Open {
    anchor: usize,
    node: Node,
    key: Option<Key>,
    merged: Vec<(Value, Parts)>,
}

struct Key {
    name: String,
    position: Position,
    merge: bool,
}

enum Read {
    Whole,
    Empty,
    End,
}

/// Why reading stopped.
enum Stop {
    Syntax(ScanError),
    Fault(Fault),
}

impl Tree {
    fn read_document<'t>(&mut self, parser: &mut Parser<'t, StrInput<'t>>) -> Result<Read, Stop> {
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(Stop::Syntax)?;
            match event {
                Event::StreamEnd => return Ok(Read::End),
                Event::DocumentEnd => return Ok(if self.is_empty() { Read::Empty } else { Read::Whole }),
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(text, style, anchor, tag.as_deref(), span).map_err(Stop::Fault)?;
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.begin(Value::Array(Vec::new()), Parts::Items(Vec::new()), anchor, tag.as_deref(), span)?;
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.begin(Value::Object(Map::new()), Parts::Fields(Vec::new()), anchor, tag.as_deref(), span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end().map_err(Stop::Fault)?,
                Event::Alias(id) => self.alias(id, position(span.start)).map_err(Stop::Fault)?,
                _ => {}
            }
        }
        Ok(Read::End)
    }

    fn is_empty(&self) -> bool {
        self.root.as_ref().is_none_or(|root| root.value.is_null())
    }

    fn finish(self) -> Option<Document> {
        let root = self.root?;
        Some(Document { value: root.value, places: root.place, hints: self.hints })
    }

    fn broken(mut self, stop: &Stop, text: &str) -> Broken {
        // Only the fields of the document's own map can name it, and of these only what was closed.
        let before = if self.open.is_empty() { Value::Null } else { self.open.swap_remove(0).node.value };
        let (mut fault, ran_out) = match stop {
            Stop::Fault(fault) => (fault.clone(), false),
            Stop::Syntax(error) => (explain(error), ran_out(error.kind())),
        };
        if line(text, fault.position).contains("{{") {
            fault = template(fault.position);
        }
        let cut_off = ran_out || fault.position.line as usize >= text.lines().count();
        Broken { fault, before, cut_off }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Fault> {
        let at = position(span.start);
        let tag_at = span.tag_start().map_or(at, position);
        let plain = style == ScalarStyle::Plain;
        if self.expects_key() {
            let open = self.open.last_mut().expect("a key is expected in an open map only");
            if plain && text.is_empty() {
                return Err(fault(at, "a key is missing before `:`", "write `name: value`"));
            }
            open.key = Some(Key { merge: plain && text == "<<", name: text.into_owned(), position: at });
            return Ok(());
        }
        let value = match tag {
            Some(tag) => tagged(&text, tag, tag_at)?,
            None if plain => self.plain(&text, at)?,
            None => Value::String(text.into_owned()),
        };
        let bytes = value.as_str().map_or(0, str::len);
        self.close(Node { value, place: scalar_place(at), nodes: 1, bytes, depth: 0 }, anchor)
    }

    fn plain(&mut self, text: &str, at: Position) -> Result<Value, Fault> {
        if let Some(elsewhere) = in_yaml_1_1(text) {
            self.hints.push(Hint { position: at, written: text.to_owned(), elsewhere });
        }
        resolve(text).ok_or_else(|| {
            fault(
                at,
                format!("`{text}` is no number that JSON has"),
                format!("write a finite number, or \"{text}\" in quotes"),
            )
        })
    }

    fn begin(&mut self, value: Value, parts: Parts, anchor: usize, tag: Option<&Tag>, span: Span) -> Result<(), Stop> {
        let at = position(span.start);
        if let Some(tag) = tag.filter(|tag| tag.is_custom()) {
            return Err(Stop::Fault(unknown_tag(tag, span.tag_start().map_or(at, position))));
        }
        if self.expects_key() {
            return Err(Stop::Fault(fault(
                at,
                "a map or list stands where a key must be",
                "write a name before the `:`; text that begins with `{` or `[` needs quotes",
            )));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Stop::Fault(too_deep(at)));
        }
        let place = Place { key: None, value: at, parts };
        let node = Node { value, place, nodes: 1, bytes: 0, depth: 0 };
        self.open.push(Open { anchor, node, key: None, merged: Vec::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Open { anchor, mut node, merged, .. } = self.open.pop().expect("the parser closes only what it opened");
        for part in merged {
            merge(&mut node, part);
        }
        self.close(node, anchor)
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), Fault> {
        let Some(node) = self.anchors.get(&id) else {
            return Err(fault(
                at,
                "this alias stands inside what it names, so it would never end",
                "write the value out",
            ));
        };
        self.alias_nodes += node.nodes;
        self.alias_bytes += node.bytes;
        if self.alias_nodes > ALIAS_NODES_MAX || self.alias_bytes > ALIAS_BYTES_MAX {
            let message = format!(
                "the aliases of this document unfold to more than {ALIAS_NODES_MAX} values or {} MiB",
                ALIAS_BYTES_MAX >> 20
            );
            return Err(fault(at, message, "write the values out, or split the document"));
        }
        if self.open.len() + node.depth > DEPTH_MAX {
            return Err(too_deep(at));
        }
        if self.expects_key() {
            let Value::String(name) = node.value.clone() else {
                return Err(fault(at, "this alias names no text, so it cannot be a key", "write the key out"));
            };
            let open = self.open.last_mut().expect("a key is expected in an open map only");
            open.key = Some(Key { name, position: at, merge: false });
            return Ok(());
        }
        // A finding should point at where the value is used, so the copy keeps its own inner places and gets this one outside.
        let mut copy = node.clone();
        copy.place.value = at;
        self.close(copy, 0)
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.key.is_none() && open.node.value.is_object())
    }

    /// Puts a finished value where it belongs.
    fn close(&mut self, mut node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.node.nodes += node.nodes;
        open.node.bytes += node.bytes;
        open.node.depth = open.node.depth.max(node.depth + 1);
        if let Some(Key { merge: true, position, .. }) = open.key {
            open.key = None;
            return collect_merged(&mut open.merged, node, position);
        }
        match (&mut open.node.value, &mut open.node.place.parts, open.key.take()) {
            (Value::Array(items), Parts::Items(places), _) => {
                items.push(node.value);
                places.push(node.place);
            }
            (Value::Object(fields), Parts::Fields(places), Some(key)) => {
                if fields.contains_key(&key.name) {
                    return Err(twice(&key, places));
                }
                open.node.bytes += key.name.len();
                node.place.key = Some(key.position);
                fields.insert(key.name.clone(), node.value);
                places.push((key.name, node.place));
            }
            _ => unreachable!("only maps and lists are open, and a map has a key here"),
        }
        Ok(())
    }
}

fn collect_merged(merged: &mut Vec<(Value, Parts)>, node: Node, at: Position) -> Result<(), Fault> {
    match (node.value, node.place.parts) {
        (value @ Value::Object(_), parts) => merged.push((value, parts)),
        (Value::Array(items), Parts::Items(places)) if items.iter().all(Value::is_object) => {
            merged.extend(items.into_iter().zip(places).map(|(value, place)| (value, place.parts)));
        }
        _ => {
            return Err(fault(
                at,
                "`<<` merges maps only",
                "write `<<: *anchor` where the anchor stands at a map, or quote the key: \"<<\"",
            ));
        }
    }
    Ok(())
}

/// Fields of the map itself win, then those of the earlier merge (yaml.org/type/merge.html).
fn merge(into: &mut Node, (value, parts): (Value, Parts)) {
    let (Value::Object(fields), Parts::Fields(places)) = (&mut into.value, &mut into.place.parts) else { return };
    let (Value::Object(values), Parts::Fields(from)) = (value, parts) else { return };
    for ((name, value), (_, place)) in values.into_iter().zip(from) {
        if !fields.contains_key(&name) {
            fields.insert(name.clone(), value);
            places.push((name, place));
        }
    }
}

fn twice(key: &Key, places: &[(String, Place)]) -> Fault {
    let first = places.iter().find(|(name, _)| *name == key.name).and_then(|(_, place)| place.key);
    let line = first.map_or(0, |first| first.line);
    fault(
        key.position,
        format!("the key `{}` stands twice in this map, first on line {line}", key.name),
        "keep one of the two",
    )
}

fn scalar_place(at: Position) -> Place {
    Place { key: None, value: at, parts: Parts::Scalar }
}

/// The core schema of YAML 1.2.2 §10.3.2; `None` for what JSON cannot say (`.inf`, `.nan`).
fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return None;
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Some(Value::String(text.to_owned()));
    }
    if let Some(number) = integer(text, unsigned) {
        return Some(Value::Number(number));
    }
    if !is_float(unsigned) {
        return Some(Value::String(text.to_owned()));
    }
    Some(Value::Number(Number::from_f64(text.parse().ok()?)?))
}

fn integer(text: &str, unsigned: &str) -> Option<Number> {
    let radix = |prefix: &str, radix| u64::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(number.into());
    }
    if !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

/// `[0-9]*(\.[0-9]*)?([eE][-+]?[0-9]+)?` with at least one digit before the exponent.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

/// What YAML 1.1 makes of plain text that 1.2 reads differently, or `None` where both agree.
fn in_yaml_1_1(text: &str) -> Option<String> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => return Some("true".to_owned()),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => return Some("false".to_owned()),
        _ => {}
    }
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |unsigned| ("-", unsigned));
    if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let bare = unsigned.replace('_', "");
    let written = |number: u64| Some(format!("{sign}{number}"));
    if bare.len() > 1 && bare.starts_with('0') && bare.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return written(u64::from_str_radix(&bare, 8).ok()?);
    }
    if let Some(binary) = bare.strip_prefix("0b") {
        return written(u64::from_str_radix(binary, 2).ok()?);
    }
    (bare.len() < unsigned.len()).then(|| bare.parse().ok().and_then(written)).flatten()
}

fn tagged(text: &str, tag: &Tag, at: Position) -> Result<Value, Fault> {
    let value = match tag.core_suffix() {
        Some("str") => Some(Value::String(text.to_owned())),
        Some("null") => resolve(text).filter(Value::is_null),
        Some("bool") => resolve(text).filter(Value::is_boolean),
        Some("int") => resolve(text).filter(|value| value.is_i64() || value.is_u64()),
        Some("float") => resolve(text).filter(Value::is_number),
        // `!` alone asks for the text as it is written (YAML 1.2.2 §6.9.1).
        None if tag.original() == "!" => Some(Value::String(text.to_owned())),
        _ => return Err(unknown_tag(tag, at)),
    };
    value.ok_or_else(|| {
        fault(
            at,
            format!("`{text}` is not what its tag `{}` says", tag.original()),
            "remove the tag, or write a value that fits it",
        )
    })
}

fn unknown_tag(tag: &Tag, at: Position) -> Fault {
    fault(
        at,
        format!("the tag `{}` means nothing here", tag.original()),
        "remove the tag; text that begins with `!` needs quotes",
    )
}

fn too_deep(at: Position) -> Fault {
    fault(
        at,
        format!("maps and lists nest deeper than {DEPTH_MAX}"),
        "no object of Kubernetes is that deep: look for a bracket or an indentation too many",
    )
}

fn too_long() -> Broken {
    let message = format!("the text is longer than {} MiB", TEXT_BYTES_MAX >> 20);
    let fault = fault(Position { line: 1, column: 1 }, message, "split it into several files");
    Broken { fault, before: Value::Null, cut_off: false }
}

fn fault(position: Position, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
    Fault { position, message: message.into(), remedy: remedy.into() }
}

fn position(mark: Marker) -> Position {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: narrow(mark.line().max(1)), column: narrow(mark.col() + 1) }
}

/// What the parser says, in words for whoever wrote the text.
fn explain(error: &ScanError) -> Fault {
    let (message, remedy) = words(error.kind());
    let message = if message.is_empty() { error.info() } else { message };
    fault(position(*error.marker()), message, remedy)
}

fn template(at: Position) -> Fault {
    fault(at, "this is a template, not YAML", "render it first (`helm template`), or quote text that contains `{{`")
}

/// Message and remedy of the faults that people make; an empty message stands for the parser's own.
fn words(kind: &ErrorKind) -> (String, &'static str) {
    use ErrorKind as Kind;
    let (message, remedy) = match kind {
        Kind::UnclosedQuotedScalar | Kind::DocumentIndicatorInQuotedScalar => (
            "the quote that opens here is never closed",
            "close it; a quote inside of quotes is written \\\" or, in single quotes, ''",
        ),
        Kind::TabInBlockIndentation | Kind::TabInIndentation | Kind::TabNotAllowed | Kind::TabAtBlockScalarStart => {
            ("a tab stands where YAML wants spaces", "indent with spaces")
        }
        Kind::MappingValueNotAllowed => (
            "a `:` stands where no key can be",
            "quote text that contains `: `, or put the key on a line of its own, indented like its neighbours",
        ),
        Kind::SimpleKeyExpected => {
            ("a key without its `:`", "write `name: value`, or indent the line if it continues the text above")
        }
        Kind::ExpectedBlockMappingKey | Kind::InvalidIndentation => (
            "this does not fit the fields above it",
            "indent it exactly as the field that it stands beside, and write `name: value`",
        ),
        Kind::ExpectedBlockSequenceEntry => (
            "this does not fit the list above it",
            "begin an item with `- `, and indent the fields of an item by the same number of spaces",
        ),
        Kind::ExpectedDocumentStart => {
            ("this stands outside of the document", "indent it as the first line, or begin another document with `---`")
        }
        Kind::ExpectedFlowMappingSeparator => {
            ("a `,` or `}` is missing before this", "write `{name: value, name: value}`")
        }
        Kind::ExpectedFlowSequenceSeparator | Kind::InvalidColonPlacement => {
            ("a `,` or `]` is missing before this", "write `[value, value]`; a map inside needs its own `{}`")
        }
        Kind::UnexpectedEofFlowMapping | Kind::UnexpectedEofImplicitFlowMapping | Kind::ExpectedNodeContent => {
            ("a value is missing here", "write the value; no two commas may follow each other")
        }
        Kind::UnexpectedEofFlowSequence => ("the list is never closed", "close it with `]`"),
        Kind::UnknownAnchor => (
            "this alias names no anchor that stands before it",
            "define it with `&name` first; text that begins with `*` needs quotes",
        ),
        Kind::MissingAnchorOrAliasName => {
            ("`&` or `*` without a name", "text that begins with `&` or `*` needs quotes")
        }
        Kind::UnknownQuotedScalarEscape => (
            "no such escape exists in double quotes",
            "write `\\\\` for a backslash, or use single quotes, where nothing is escaped",
        ),
        Kind::InvalidTrailingSingleQuotedScalar => {
            ("text follows after the closing quote", "a quote inside of single quotes is written twice: 'it''s'")
        }
        Kind::InvalidTrailingDoubleQuotedScalar => {
            ("text follows after the closing quote", "a quote inside of double quotes is written \\\"")
        }
        Kind::BlockSequenceEntryNotAllowed => (
            "a list cannot begin on the line of its key",
            "put `- ` on the next line, indented, or write `[value, value]`",
        ),
        Kind::BlockEntryInFlowCollection => ("`- ` has no meaning inside of brackets", "write `[value, value]`"),
        Kind::InvalidBlockScalarHeader => {
            ("only an indentation and `+` or `-` may follow `|` and `>`", "begin the text on the next line")
        }
        Kind::MisplacedFlowCollectionEnd => {
            ("a bracket closes what was never opened", "remove it; text with brackets needs quotes")
        }
        Kind::RecursionLimitExceeded => {
            ("maps and lists nest too deep", "look for a bracket or an indentation too many")
        }
        Kind::UnclosedFlowCollection { open } => {
            return (
                format!("the `{open}` that opens here is never closed"),
                "close it, and put a comma between its parts",
            );
        }
        Kind::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{close}` closes what `{open}` opened"), "close each bracket with its own kind");
        }
        Kind::UnexpectedCharacter { character } if character.is_control() => {
            return (
                format!("the character U+{:04X} cannot stand in YAML", u32::from(*character)),
                "remove it, or write it as an escape in double quotes",
            );
        }
        Kind::UnexpectedCharacter { character } => {
            return (format!("text cannot begin with `{character}`"), "put the text in quotes");
        }
        _ => ("", "see yaml.org/spec/1.2.2; text with signs that YAML uses needs quotes"),
    };
    (message.to_owned(), remedy)
}

/// Whether the parser ran out of text.
fn ran_out(kind: &ErrorKind) -> bool {
    use ErrorKind as Kind;
    matches!(
        kind,
        Kind::UnclosedQuotedScalar
            | Kind::UnclosedFlowCollection { .. }
            | Kind::UnexpectedEof
            | Kind::UnexpectedEofBlockMapping
            | Kind::UnexpectedEofBlockSequence
            | Kind::UnexpectedEofFlowMapping
            | Kind::UnexpectedEofFlowSequence
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Value {
        match parse(text).as_slice() {
            [Parsed::Document(document)] => document.value.clone(),
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    fn fault(text: &str) -> Fault {
        match parse(text).into_iter().find_map(|parsed| match parsed {
            Parsed::Broken(broken) => Some(broken.fault),
            Parsed::Document(_) => None,
        }) {
            Some(fault) => fault,
            None => panic!("{text:?} is no fault"),
        }
    }

    #[test]
    fn scalars_are_read_by_the_core_schema() {
        let cases = [
            ("a: yes", json!("yes")),
            ("a: on", json!("on")),
            ("a: true", json!(true)),
            ("a: False", json!(false)),
            ("a: ~", json!(null)),
            ("a:", json!(null)),
            ("a: 8080", json!(8080)),
            ("a: -1", json!(-1)),
            ("a: +7", json!(7)),
            ("a: 010", json!(10)),
            ("a: 0x1F", json!(31)),
            ("a: 0o17", json!(15)),
            ("a: 18446744073709551615", json!(u64::MAX)),
            ("a: 1.5", json!(1.5)),
            ("a: .5", json!(0.5)),
            ("a: 1e3", json!(1000.0)),
            ("a: 1.2.3", json!("1.2.3")),
            ("a: 10s", json!("10s")),
            ("a: 1_000", json!("1_000")),
            ("a: e5", json!("e5")),
            ("a: '80'", json!("80")),
            ("a: \"true\"", json!("true")),
            ("a: !!str 80", json!("80")),
            ("a: ! 80", json!("80")),
            ("a: !!int \"80\"", json!(80)),
            ("a: |\n  x\n  y\n", json!("x\ny\n")),
            ("a: >-\n  x\n  y\n", json!("x y")),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), json!({ "a": expected }), "{text}");
        }
    }

    #[test]
    fn what_kubectl_reads_differently_is_hinted() {
        let cases = [
            ("on", Some("true")),
            ("No", Some("false")),
            ("010", Some("8")),
            ("1_000", Some("1000")),
            ("0b11", Some("3")),
        ];
        let same = ["true", "10", "0", "\"on\"", "onwards", "09", "1.5", "_1"].map(|text| (text, None));
        for (text, expected) in cases.into_iter().chain(same) {
            let [Parsed::Document(document)] = &parse(&format!("a: {text}"))[..] else { panic!("{text}") };
            assert_eq!(document.hints.first().map(|hint| hint.elsewhere.as_str()), expected, "{text}");
        }
    }

    #[test]
    fn json_is_yaml() {
        let text = "{\n\t\"a\": [1, \"x\\u0041\\/\", {\"b\": null}],\n\t\"c\":true\n}\n";
        assert_eq!(value(text), json!({"a": [1, "xA/", {"b": null}], "c": true}));
    }

    #[test]
    fn documents_without_content_are_left_out() {
        let text = "# nothing\n---\na: 1\n---\n---\n# a comment\n---\nb: 2\n...\n";
        let values: Vec<Value> = parse(text)
            .into_iter()
            .map(|parsed| match parsed {
                Parsed::Document(document) => document.value,
                Parsed::Broken(broken) => panic!("{broken:?}"),
            })
            .collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    }

    #[test]
    fn a_broken_document_costs_only_itself_and_says_what_it_could() {
        let text = "a: 1\n---\nkind: X\nmetadata:\n  name: n\nspec: [1, 2\n---\nb: 2\n";
        let parsed = parse(text);
        assert!(matches!(&parsed[0], Parsed::Document(document) if document.value == json!({"a": 1})));
        let Parsed::Broken(broken) = &parsed[1] else { panic!("{:?}", parsed[1]) };
        assert_eq!(broken.before, json!({"kind": "X", "metadata": {"name": "n"}}));
        assert_eq!(broken.fault.position, Position { line: 6, column: 7 });
        assert!(matches!(&parsed[2], Parsed::Document(document) if document.value == json!({"b": 2})));
    }

    #[test]
    fn merge_keys_give_way_to_the_map_and_to_earlier_ones() {
        let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 0\nd: {<<: *a}\n";
        assert_eq!(value(text)["c"], json!({"x": 0, "y": 1, "z": 2}));
        assert_eq!(value(text)["d"], json!({"x": 1, "y": 1}));
        assert_eq!(value("\"<<\": 1"), json!({"<<": 1}));
    }

    #[test]
    fn faults_of_our_own_name_the_place() {
        let cases = [
            ("a: 1\nb: 2\na: 3\n", (3, 1), "the key `a` stands twice in this map, first on line 1"),
            ("a: &a [*a]\n", (1, 8), "this alias stands inside what it names, so it would never end"),
            ("a: .inf\n", (1, 4), "`.inf` is no number that JSON has"),
            ("a: !foo x\n", (1, 4), "the tag `!foo` means nothing here"),
            ("{a: 1}: b\n", (1, 1), "a map or list stands where a key must be"),
            ("<<: 1\n", (1, 1), "`<<` merges maps only"),
        ];
        for (text, (line, column), message) in cases {
            let fault = fault(text);
            assert_eq!((fault.position, fault.message.as_str()), (Position { line, column }, message), "{text}");
        }
    }

    #[test]
    fn aliases_unfold_within_bounds() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
        }
        assert!(fault(&text).message.contains("unfold to more than 100000 values"), "{:?}", fault(&text));
        let large = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 9].join(", "));
        assert!(fault(&large).message.contains("or 4 MiB"));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        for (open, close) in [("[", "]"), ("{a: ", "}")] {
            let deep = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            assert!(matches!(parse(&deep(DEPTH_MAX))[..], [Parsed::Document(_)]));
            assert!(fault(&deep(DEPTH_MAX + 1)).message.contains("nest"), "{open}");
        }
        let block: String = (0..=DEPTH_MAX).map(|level| format!("{}a:\n", "  ".repeat(level))).collect();
        assert!(fault(&block).message.contains("nest"));
        assert!(fault(&"#".repeat(TEXT_BYTES_MAX + 1)).message.contains("longer than 4 MiB"));
    }

    #[test]
    fn places_are_found_by_path() {
        let text = "metadata:\n  labels:\n    app.kubernetes.io/name: x\nspec:\n  rules:\n  - name: a\n    ports: [80, 81]\n  - name: b\n";
        let [Parsed::Document(document)] = &parse(text)[..] else { panic!() };
        let cases = [
            ("", (1, 1), true),
            ("spec.rules[1].name", (8, 11), true),
            (".spec.rules[0].ports[1]", (7, 17), true),
            ("spec.rules[0].ports", (7, 5), true),
            ("metadata.labels[app.kubernetes.io/name]", (3, 29), true),
            ("metadata.labels[\"app.kubernetes.io/name\"]", (3, 29), true),
            ("metadata.labels.app.kubernetes.io/name", (3, 29), true),
            ("spec.rules[1].backendRefs[0].port", (8, 5), false),
            ("spec.rules[7]", (5, 3), false),
            ("spec.rule", (4, 1), false),
        ];
        for (path, (line, column), there) in cases {
            let (place, exact) = document.places.find(path);
            assert_eq!((place.pointer(), exact), (Position { line, column }, there), "{path}");
        }
    }

    #[test]
    fn a_text_that_ends_too_early_is_told_apart() {
        let cases = [
            ("a: [1, 2", true),
            ("a: \"x", true),
            ("a: 1\nb", true),
            ("a:\n  b: {c", true),
            ("a: b: c\nd: 1\n", false),
            ("a: 1\n\tb: 1\nc: 1\n", false),
        ];
        for (text, expected) in cases {
            let [Parsed::Broken(broken)] = &parse(text)[..] else { panic!("{text}") };
            assert_eq!(broken.cut_off, expected, "{text}: {:?}", broken.fault);
        }
    }
}
