//! Gateways as rows: what they listen on, where they are found, and which Pods serve them. Never what their routes say.

use super::{Ours, Sight, kubernetes, replicas, status_of, whole};
use crate::sources::cluster::ClusterObject;
use headgate_provision::GATEWAY_NAME_LABEL;
use headgate_translate::kinds::Object;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// `True`, `False`, or `Unknown` where nothing is said.
    pub programmed: String,
    /// Where it is found.
    pub addresses: Vec<String>,
    /// How many listeners it has, those of ListenerSets not among them.
    pub listeners: usize,
    /// How many of them are programmed.
    pub listeners_programmed: usize,
    /// How many routes it has accepted.
    pub routes: usize,
    /// How many Pods it is to have.
    pub wanted: u64,
    /// How many of them are ready.
    pub ready: u64,
    /// Its Pods.
    pub pods: Vec<PodRow>,
}

/// A Pod of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRow {
    /// Its name.
    pub name: String,
    /// Whether it is ready and stays.
    pub ready: bool,
    /// The version of the routes that it serves, as its controller counts; `None` where no controller could be asked.
    pub version: Option<u64>,
    /// The newest version of that controller.
    pub newest: Option<u64>,
}

impl GatewayRow {
    /// How far its ready Pods are: `current`, `1 of 2 current`, or `unknown` where no controller could be asked.
    pub fn versions(&self) -> String {
        let ready: Vec<&PodRow> = self.pods.iter().filter(|pod| pod.ready).collect();
        let known = ready.iter().filter(|pod| pod.version.is_some()).count();
        let current = ready.iter().filter(|pod| pod.is_current()).count();
        match (ready.len(), known) {
            (0, _) => "none".into(),
            (_, 0) => "unknown".into(),
            (all, _) if current == all => "current".into(),
            (all, _) => format!("{current} of {all} current"),
        }
    }
}

impl PodRow {
    /// Whether it serves the newest version.
    pub fn is_current(&self) -> bool {
        self.version.is_some_and(|version| version > 0 && Some(version) >= self.newest)
    }
}

/// All of ours that are asked for.
pub(super) fn rows(sight: &Sight<'_>, ours: &Ours) -> Vec<GatewayRow> {
    let of_ours = sight.asked().filter(|object| ours.is_gateway(&object.name.namespace, &object.name.name));
    let mut attached = BTreeMap::<_, usize>::new();
    for route in sight.all().filter(|object| !object.status.is_null()) {
        for gateway in accepting(route, sight.controller_name) {
            *attached.entry(gateway).or_default() += 1;
        }
    }
    let rows = of_ours.filter_map(|object| {
        let Some(Object::Gateway(gateway)) = kubernetes(object) else { return None };
        let status = object.status.unfold();
        let listeners = status["listeners"].as_array().map_or(&[][..], Vec::as_slice);
        let is_programmed = |listener: &&Value| status_of(&listener["conditions"], "Programmed") == "True";
        let address = |entry: &Value| entry["value"].as_str().map(str::to_owned);
        let mut row = GatewayRow {
            namespace: gateway.meta.namespace.to_string(),
            name: gateway.meta.name.to_string(),
            class: gateway.class.clone(),
            programmed: status_of(&status["conditions"], "Programmed"),
            addresses: status["addresses"].as_array().into_iter().flatten().filter_map(address).collect(),
            listeners: gateway.listeners.len(),
            listeners_programmed: listeners.iter().filter(is_programmed).count(),
            routes: attached
                .get(&(object.name.namespace.to_string(), object.name.name.to_string()))
                .copied()
                .unwrap_or_default(),
            ..GatewayRow::default()
        };
        row.look_at_workload(sight, &headgate_provision::name(&gateway.meta.name, &gateway.class));
        Some(row)
    });
    rows.collect()
}

impl GatewayRow {
    fn look_at_workload(&mut self, sight: &Sight<'_>, workload: &str) {
        for object in sight.all().filter(|object| object.name.namespace == self.namespace) {
            let Some(value) = whole(object) else { continue };
            match &*object.name.kind {
                "Deployment" if object.name.name == workload => (self.wanted, self.ready) = replicas(value),
                "Pod" if is_of(value, workload) => self.pods.push(PodRow {
                    name: object.name.name.to_string(),
                    ready: is_ready(value),
                    ..PodRow::default()
                }),
                _ => {}
            }
        }
    }
}

/// The Gateways that accept a route, by namespace and name.
fn accepting(route: &ClusterObject, controller: &str) -> BTreeSet<(String, String)> {
    let status = route.status.unfold();
    let entries = status["parents"].as_array().into_iter().flatten();
    let accepted = entries.filter(|entry| {
        entry["controllerName"] == controller
            && entry["parentRef"]["kind"].as_str().unwrap_or("Gateway") == "Gateway"
            && status_of(&entry["conditions"], "Accepted") == "True"
    });
    let name = |entry: &Value| {
        let text = |field: &str| entry["parentRef"][field].as_str().map(str::to_owned);
        (text("namespace").unwrap_or_else(|| route.name.namespace.to_string()), text("name").unwrap_or_default())
    };
    accepted.map(name).collect()
}

fn is_of(pod: &Value, workload: &str) -> bool {
    let labels = &pod["metadata"]["labels"];
    labels["app.kubernetes.io/instance"] == workload && labels[GATEWAY_NAME_LABEL].is_string()
}

fn is_ready(pod: &Value) -> bool {
    status_of(&pod["status"]["conditions"], "Ready") == "True" && pod["metadata"]["deletionTimestamp"].is_null()
}
