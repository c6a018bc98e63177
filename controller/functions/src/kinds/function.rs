//! The one `Function` that everything else works with: the shape of v1beta2, with every default written out. Never read from JSON here.

use crate::settings::Settings;
use headgate_config::BackendProtocol;
use headgate_translate::{
    kinds::{HTTPRule, ObjectMeta},
    schema::FieldPath,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `core.openfunction.io` Function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Name, namespace, annotations.
    pub meta: ObjectMeta,
    /// Whether it was written as v1beta1, whose fields stand elsewhere.
    pub is_v1beta1: bool,
    /// `spec.version`, `latest` where none is given.
    pub version: String,
    /// `spec.image`, empty where none is given.
    pub image: String,
    /// The Secret of `spec.imageCredentials`.
    pub image_credentials: Option<String>,
    /// `spec.workloadRuntime`: `OCIContainer` or `WasmEdge`.
    pub workload_runtime: String,
    /// `spec.build` as it was given; building is not done here.
    pub build: Option<Value>,
    /// How it is served; `None` for a function that is only built.
    pub serving: Option<Serving>,
    /// Requests at once per replica (`autoscaling.knative.dev/container-concurrency`); 0 is no bound.
    pub concurrency: u32,
    /// What it speaks (`headgate.dev/protocol`: `http1` or `h2c`).
    pub protocol: BackendProtocol,
    /// The annotation `plugins`.
    pub plugins: Option<Hooks>,
    /// The annotation `plugins.tracing`.
    pub plugins_tracing: Option<Tracing>,
    /// What OpenFunction has no field for.
    pub settings: Settings,
}

/// `spec.serving`.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// What calls the function.
    pub triggers: Triggers,
    /// How many replicas.
    pub scale: Scale,
    /// Dapr components that it sends to.
    pub outputs: Vec<Output>,
    /// Components by name.
    pub bindings: BTreeMap<String, Component>,
    /// Components by name.
    pub pubsub: BTreeMap<String, Component>,
    /// State stores; `None` is a component that exists already.
    pub states: BTreeMap<String, Option<Component>>,
    /// Become environment variables.
    pub params: BTreeMap<String, String>,
    /// Of the pod.
    pub labels: BTreeMap<String, String>,
    /// Of the pod.
    pub annotations: BTreeMap<String, String>,
    /// The container `function` of the template.
    pub container: Container,
    /// The rest of the pod template, as given; null where there is none.
    pub pod: Value,
    /// `spec.serving.hooks`.
    pub hooks: Option<Hooks>,
    /// `spec.serving.tracing`.
    pub tracing: Option<Tracing>,
    /// Deployment, StatefulSet or Job.
    pub workload_type: String,
}

/// `spec.serving.triggers`, after the defaults: one of `http` and `dapr` is always there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Triggers {
    /// Called by HTTP.
    pub http: Option<HttpTrigger>,
    /// Called by Dapr components.
    pub dapr: Vec<DaprTrigger>,
    /// Components that it reads.
    pub inputs: Vec<DaprRef>,
}

/// `triggers.http`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTrigger {
    /// Where the function listens; 8080 where none is given.
    pub port: u16,
    /// Where it is found.
    pub route: Route,
    /// `knative` or `keda`; both are served by the gateway's own queue and scaler.
    pub engine: Engine,
}

/// `triggers.http.engine`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The default.
    #[default]
    Knative,
    /// KEDA's HTTP add-on.
    Keda,
}

/// `triggers.http.route`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The OpenFunction Gateway.
    pub gateway: NamespacedName,
    /// Given hostnames; `None` (or an empty list) means the host template.
    pub hostnames: Option<Vec<String>>,
    /// Given rules; `None` (or an empty list) means one rule by the path template, or `/`.
    pub rules: Option<Vec<HTTPRule>>,
    /// The same as they were written; null where none are.
    pub rules_written: Value,
}

/// A namespace and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamespacedName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl NamespacedName {
    /// A reference.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A reference to a Dapr component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaprRef {
    /// The component's name.
    pub name: String,
    /// Its type; empty where it is to be looked up.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The topic, for pubsub.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
}

/// One entry of `triggers.dapr`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaprTrigger {
    /// The component.
    #[serde(flatten)]
    pub component: DaprRef,
    /// The name of a v1beta1 input.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input_name: String,
}

/// One entry of `outputs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The component.
    #[serde(flatten)]
    pub component: DaprRef,
    /// Sent with each message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What the component is to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// The name of a v1beta1 output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_name: String,
}

/// A Dapr ComponentSpec, of which only the type matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    /// Such as `bindings.kafka`.
    pub kind: String,
    /// The whole spec.
    pub spec: Value,
}

/// How many replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// At least; 0 where nothing is given.
    pub min: u32,
    /// At most; 10 where nothing is given.
    pub max: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self { min: 0, max: 10 }
    }
}

/// The container `function`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Where it runs; `None` is the image's own, or the directory of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// GET of this path tells whether it is ready; `None` where a connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_path: Option<String>,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value or where it comes from.
    pub value: EnvValue,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EnvValue {
    /// A text, in which `$(NAME)` names a variable before it.
    Text(String),
    /// `valueFrom` as given: only a cluster knows.
    From(Value),
}

/// `spec.serving.hooks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before the function.
    #[serde(default)]
    pub pre: Vec<String>,
    /// After the function.
    #[serde(default)]
    pub post: Vec<String>,
}

/// `spec.serving.tracing`, and the annotation `plugins.tracing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// Whether it traces.
    #[serde(default)]
    pub enabled: bool,
    /// Where to.
    #[serde(default)]
    pub provider: Option<TracingProvider>,
    /// Added to spans.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Carried along.
    #[serde(default)]
    pub baggage: Option<BTreeMap<String, String>>,
}

/// The provider of a tracing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingProvider {
    /// `skywalking` or `opentelemetry`.
    #[serde(default)]
    pub name: String,
    /// SkyWalking's server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub oap_server: String,
    /// OpenTelemetry's exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter: Option<BTreeMap<String, String>>,
}

impl Function {
    /// Its namespace and name.
    pub fn reference(&self) -> NamespacedName {
        NamespacedName::new(self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// Where its route is written.
    pub fn route_path(&self) -> FieldPath {
        FieldPath::of(if self.is_v1beta1 { "spec.route" } else { "spec.serving.triggers.http.route" })
    }

    /// Its HTTP trigger, if HTTP calls it.
    pub fn http(&self) -> Option<(&Serving, &HttpTrigger)> {
        let serving = self.serving.as_ref()?;
        Some((serving, serving.triggers.http.as_ref()?))
    }
}

impl Serving {
    /// The type of a component: as written at the reference, or as declared, or empty.
    pub fn component_kind<'a>(&'a self, reference: &'a DaprRef) -> &'a str {
        if !reference.kind.is_empty() {
            return &reference.kind;
        }
        let declared = self.bindings.get(&reference.name).or_else(|| self.pubsub.get(&reference.name));
        let declared = declared.or_else(|| self.states.get(&reference.name)?.as_ref());
        declared.map_or("", |component| &component.kind)
    }
}
