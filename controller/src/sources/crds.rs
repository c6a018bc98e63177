//! Checks objects against the CustomResourceDefinitions that somebody gives, as an API server that has them would: schema, defaults and
//! CEL rules. It never decides what is served; that is `translate`'s, and a test shows that both agree.
//!
//! Rules about the difference to an earlier version (`oldSelf`) have nothing to compare with here and are skipped.

use super::{
    directory::{documents_of, items},
    findings::{Finding, Severity},
    tree::{self, of_file},
    yaml::{self, Parsed, Place},
};
use kube_cel::{CompiledSchema, ErrorKind, RootContext, Validator, apply_defaults, compile_schema};
use regex::Regex;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

/// The definitions of kinds, by group and kind.
#[derive(Debug, Default)]
pub struct Crds {
    kinds: BTreeMap<(String, String), Kind>,
    validator: Validator,
}

/// What a definition says against an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, empty for the object itself.
    pub field: String,
    /// What is wrong, in the API server's words where a rule has them.
    pub message: String,
    /// What to write instead, empty where the message says it.
    pub remedy: String,
    /// An error, or a warning where the rule could not be run here.
    pub severity: Severity,
}

impl Crds {
    /// Reads every CustomResourceDefinition (`apiextensions.k8s.io/v1`) below the paths; anything else there is passed over.
    #[must_use]
    pub fn read(paths: &[PathBuf]) -> (Self, Vec<Finding>) {
        let tree = tree::walk(paths);
        let (mut crds, mut findings) = (Self::default(), tree.findings);
        for found in &tree.files {
            match documents_of(&found.path) {
                Ok((text, documents)) => documents.into_iter().for_each(|parsed| match parsed {
                    Parsed::Document(document) => {
                        items(&document.value, &document.places).into_iter().for_each(|(value, _)| crds.add(value));
                    }
                    Parsed::Broken(broken) => findings.push(in_file(&found.path, &text, broken.fault)),
                }),
                Err(finding) => findings.push(*finding),
            }
        }
        if crds.kinds.is_empty() && findings.is_empty() {
            let message = "no CustomResourceDefinition of apiextensions.k8s.io/v1 is here";
            let remedy = "name the files that `kubectl get crd -o yaml` prints, or a release's config/crd folder";
            findings.extend(paths.first().map(|path| of_file(path, message, remedy)));
        }
        (crds, findings)
    }

    /// How many kinds are defined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether no kind is defined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Everything that the definitions say against the objects below the paths. Kinds without a definition are passed over, and so are
    /// documents that cannot be read, which loading the same paths tells.
    #[must_use]
    pub fn check(&self, paths: &[PathBuf]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for found in tree::walk(paths).files {
            if let Ok((text, documents)) = documents_of(&found.path) {
                self.check_documents(&found.path, &text, &documents, &mut findings);
            }
        }
        findings
    }

    /// As [`Crds::check`], for the objects of one text.
    #[must_use]
    pub fn check_text(&self, name: &Path, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.check_documents(name, text, &yaml::parse(text), &mut findings);
        findings
    }

    /// What the definition of an object's kind says against it; nothing where there is none.
    #[must_use]
    pub fn violations(&self, object: &Value) -> Vec<Violation> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let Some(kind) = self.kinds.get(&(group.to_owned(), text("kind").to_owned())) else { return Vec::new() };
        match kind.versions.get(version) {
            Some(schema) => schema.violations(object, &self.validator),
            None => {
                let served: Vec<String> = kind.versions.keys().map(|version| format!("{group}/{version}")).collect();
                vec![Violation {
                    field: "apiVersion".to_owned(),
                    message: format!("version {version} of {} is not served", text("kind")),
                    remedy: format!("write {}", served.join(" or ")),
                    severity: Severity::Error,
                }]
            }
        }
    }

    fn check_documents(&self, file: &Path, text: &str, documents: &[Parsed], findings: &mut Vec<Finding>) {
        for parsed in documents {
            let Parsed::Document(document) = parsed else { continue };
            for (object, place) in items(&document.value, &document.places) {
                findings.extend(
                    self.violations(object).into_iter().map(|violation| located(violation, file, text, object, place)),
                );
            }
        }
    }

    fn add(&mut self, value: &Value) {
        if value.get("kind").and_then(Value::as_str) != Some("CustomResourceDefinition") {
            return;
        }
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = (text("/spec/group"), text("/spec/names/kind"));
        let versions = value.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
        let served = versions.filter(|version| version.get("served") != Some(&Value::Bool(false)));
        let schemas = served.filter_map(|version| {
            let schema = version.pointer("/schema/openAPIV3Schema")?.clone();
            let version = version.get("name")?.as_str()?.to_owned();
            let root = RootContext {
                api_version: format!("{}/{version}", name.0),
                api_group: name.0.clone(),
                kind: name.1.clone(),
            };
            Some((version, Schema::new(schema, root)))
        });
        let versions = schemas.collect();
        self.kinds.insert(name, Kind { versions });
    }
}

fn located(violation: Violation, file: &Path, text: &str, object: &Value, place: &Place) -> Finding {
    let Violation { field, message, remedy, severity } = violation;
    let (found, _) = place.find(&field);
    let position = found.pointer();
    Finding {
        severity,
        file: file.to_owned(),
        position: Some(position),
        line_text: yaml::line(text, position).to_owned(),
        object: super::decode::describe(object),
        field,
        message,
        remedy,
        kept: false,
    }
}

fn in_file(file: &Path, text: &str, fault: yaml::Fault) -> Finding {
    let line_text = yaml::line(text, fault.position).to_owned();
    Finding { position: Some(fault.position), line_text, ..of_file(file, fault.message, &fault.remedy) }
}

#[derive(Debug)]
struct Kind {
    /// The served versions.
    versions: BTreeMap<String, Schema>,
}

/// The schema of one version of a kind.
struct Schema {
    schema: Value,
    rules: CompiledSchema,
    root: RootContext,
    /// By their text; those that cannot be read here are left out, so that they never refuse anything.
    patterns: HashMap<String, Regex>,
    /// What the rules say when they do not hold, by their text.
    messages: HashMap<String, String>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema").field("of", &self.root).finish_non_exhaustive()
    }
}

impl Schema {
    fn new(schema: Value, root: RootContext) -> Self {
        let (mut patterns, mut messages) = (HashMap::new(), HashMap::new());
        collect_patterns(&schema, &mut patterns);
        collect_messages(&schema, &mut messages);
        Self { rules: compile_schema(&schema), schema, root, patterns, messages }
    }

    fn violations(&self, object: &Value, validator: &Validator) -> Vec<Violation> {
        let mut object = object.clone();
        drop_nulls(&self.schema, &mut object);
        let object = apply_defaults(&self.schema, &object);
        let mut check = Check { patterns: &self.patterns, violations: Vec::new(), blocking: false };
        check.value(&self.schema, &object, "");
        // As an API server has it: rules are not run on an object whose shape they could not rely on.
        if !check.blocking
            && let Err(errors) = validator.validate_compiled_with_context(&self.rules, &object, None, Some(&self.root))
        {
            check.violations.extend(errors.into_iter().map(|error| of_rule(error, &self.messages)));
        }
        check.violations
    }
}

fn of_rule(error: kube_cel::ValidationError, messages: &HashMap<String, String>) -> Violation {
    let field = error.field_path.trim_start_matches('.').to_owned();
    let holds =
        || format!("write it so that this holds: {}", error.rule.split_whitespace().collect::<Vec<_>>().join(" "));
    let (severity, message, remedy) = match error.kind {
        ErrorKind::ValidationFailure => (Severity::Error, error.message.clone(), holds()),
        // An API server refuses the object too: the rule asks for a field that is not there.
        ErrorKind::EvaluationError => {
            (Severity::Error, messages.get(&error.rule).unwrap_or(&error.message).clone(), holds())
        }
        _ => {
            (Severity::Warning, format!("a rule of the definition could not be run: {}", error.message), String::new())
        }
    };
    Violation { field, message, remedy, severity }
}

fn collect_messages(schema: &Value, messages: &mut HashMap<String, String>) {
    match schema {
        Value::Object(fields) => {
            if let (Some(Value::String(rule)), Some(Value::String(message))) =
                (fields.get("rule"), fields.get("message"))
            {
                messages.insert(rule.clone(), message.clone());
            }
            fields.values().for_each(|part| collect_messages(part, messages));
        }
        Value::Array(items) => items.iter().for_each(|part| collect_messages(part, messages)),
        _ => {}
    }
}

fn collect_patterns(schema: &Value, patterns: &mut HashMap<String, Regex>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(pattern)) = fields.get("pattern")
                && !patterns.contains_key(pattern)
                && let Ok(regex) = Regex::new(pattern)
            {
                patterns.insert(pattern.clone(), regex);
            }
            fields.values().for_each(|part| collect_patterns(part, patterns));
        }
        Value::Array(items) => items.iter().for_each(|part| collect_patterns(part, patterns)),
        _ => {}
    }
}

/// An API server takes a null as absent where the field has a default and may not be null.
fn drop_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let part = |name: &str| property(schema, name);
            fields.retain(|name, value| {
                !(value.is_null()
                    && part(name).is_some_and(|part| part.get("default").is_some() && !flag(part, "nullable")))
            });
            for (name, value) in fields.iter_mut() {
                if let Some(part) = part(name) {
                    drop_nulls(part, value);
                }
            }
        }
        Value::Array(values) => {
            if let Some(items) = schema.get("items") {
                values.iter_mut().for_each(|value| drop_nulls(items, value));
            }
        }
        _ => {}
    }
}

fn property<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let declared = schema.get("properties").and_then(|properties| properties.get(name));
    declared.or_else(|| schema.get("additionalProperties").filter(|part| part.is_object()))
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

/// A walk over an object beside its schema.
struct Check<'s> {
    patterns: &'s HashMap<String, Regex>,
    violations: Vec<Violation>,
    blocking: bool,
}

impl Check<'_> {
    fn value(&mut self, schema: &Value, value: &Value, path: &str) {
        if value.is_null() && flag(schema, "nullable") {
            return;
        }
        if !self.typed(schema, value, path) {
            return;
        }
        self.allowed(schema, value, path);
        match value {
            Value::String(text) => self.text(schema, text, path),
            Value::Number(number) => self.number(schema, number, path),
            Value::Array(values) => self.list(schema, values, path),
            Value::Object(fields) => self.map(schema, fields, path),
            Value::Null | Value::Bool(_) => {}
        }
        self.junctors(schema, value, path);
    }

    fn typed(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        let fits = match (wanted, value) {
            ("object", Value::Object(_)) | ("array", Value::Array(_)) | ("string", Value::String(_)) => true,
            ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => true,
            ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
            ("", value) if flag(schema, "x-kubernetes-int-or-string") => {
                value.is_string() || value.is_i64() || value.is_u64()
            }
            ("", _) => true,
            _ => false,
        };
        if !fits {
            self.blocking = true;
            self.wrong(
                path,
                format!("must be {}, is {}", named(wanted), kind_of(value)),
                format!("write {}", named(wanted)),
            );
        }
        fits
    }

    fn allowed(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(Value::Array(values)) = schema.get("enum") else { return };
        if !values.contains(value) {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.wrong(path, format!("{value} is not supported"), format!("write {}", values.join(", ")));
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        self.size(schema, text.chars().count(), ["minLength", "maxLength"], "characters", path);
        if let Some(Value::String(pattern)) = schema.get("pattern")
            && self.patterns.get(pattern).is_some_and(|regex| !regex.is_match(text))
        {
            self.wrong(path, format!("{text:?} does not match {pattern}"), "write a text that matches".to_owned());
        }
        let fits = match schema.get("format").and_then(Value::as_str) {
            Some("ipv4") => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Some("ipv6") => text.parse::<std::net::Ipv6Addr>().is_ok(),
            _ => true,
        };
        if !fits {
            self.wrong(path, format!("{text:?} is no address of that kind"), "write an IP address".to_owned());
        }
    }

    fn number(&mut self, schema: &Value, number: &serde_json::Number, path: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let value = number.as_f64().unwrap_or(f64::NAN);
        let (exclusive_min, exclusive_max) = (flag(schema, "exclusiveMinimum"), flag(schema, "exclusiveMaximum"));
        if let Some(min) = bound("minimum").filter(|min| value < *min || (exclusive_min && value <= *min)) {
            self.wrong(path, format!("{number} is too small"), format!("write a number from {min}"));
        }
        if let Some(max) = bound("maximum").filter(|max| value > *max || (exclusive_max && value >= *max)) {
            self.wrong(path, format!("{number} is too large"), format!("write a number up to {max}"));
        }
        if schema.get("format").and_then(Value::as_str) == Some("int32")
            && number.as_i64().is_some_and(|value| i32::try_from(value).is_err())
        {
            self.wrong(path, format!("{number} has more than 32 bits"), format!("write a number up to {}", i32::MAX));
        }
    }

    fn list(&mut self, schema: &Value, values: &[Value], path: &str) {
        self.size(schema, values.len(), ["minItems", "maxItems"], "items", path);
        let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("map") => schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
            Some("set") => Vec::new(),
            _ => return self.items(schema, values, path),
        };
        let identity = |value: &Value| match keys.is_empty() {
            true => value.clone(),
            false => keys.iter().map(|key| value.get(key).cloned().unwrap_or_default()).collect(),
        };
        let mut seen: Vec<Value> = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let identity = identity(value);
            if seen.contains(&identity) {
                self.wrong(
                    &format!("{path}[{at}]"),
                    format!("stands in this list twice: {identity}"),
                    "keep one of the two".to_owned(),
                );
            }
            seen.push(identity);
        }
        self.items(schema, values, path);
    }

    fn items(&mut self, schema: &Value, values: &[Value], path: &str) {
        if let Some(items) = schema.get("items") {
            for (at, value) in values.iter().enumerate() {
                self.value(items, value, &format!("{path}[{at}]"));
            }
        }
    }

    fn map(&mut self, schema: &Value, fields: &Map<String, Value>, path: &str) {
        self.size(schema, fields.len(), ["minProperties", "maxProperties"], "fields", path);
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                self.blocking = true;
                self.wrong(&below(name), "is missing".to_owned(), format!("write {name}"));
            }
        }
        for (name, value) in fields {
            match property(schema, name) {
                Some(part) => self.value(part, value, &below(name)),
                None if self.may_be_unknown(schema, name, path) => {}
                None => self.violations.push(Violation {
                    field: below(name),
                    message: "is not a field of this kind".to_owned(),
                    remedy: "remove it, or see whether it belongs elsewhere".to_owned(),
                    severity: Severity::Warning,
                }),
            }
        }
    }

    /// `apiVersion`, `kind` and `metadata` are every object's, and what has no declared fields at all takes any.
    fn may_be_unknown(&self, schema: &Value, name: &str, path: &str) -> bool {
        flag(schema, "x-kubernetes-preserve-unknown-fields")
            || schema.get("additionalProperties").is_some()
            || (schema.get("properties").is_none() && (path.starts_with("metadata") || schema.get("type").is_none()))
            || (path.is_empty() && matches!(name, "apiVersion" | "kind" | "metadata"))
    }

    fn size(&mut self, schema: &Value, size: usize, [min, max]: [&str; 2], what: &str, path: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        if let Some(min) = bound(min).filter(|min| size < *min) {
            self.wrong(path, format!("has {size} {what}, at least {min} are needed"), format!("write at least {min}"));
        }
        if let Some(max) = bound(max).filter(|max| size > *max) {
            self.blocking = true;
            self.wrong(path, format!("has {size} {what}, at most {max} are allowed"), format!("write at most {max}"));
        }
    }

    fn junctors(&mut self, schema: &Value, value: &Value, path: &str) {
        let fits = |part: &Value| {
            let mut check = Check { patterns: self.patterns, violations: Vec::new(), blocking: false };
            check.value(part, value, path);
            !check.violations.iter().any(|violation| violation.severity == Severity::Error)
        };
        let parts = |name: &str| schema.get(name).and_then(Value::as_array).map(Vec::as_slice);
        let refused = parts("anyOf").is_some_and(|parts| !parts.iter().any(fits))
            || parts("oneOf").is_some_and(|parts| parts.iter().filter(|part| fits(part)).count() != 1)
            || parts("allOf").is_some_and(|parts| !parts.iter().all(fits))
            || schema.get("not").is_some_and(fits);
        if refused {
            self.wrong(
                path,
                "fits none of the forms that are allowed here".to_owned(),
                "see the description of the field".to_owned(),
            );
        }
    }

    fn wrong(&mut self, path: &str, message: String, remedy: String) {
        self.violations.push(Violation { field: path.to_owned(), message, remedy, severity: Severity::Error });
    }
}

fn named(wanted: &str) -> &'static str {
    match wanted {
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "a whole number or a text",
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
