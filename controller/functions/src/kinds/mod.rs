//! The kinds of OpenFunction, read from JSON as its API server and webhooks read them, and as forgiving as its users need. Never a client, never a status of anybody else.

mod domain;
mod function;
mod of_gateway;
mod parts;
mod read_function;
mod workload;

pub use domain::Domain;
pub use function::{
    Component, Container, DaprRef, DaprTrigger, Engine, EnvValue, EnvVar, Function, Hooks, HttpTrigger, NamespacedName,
    Output, Route, Scale, Serving, Tracing, TracingProvider, Triggers,
};
pub use of_gateway::{GatewayTarget, INTERNAL_LISTENER, OfGateway};

use headgate_translate::{
    form::Form,
    schema::{Problem, Reader, Report},
};
use serde_json::Value;

/// An object of one of the kinds of this crate.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `core.openfunction.io` Function, v1beta1 or v1beta2.
    Function(Box<Function>),
    /// `networking.openfunction.io/v1alpha1` Gateway.
    Gateway(Box<OfGateway>),
    /// `core.openfunction.io` Domain, v1alpha2 or v1beta1: of OpenFunction 0.5 and 0.6.
    Domain(Box<Domain>),
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// An object of ours, and warnings about it.
    Known(Object, Vec<Problem>),
    /// An object of a kind or version that this crate does not read.
    UnknownKind {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
    },
}

/// The group of Function.
pub const FUNCTION_GROUP: &str = "core.openfunction.io";
/// The group of OpenFunction's Gateway.
pub const OF_GATEWAY_GROUP: &str = "networking.openfunction.io";

/// Reads an object.
///
/// # Errors
/// All problems of an object that has at least one error, warnings included.
pub fn decode(value: &Value) -> Result<Decoded, Vec<Problem>> {
    let report = Report::default();
    let mut top = Reader::new(value, &report).fields();
    top.open();
    let (api_version, kind) = (top.need_text("apiVersion", Form::NAME), top.need_text("kind", Form::KIND));
    drop(top);
    if report.has_errors() {
        return Err(report.into_problems());
    }
    let object = match (api_version.as_str(), kind.as_str()) {
        ("core.openfunction.io/v1beta2", "Function") => {
            Object::Function(Box::new(read_function::read(value, read_function::Version::V1beta2, &report)))
        }
        ("core.openfunction.io/v1beta1", "Function") => {
            Object::Function(Box::new(read_function::read(value, read_function::Version::V1beta1, &report)))
        }
        ("networking.openfunction.io/v1alpha1", "Gateway") => {
            Object::Gateway(Box::new(of_gateway::read(value, &report)))
        }
        ("core.openfunction.io/v1alpha2" | "core.openfunction.io/v1beta1", "Domain") => {
            Object::Domain(Box::new(domain::read(value, &report)))
        }
        _ => return Ok(Decoded::UnknownKind { api_version, kind }),
    };
    if report.has_errors() { Err(report.into_problems()) } else { Ok(Decoded::Known(object, report.into_problems())) }
}

impl Object {
    /// Its namespace and name.
    pub fn reference(&self) -> NamespacedName {
        match self {
            Self::Function(function) => function.reference(),
            Self::Gateway(gateway) => gateway.reference(),
            Self::Domain(domain) => {
                NamespacedName::new(domain.meta.namespace.to_string(), domain.meta.name.to_string())
            }
        }
    }
}
