//! Tells kinds apart and hands each to the crate that reads it. It never judges a field itself.

use super::{findings::Severity, key_pair};
use headgate_config::Text;
use headgate_functions::kinds as functions;
use headgate_provision::Parameters;
use headgate_translate::{
    Key,
    kinds::{self, ObjectRef},
    schema::{self, Problem},
};
use imbl::OrdMap;
use serde_json::Value;
use std::borrow::Borrow;

/// As [`Outcome::Foreign`] names it.
const PARAMETERS: &str = "headgate.dev/v1alpha1 GatewayParameters";

/// What an object says, by the crate that reads its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A kind of Kubernetes or of Gateway API.
    Kubernetes(kinds::Object),
    /// A kind of OpenFunction.
    OpenFunction(functions::Object),
    /// GatewayParameters that can be read. What they say is of Pods, and nobody reads it where there are none.
    Parameters,
}

/// The name of an object as far as it can be read from one that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// What a value turned out to be.
pub enum Outcome {
    /// An object of a kind that is used, with its warnings.
    Known(ObjectRef, Content, Vec<Problem>),
    /// An object of such a kind, but broken; its name, if that can be read.
    Refused(Option<Identity>, Vec<Problem>),
    /// Of another kind, named as in `apps/v1 Deployment`, or no object of Kubernetes at all, with an empty name.
    Foreign(String),
}

/// Reads a value as a person wrote it.
pub fn decode(value: &Value) -> Outcome {
    match decode_with(value, kinds::decode) {
        Outcome::Foreign(kind) if kind == PARAMETERS => parameters(value),
        outcome => outcome,
    }
}

fn parameters(value: &Value) -> Outcome {
    let Some(identity) = identity(value) else {
        let problem = Problem::error(schema::FieldPath::of("metadata.name"), "is missing", "name the object");
        return Outcome::Refused(None, vec![problem]);
    };
    match Parameters::decode(value) {
        Ok(_) => {
            let namespace = identity.namespace.as_deref().unwrap_or("default");
            let name = ObjectRef::new(&identity.group, &identity.kind, namespace, &identity.name);
            Outcome::Known(name, Content::Parameters, Vec::new())
        }
        Err(problems) => Outcome::Refused(Some(identity), problems),
    }
}

/// Reads a value that an API server has let through: what this version does not know of enumerations is kept.
pub fn decode_admitted(value: &Value) -> Outcome {
    decode_with(value, kinds::decode_admitted)
}

fn decode_with(value: &Value, read: fn(&Value) -> Result<kinds::Decoded, Vec<Problem>>) -> Outcome {
    if value.get("apiVersion").is_none() && value.get("kind").is_none() {
        return Outcome::Foreign(String::new());
    }
    let kubernetes = match read(value) {
        Ok(kinds::Decoded::Known(object, warnings)) => {
            if let kinds::Object::Secret(secret) = &object
                && let Some(problem) = key_pair::problem(secret)
            {
                return Outcome::Refused(identity(value), vec![problem]);
            }
            return Outcome::Known(object.reference(), Content::Kubernetes(object), warnings);
        }
        Ok(kinds::Decoded::UnknownKind { api_version, kind }) => format!("{api_version} {kind}"),
        Err(problems) => return Outcome::Refused(identity(value), problems),
    };
    match functions::decode(value) {
        Ok(functions::Decoded::Known(object, warnings)) => {
            Outcome::Known(reference(&object), Content::OpenFunction(object), warnings)
        }
        Ok(functions::Decoded::UnknownKind { .. }) => Outcome::Foreign(kubernetes),
        Err(problems) => Outcome::Refused(identity(value), problems),
    }
}

fn reference(object: &functions::Object) -> ObjectRef {
    let (group, kind) = match object {
        functions::Object::Function(_) => (functions::FUNCTION_GROUP, "Function"),
        functions::Object::Gateway(_) => (functions::OF_GATEWAY_GROUP, "Gateway"),
        functions::Object::Domain(_) => (functions::FUNCTION_GROUP, "Domain"),
    };
    let name = object.reference();
    ObjectRef::new(group, kind, &name.namespace, &name.name)
}

/// The name of a value, if it says enough.
pub fn identity(value: &Value) -> Option<Identity> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let metadata = value.get("metadata")?;
    let version = text(value.get("apiVersion"))?;
    Some(Identity {
        group: version.split_once('/').map_or("", |(group, _)| group).to_owned(),
        kind: text(value.get("kind"))?,
        namespace: text(metadata.get("namespace")),
        name: text(metadata.get("name"))?,
    })
}

/// The name of a value for people, as `ObjectRef` prints it: `Kind namespace/name`, as much of it as can be read.
pub fn describe(value: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let metadata = value.get("metadata");
    let (kind, name) = (text(value.get("kind")), text(metadata.and_then(|metadata| metadata.get("name"))));
    let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
    match (name.as_str(), namespace.as_str()) {
        ("", _) => kind,
        (name, "") => format!("{kind} {name}"),
        (name, namespace) => format!("{kind} {namespace}/{name}"),
    }
}

/// How the fault of an object that cannot be used is told where it is referred to: `Secret default/tls` is before it.
pub fn unusable(field: &str, message: &str) -> Text {
    Text::from(format!("cannot be used, since {field} {message}"))
}

/// Whether a problem is about a field that should not be there, so that its name is to be shown rather than its value.
pub fn is_about_key(problem: &Problem) -> bool {
    ["is not a field", "is a field of", "stands too"].iter().any(|start| problem.message.starts_with(start))
}

impl Identity {
    /// Namespace and name of a Secret; `None` for another kind.
    pub fn secret(&self) -> Option<Key> {
        let namespace = self.namespace.as_deref().unwrap_or("default");
        (self.group.is_empty() && self.kind == "Secret").then(|| (namespace.into(), self.name.as_str().into()))
    }

    /// The object of this name among those known.
    pub fn find<'o, K: Ord + Borrow<ObjectRef>, T>(&self, objects: &'o OrdMap<K, T>) -> Option<&'o T> {
        let named = |namespace: &str| ObjectRef::new(&self.group, &self.kind, namespace, &self.name);
        // Kinds without a namespace have none in their name, whatever the object says.
        objects.get(&named(self.namespace.as_deref().unwrap_or("default"))).or_else(|| objects.get(&named("")))
    }
}

impl From<schema::Severity> for Severity {
    fn from(severity: schema::Severity) -> Self {
        match severity {
            schema::Severity::Error => Self::Error,
            schema::Severity::Warning => Self::Warning,
        }
    }
}
