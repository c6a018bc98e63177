//! What a change costs the controller among 40,000 routes of 2,500 ListenerSets: its state machine alone, told what watches and gateways would tell it. No API server, no status is written, no time of a network is in any figure.

use crate::{Plan, objects, process, report::Row};
use headgate_config::{GatewayName, Version};
use headgate_controller::{
    cluster::{Cluster, Ground, Output},
    sources::{
        cluster::{ClusterContent, ClusterObject, ObjectChange},
        decode::Content,
        directory::{Loaded, load_text},
        watch::Directory,
    },
};
use headgate_translate::Settings;
use std::{io, path::Path, sync::Arc, time::Instant};

/// Shown at once while all are made: what an API server tells in a few hundredths of a second.
const BATCH: usize = 20;
const CLASS: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: headgate}\n\
                     spec: {controllerName: headgate.dev/gateway-controller}\n";
const PODS: [&str; 2] = ["edge-1", "edge-2"];
const GATEWAY: &str = "edge";
const GATEWAY_NAMESPACE: &str = "infra";

/// All rows.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let (namespaces, sets) = (plan.count(50, 2), plan.count(50, 5));
    let before = process::memory(std::process::id())?.resident;
    let all = all(namespaces, sets)?;
    let routes = namespaces * sets * objects::ROUTES_PER_SET;
    let what = format!("{routes} routes of {} ListenerSets", namespaces * sets);
    let mut told = Told::new();
    let begun = Instant::now();
    for batch in all.chunks(BATCH) {
        told.show(batch);
    }
    let making = begun.elapsed().as_secs_f64();
    drop(all);
    let held = (process::memory(std::process::id())?.resident - before) / 1_048_576.0;
    let count = plan.count(200, 5);
    let endpoint = |at: usize| ([127, 0, 0, 1 + (at % 200) as u8], 8080).into();
    let rows = [
        (
            "an edit of a route",
            told.mean_ms(count, |at| objects::route_of_set(0, 0, at % 16, &format!("/edited-{at}"))),
        ),
        ("other endpoints", told.mean_ms(count, |at| objects::service_of_set(0, at % sets, endpoint(1 + at)))),
        ("a new Service", told.mean_ms(count, |at| objects::service_of_set(0, sets + at, endpoint(at)))),
        ("a new ListenerSet", told.mean_ms(count, |at| objects::listener_set(0, sets + at, 443))),
        ("the first route of a ListenerSet", told.mean_ms(count, |at| objects::route_of_set(0, sets + at, 0, "/"))),
    ];
    let row = |(change, ms): (&str, f64)| {
        Row::new(format!("CPU of the controller for {change}, {what}"), ms, "ms", None)
            .note(format!("mean of {count}; what two gateways acknowledge included"))
    };
    let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
    let note = format!("shown {BATCH} objects at once");
    rows.push(Row::new(format!("CPU of the controller while all are made, {what}"), making, "s", None).note(note));
    let note = "without what it keeps of the API server's answers";
    rows.push(Row::new(format!("memory of the controller's state, {what}"), held, "MiB", None).note(note));
    Ok(rows)
}

fn all(namespaces: usize, sets: usize) -> io::Result<Vec<ObjectChange>> {
    let folder = tempfile::tempdir()?;
    objects::write_listener_sets(folder.path(), namespaces, sets, [443, 80], ([127, 0, 0, 1], 8080).into())?;
    let loaded = Directory::open(vec![folder.path().to_owned()]).loaded().clone();
    Ok(changes(&load_text(Path::new("class.yaml"), CLASS)).chain(changes(&loaded)).collect())
}

/// The objects as watches show them.
fn changes(loaded: &Loaded) -> impl Iterator<Item = ObjectChange> {
    loaded.objects.iter().filter_map(|(name, object)| {
        let content = object.kubernetes()?.clone();
        Some(ObjectChange::Upsert(Arc::new(ClusterObject {
            name: (**name).clone(),
            version: "v1",
            generation: content.meta().generation,
            content: ClusterContent::Known(Content::Kubernetes(content)),
            uid: Default::default(),
            owner: None,
            resource_version: "1".into(),
            status: Default::default(),
            appliers: Vec::new(),
            made: None,
            problems: Vec::new(),
        })))
    })
}

/// The controller, with two Pods that follow one Gateway.
struct Told {
    cluster: Cluster,
    version: u64,
}

impl Told {
    fn new() -> Self {
        let provision = headgate_provision::Settings {
            image: String::new(),
            image_pull_policy: None,
            controller: String::new(),
            authority: String::new(),
        };
        let ground = Ground { settings: Settings::default(), provision, functions: None, ingress: true };
        let mut cluster = Cluster::new(ground);
        PODS.iter().for_each(|pod| drop(cluster.connected(&gateway(), pod)));
        Self { cluster, version: 0 }
    }

    /// Shows it, and acknowledges what is published.
    fn show(&mut self, changes: &[ObjectChange]) {
        self.cluster.take(changes);
        for output in self.cluster.work(0) {
            if let Output::Publish { gateway, .. } = output {
                self.version += 1;
                self.cluster.published(&gateway, Version(self.version));
                PODS.iter().for_each(|pod| drop(self.cluster.acknowledged(&gateway, pod, Version(self.version))));
            }
        }
    }

    /// Milliseconds of each of so many changes, one after the other.
    fn mean_ms(&mut self, count: usize, change: impl Fn(usize) -> String) -> f64 {
        let shown: Vec<Vec<ObjectChange>> =
            (0..count).map(|at| changes(&load_text(Path::new("edit.yaml"), &change(at))).collect()).collect();
        let begun = Instant::now();
        shown.iter().for_each(|changes| self.show(changes));
        begun.elapsed().as_secs_f64() * 1_000.0 / count as f64
    }
}

fn gateway() -> GatewayName {
    GatewayName { namespace: GATEWAY_NAMESPACE.into(), name: GATEWAY.into() }
}
