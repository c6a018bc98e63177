//! Reading of Functions: v1beta1 and v1beta2, with the defaults and checks of OpenFunction's webhooks and conversion. Fields one level too high are taken where their meaning is plain, and named.

use super::{
    function::{
        Container, DaprTrigger, Engine, Function, HttpTrigger, NamespacedName, Output, Route, Scale, Serving, Triggers,
    },
    of_gateway::DEFAULT_GATEWAY,
    parts, workload,
};
use crate::settings::{Settings, Target};
use headgate_config::BackendProtocol;
use headgate_translate::{
    form::{Form, is_label},
    schema::{FieldPath, Fields, Problem, Reader, Report, suggestion},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The versions of Function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1beta1,
    V1beta2,
}

const PORT: u16 = 8080;
const ANY_COUNT: std::ops::RangeInclusive<usize> = 0..=usize::MAX;
const REPLICAS_MAX: i64 = i32::MAX as i64;

/// Reads a Function; what is wrong goes to the report.
pub(super) fn read(value: &Value, version: Version, report: &Report) -> Function {
    let meta = parts::read_meta(value, report);
    check_name(&meta.name, report);
    let mut function = Function {
        is_v1beta1: version == Version::V1beta1,
        version: "latest".into(),
        image: String::new(),
        image_credentials: None,
        workload_runtime: "OCIContainer".into(),
        build: None,
        serving: None,
        concurrency: 0,
        protocol: BackendProtocol::Http1,
        plugins: meta.annotations.get("plugins").and_then(|text| workload::read_plugins(text, report)),
        plugins_tracing: meta
            .annotations
            .get("plugins.tracing")
            .and_then(|text| workload::read_plugins_tracing(text, report)),
        settings: Settings::default(),
        meta,
    };
    let mut top = Reader::new(value, report).fields();
    ["apiVersion", "kind", "metadata", "status"].into_iter().for_each(|key| top.skip(key));
    if let Some(spec) = top.need("spec") {
        let mut spec = spec.fields();
        read_head(&mut function, &mut spec);
        function.build = spec.get("build").map(|at| read_build(&at, version));
        let serving = spec.get("serving").map(|at| at.fields());
        let misplaced = SERVING_FIELDS.iter().any(|key| spec.has(key));
        if serving.is_some() || misplaced {
            let places = Places { spec: &mut spec, serving, report };
            read_serving(&mut function, places, version);
        } else if function.build.is_none() {
            spec.at().error("has neither serving nor build", "write serving: {} for an HTTP function of spec.image");
        }
    }
    function
}

/// The name becomes a label of a host and the name of a Service.
fn check_name(name: &str, report: &Report) {
    let service = name.len() <= 63 && is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !name.is_empty() && !service {
        let path = FieldPath::of("metadata.name");
        let remedy = "use a-z, 0-9 and '-', at most 63, starting with a letter";
        report.add(Problem::error(
            path,
            format!("{name:?} cannot be the name of a Service, which every function gets"),
            remedy,
        ));
    }
}

fn read_head(function: &mut Function, spec: &mut Fields<'_>) {
    if let Some(version) = spec.text("version", Form::ANY).filter(|version| !version.is_empty()) {
        function.version = version;
    }
    function.image = spec.text("image", Form::ANY).unwrap_or_default();
    if let Some(credentials) = spec.get("imageCredentials") {
        let mut credentials = credentials.fields();
        function.image_credentials = credentials.text("name", Form::ANY).filter(|name| !name.is_empty());
    }
    if let Some(runtime) = spec.text("workloadRuntime", Form::ANY).filter(|runtime| !runtime.is_empty()) {
        function.workload_runtime = runtime;
    }
}

/// Building is left to OpenFunction: only what its users are known to paste is named.
fn read_build(at: &Reader<'_>, version: Version) -> Value {
    let mut build = at.fields();
    build.open();
    let params = build.get("params").filter(|_| version == Version::V1beta2);
    if let Some(params) = params {
        params
            .warn("is a field of v1beta1 and has no effect", "write build.shipwright.params: a list of {name, value}");
    }
    let shipwright = build.get("shipwright").map(|at| at.value()["params"].is_object());
    if shipwright == Some(true) {
        at.warn("has shipwright.params as a map, which OpenFunction refuses", "write a list of {name, value}");
    }
    at.value().clone()
}

/// Fields of `spec.serving` that are found directly in `spec` now and then.
const SERVING_FIELDS: &[&str] = &[
    "runtime",
    "triggers",
    "scaleOptions",
    "inputs",
    "outputs",
    "bindings",
    "pubsub",
    "states",
    "params",
    "labels",
    "annotations",
    "template",
    "timeout",
    "hooks",
    "tracing",
    "workloadType",
];

/// Where the fields of serving are looked for: in their place first, then one level higher.
struct Places<'r, 'a> {
    spec: &'r mut Fields<'a>,
    serving: Option<Fields<'a>>,
    report: &'a Report,
}

impl<'a> Places<'_, 'a> {
    fn get(&mut self, key: &'static str) -> Option<Reader<'a>> {
        self.find(key).map(|(at, _)| at)
    }

    /// The field and whether it was found one level too high.
    fn find(&mut self, key: &'static str) -> Option<(Reader<'a>, bool)> {
        let right = self.serving.as_mut().and_then(|serving| serving.get(key));
        let high = if self.spec.has(key) { self.spec.get(key) } else { None };
        match (right, high) {
            (Some(right), None) => Some((right, false)),
            (Some(right), Some(high)) => {
                let message = format!("stands one level too high and has no effect: spec.serving.{key} is there too");
                high.warn(message, format!("move it into spec.serving.{key}"));
                Some((right, false))
            }
            (None, Some(high)) => {
                let message = format!(
                    "stands one level too high: its right place is spec.serving.{key}; OpenFunction ignores it, here it is read"
                );
                high.warn(message, format!("move {key} into spec.serving"));
                Some((high, true))
            }
            (None, None) => None,
        }
    }

    fn texts(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let entries = self.get(key).map(|at| at.entries()).unwrap_or_default();
        entries.into_iter().map(|(key, at)| (key, at.text(Form::ANY))).collect()
    }

    /// A list, one element after the other; `true` where it was found one level too high.
    fn each<T>(&mut self, key: &'static str, read: impl Fn(&Reader<'a>, bool) -> Option<T>) -> Vec<T> {
        let Some((at, high)) = self.find(key) else { return Vec::new() };
        at.list(ANY_COUNT).iter().filter_map(|at| read(at, high)).collect()
    }
}

fn read_serving(function: &mut Function, mut places: Places<'_, '_>, version: Version) {
    let annotations_at = places.get("annotations");
    let mut serving = Serving {
        triggers: Triggers::default(),
        scale: Scale::default(),
        outputs: Vec::new(),
        bindings: places.get("bindings").map(|at| workload::read_components(&at)).unwrap_or_default(),
        pubsub: places.get("pubsub").map(|at| workload::read_components(&at)).unwrap_or_default(),
        states: BTreeMap::new(),
        params: places.texts("params"),
        labels: places.texts("labels"),
        annotations: annotations_at.as_ref().map(read_texts).unwrap_or_default(),
        container: Container::default(),
        pod: Value::Null,
        hooks: None,
        tracing: None,
        workload_type: "Deployment".into(),
    };
    if let Some(template) = places.get("template") {
        serving.container = workload::read_container(&template, &function.image);
        serving.pod = template.value().clone();
        if let Some(seconds) = template.value()["terminationGracePeriodSeconds"].as_u64() {
            function.settings.grace_ms = seconds.saturating_mul(1000);
        }
    }
    if let Some(timeout) = places.get("timeout") {
        match headgate_translate::duration::parse(&timeout.text(Form::ANY)) {
            Some(ms) => function.settings.start_ms = ms,
            None => timeout.warn("is not understood and has no effect", "write a duration such as 90s or 5m"),
        }
    }
    match version {
        Version::V1beta1 => read_v1beta1(function, &mut serving, &mut places),
        Version::V1beta2 => read_v1beta2(&mut serving, &mut places),
    }
    let scale = read_scale(function, &mut serving, &mut places, version);
    read_annotations(function, &mut serving, annotations_at.as_ref(), scale, places.report);
    default_triggers(&mut serving.triggers);
    check_runnable(function, &serving, places.report);
    function.serving = Some(serving);
}

fn read_texts(at: &Reader<'_>) -> BTreeMap<String, String> {
    at.entries().into_iter().map(|(key, at)| (key, at.text(Form::ANY))).collect()
}

fn read_v1beta2(serving: &mut Serving, places: &mut Places<'_, '_>) {
    for key in ["runtime", "inputs"] {
        if let Some(at) = places.get(key) {
            let remedy = if key == "runtime" {
                "leave it out: the triggers decide"
            } else {
                "write triggers.dapr, or triggers.inputs"
            };
            at.warn(format!("{key} is a field of v1beta1 and has no effect"), remedy);
        }
    }
    let (mut high_port, mut high_route) = (None, None);
    for (key, found) in [("port", &mut high_port), ("route", &mut high_route)] {
        let in_serving =
            places.serving.as_mut().filter(|serving| serving.has(key)).and_then(|serving| serving.get(key));
        let in_spec = if places.spec.has(key) { places.spec.get(key) } else { None };
        *found = in_serving.or(in_spec);
        if let Some(at) = found {
            let right = format!("spec.serving.triggers.http.{key}");
            at.warn(format!("stands too high: its right place in v1beta2 is {right}"), format!("move it to {right}"));
        }
    }
    if let Some(at) = places.get("triggers") {
        let mut triggers = at.fields();
        serving.triggers.http = triggers.get("http").map(|at| read_http(&at, places.report));
        serving.triggers.dapr = triggers.each("dapr", ANY_COUNT, workload::read_trigger);
        let inputs = triggers.list("inputs", ANY_COUNT);
        serving.triggers.inputs = inputs.iter().filter_map(workload::read_input).collect();
    }
    if high_port.is_some() || high_route.is_some() {
        let http = serving.triggers.http.get_or_insert_with(default_http);
        if let Some(at) = high_port {
            http.port = read_port(&at);
        }
        if let Some(at) = high_route.filter(|_| http.route == default_http().route) {
            http.route = read_route(&at, places.report);
        }
    }
    serving.outputs = places.each("outputs", |at, _| workload::read_output(at));
    let states = places.get("states").map(|at| at.entries()).unwrap_or_default();
    serving.states = states
        .into_iter()
        .map(|(name, at)| {
            let state = (!at.value().is_null()).then(|| at.fields().get("spec")).flatten();
            (name, state.map(|at| workload::read_component(&at)))
        })
        .collect();
    serving.hooks = places.get("hooks").map(|at| workload::read_hooks(&at));
    serving.tracing = places.get("tracing").and_then(|at| workload::read_tracing(&at));
    if let Some(kind) = places.get("workloadType") {
        serving.workload_type = kind.text(Form::ANY);
    }
}

/// Reads what differs in v1beta1 and converts it (function_conversion.go, `convertServingTo`).
fn read_v1beta1(function: &Function, serving: &mut Serving, places: &mut Places<'_, '_>) {
    let asynchronous = match places.get("runtime") {
        Some(at) => {
            let text = at.text(Form::ANY);
            if !["knative", "async"].contains(&text.as_str()) {
                at.error(format!("{text:?} is no runtime"), suggestion(&text, ["knative", "async"].into_iter()));
            }
            text == "async"
        }
        None => {
            let remedy = "write runtime: knative for HTTP, or runtime: async for Dapr inputs";
            places.report.add(Problem::error(FieldPath::of("spec.serving.runtime"), "is missing", remedy));
            false
        }
    };
    let inputs = places.each("inputs", workload::read_io);
    let outputs = places.each("outputs", workload::read_io);
    if let Some(at) = places.get("triggers").filter(|at| at.value().is_object()) {
        at.error("is a list of KEDA triggers in v1beta1", "write apiVersion: core.openfunction.io/v1beta2");
    }
    if let Some(states) = places.get("states") {
        serving.states =
            workload::read_components(&states).into_iter().map(|(name, component)| (name, Some(component))).collect();
    }
    for (field, at) in ["hooks", "tracing", "workloadType"].map(|field| (field, places.get(field))) {
        if let Some(at) = at {
            at.warn(
                format!("{field} is a field of v1beta2 and has no effect"),
                "write apiVersion: core.openfunction.io/v1beta2",
            );
        }
    }
    let http = read_v1beta1_http(places);
    if asynchronous {
        let trigger = |input: Output| DaprTrigger { component: input.component, input_name: input.output_name };
        serving.triggers.dapr = inputs.into_iter().map(trigger).collect();
    } else {
        serving.triggers.http = Some(http);
    }
    serving.outputs = declared_outputs(outputs, serving, places.report);
    serving.hooks.clone_from(&function.plugins);
    serving.tracing.clone_from(&function.plugins_tracing);
}

fn read_v1beta1_http(places: &mut Places<'_, '_>) -> HttpTrigger {
    let mut http = default_http();
    let mut low = |key: &'static str| {
        let at = places.serving.as_mut().filter(|serving| serving.has(key)).and_then(|serving| serving.get(key))?;
        at.warn(format!("stands too low: its right place in v1beta1 is spec.{key}"), format!("move it to spec.{key}"));
        Some(at)
    };
    let (low_port, low_route) = (low("port"), low("route"));
    if let Some(at) = places.spec.get("port").or(low_port) {
        http.port = read_port(&at);
    }
    if let Some(at) = places.spec.get("route").or(low_route) {
        http.route = read_route(&at, places.report);
    }
    http
}

/// Outputs whose component is declared; the conversion drops the others.
fn declared_outputs(outputs: Vec<Output>, serving: &Serving, report: &Report) -> Vec<Output> {
    let known = |output: &Output| {
        serving.bindings.contains_key(&output.component.name) || serving.pubsub.contains_key(&output.component.name)
    };
    let (kept, dropped): (Vec<Output>, Vec<Output>) = outputs.into_iter().partition(known);
    for output in dropped {
        let name = &output.component.name;
        let message =
            format!("names component {name:?}, which bindings and pubsub do not declare; OpenFunction drops it");
        report.add(Problem::warning(
            FieldPath::of("spec.serving.outputs"),
            message,
            format!("declare {name} under bindings or pubsub"),
        ));
    }
    kept
}

fn default_http() -> HttpTrigger {
    let gateway = NamespacedName::new(DEFAULT_GATEWAY, DEFAULT_GATEWAY);
    let route = Route { gateway, hostnames: None, rules: None, rules_written: Value::Null };
    HttpTrigger { port: PORT, route, engine: Engine::Knative }
}

fn read_http(at: &Reader<'_>, report: &Report) -> HttpTrigger {
    let mut http = default_http();
    let mut fields = at.fields();
    if let Some(at) = fields.get("port") {
        http.port = read_port(&at);
    }
    if let Some(at) = fields.get("route") {
        http.route = read_route(&at, report);
    }
    if let Some(at) = fields.get("engine") {
        match at.text(Form::ANY).as_str() {
            "knative" => {}
            "keda" => http.engine = Engine::Keda,
            other => at.error(format!("{other:?} is no engine"), suggestion(other, ["knative", "keda"].into_iter())),
        }
    }
    http
}

/// 0 is 8080, as the webhook has it.
fn read_port(at: &Reader<'_>) -> u16 {
    match u16::try_from(at.number(0..=65535)) {
        Ok(port) if port > 0 => port,
        _ => PORT,
    }
}

fn read_route(at: &Reader<'_>, report: &Report) -> Route {
    let mut route = default_http().route;
    let mut fields = at.fields();
    if let Some(gateway) = fields.get("gatewayRef") {
        let mut gateway = gateway.fields();
        let name = gateway.need_text("name", Form::NAME);
        route.gateway = NamespacedName::new(gateway.need_text("namespace", Form::LABEL), name);
    }
    let hostnames = fields.texts("hostnames", 0..=16, Form::HOSTNAME);
    route.hostnames = (!hostnames.is_empty()).then_some(hostnames);
    // an empty list is none: OpenFunction takes it so
    let rules = fields.get("rules").filter(|at| at.value().as_array().is_none_or(|rules| !rules.is_empty()));
    if let Some(at) = rules {
        let rules = parts::read_rules(&at, report);
        route.rules_written = if rules.is_empty() { Value::Null } else { at.value().clone() };
        route.rules = (!rules.is_empty()).then_some(rules);
    }
    route
}

/// What `scaleOptions` says: bounds where they are given, and annotations of Knative.
#[derive(Default)]
struct ScaleOptions {
    min: Option<u32>,
    max: Option<u32>,
    knative: BTreeMap<String, (String, FieldPath)>,
}

fn read_scale(
    function: &mut Function,
    serving: &mut Serving,
    places: &mut Places<'_, '_>,
    version: Version,
) -> ScaleOptions {
    let mut options = ScaleOptions::default();
    let Some(at) = places.get("scaleOptions") else { return options };
    let mut fields = at.fields();
    let count = |number: Option<i64>| number.map(|number| u32::try_from(number).unwrap_or_default());
    options.min = count(fields.number("minReplicas", 0..=REPLICAS_MAX));
    options.max = count(fields.number("maxReplicas", 0..=REPLICAS_MAX));
    let (min, max) = (options.min.unwrap_or(0), options.max.unwrap_or(10));
    if min > max {
        let path = at.path().key("minReplicas");
        let remedy = format!("write at most {max}, or a higher maxReplicas");
        places.report.add(Problem::error(path, format!("{min} is more than maxReplicas, which is {max}"), remedy));
    }
    if let Some(at) = fields.get("knative") {
        options.knative = placed_texts(&at);
    }
    if let Some(at) = fields.get("keda") {
        read_keda(function, serving, &mut options, &at, version);
    }
    options
}

fn placed_texts(at: &Reader<'_>) -> BTreeMap<String, (String, FieldPath)> {
    at.entries().into_iter().map(|(key, at)| (key, (at.text(Form::ANY), at.path().clone()))).collect()
}

/// `scaleOptions.keda`: bounds, target and cool-down are used; what is left describes scalers of KEDA.
fn read_keda(
    function: &mut Function,
    serving: &mut Serving,
    options: &mut ScaleOptions,
    at: &Reader<'_>,
    version: Version,
) {
    let mut keda = at.fields();
    keda.skip("triggers");
    let scalers = [keda.get("httpScaledObject"), keda.get("scaledObject"), keda.get("scaledJob")];
    if scalers.iter().flatten().count() > 1 {
        at.error("has more than one scaler", "keep one of httpScaledObject, scaledObject and scaledJob");
    }
    let [http, object, job] = scalers;
    if let Some(at) = http {
        let mut http = at.fields();
        if let Some(target) = http.number("targetPendingRequests", 0..=REPLICAS_MAX).filter(|target| *target > 0) {
            function.settings.target = Target::Concurrency(u32::try_from(target).unwrap_or(u32::MAX));
        }
        if let Some(seconds) = http.number("cooldownPeriod", 0..=REPLICAS_MAX) {
            function.settings.idle_ms = u64::try_from(seconds).unwrap_or_default() * 1000;
        }
    }
    for at in [object, job].into_iter().flatten() {
        let mut scaler = at.fields();
        scaler.open();
        for key in ["pollingInterval", "cooldownPeriod", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            scaler.number(key, 0..=REPLICAS_MAX);
        }
        if let Some(kind) = scaler.text("workloadType", Form::ANY).filter(|kind| !kind.is_empty()) {
            serving.workload_type = kind;
        }
        for (key, right, bound) in
            [("minReplicaCount", "minReplicas", &mut options.min), ("maxReplicaCount", "maxReplicas", &mut options.max)]
        {
            let Some(at) = scaler.get(key) else { continue };
            let count = u32::try_from(at.number(0..=REPLICAS_MAX)).unwrap_or_default();
            if version == Version::V1beta1 {
                *bound = Some(count);
            } else {
                let message =
                    format!("is a field of v1beta1: its right place in v1beta2 is spec.serving.scaleOptions.{right}");
                at.warn(message, format!("write scaleOptions.{right}"));
                bound.get_or_insert(count);
            }
        }
    }
}

/// Annotations over `scaleOptions.knative`, and `minReplicas` and `maxReplicas` over both (servingrun.go; its comment says the
/// reverse of what it does).
fn read_annotations(
    function: &mut Function,
    serving: &mut Serving,
    annotations: Option<&Reader<'_>>,
    options: ScaleOptions,
    report: &Report,
) {
    let ours = |key: &str| key.starts_with("headgate.dev/") || key.starts_with("autoscaling.knative.dev/");
    let mut placed = options.knative;
    placed.extend(annotations.map(placed_texts).unwrap_or_default());
    let place = FieldPath::of("metadata.annotations");
    let own = function.meta.annotations.iter().filter(|(key, _)| ours(key));
    placed.extend(own.map(|(key, text)| (key.clone(), (text.clone(), place.key(key.clone())))));
    function.settings.read(&placed).into_iter().for_each(|problem| report.add(problem));

    let number = |keys: &[&str]| {
        let (text, path) = keys.iter().find_map(|key| placed.get(*key))?;
        let number = text.parse::<u32>().ok();
        if number.is_none() {
            let message = format!("{text:?} is no whole number and has no effect");
            report.add(Problem::warning(path.clone(), message, "write a whole number from 0"));
        }
        number
    };
    let min =
        options.min.or_else(|| number(&["autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"]));
    let max =
        options.max.or_else(|| number(&["autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"]));
    let defaults = Scale::default();
    // 0 is no bound, as Knative has it
    let max = max.map_or(defaults.max, |max| if max == 0 { u32::MAX } else { max });
    serving.scale = Scale { min: min.unwrap_or(defaults.min).min(max), max };
    function.concurrency =
        number(&["headgate.dev/concurrency", "autoscaling.knative.dev/container-concurrency"]).unwrap_or(0);
    if let Some((text, path)) = placed.get("headgate.dev/protocol") {
        match text.as_str() {
            "http1" => {}
            "h2c" => function.protocol = BackendProtocol::Http2,
            _ => report.add(Problem::warning(path.clone(), format!("{text:?} is no protocol"), "write http1 or h2c")),
        }
    }
}

/// The mutating webhook (function_webhook.go, `Default`): without Dapr triggers there is an HTTP trigger.
fn default_triggers(triggers: &mut Triggers) {
    if triggers.dapr.is_empty() {
        triggers.http.get_or_insert_with(default_http);
    }
}

fn check_runnable(function: &Function, serving: &Serving, report: &Report) {
    if function.image.is_empty() {
        let message = if serving.container.command.is_empty() {
            "is missing, and the container function has no command: there is nothing to run"
        } else {
            "is missing, which OpenFunction refuses; a process needs none"
        };
        report.add(Problem::warning(FieldPath::of("spec.image"), message, "write the name of an image"));
    }
    let triggers = &serving.triggers;
    if triggers.http.is_some() && !triggers.dapr.is_empty() {
        let message = "has http beside dapr: here HTTP is served and the Dapr triggers call nothing";
        report.add(Problem::warning(
            FieldPath::of("spec.serving.triggers"),
            message,
            "write two functions, one for each",
        ));
    }
}
