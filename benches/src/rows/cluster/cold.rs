//! What a cold start costs in a cluster, and which part of it is whose. It starts one Deployment again and again, and judges nothing.

use super::{
    Seen,
    bed::{Bed, NAMESPACE, application, watch},
    note, seen_at,
};
use crate::{
    load::{self, Asker},
    numbers::percentile,
    report::Row,
};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::{io, net::SocketAddr, time::Instant};

const NAME: &str = "cold";
const HOST: &str = "cold.example";

/// What a watch shows of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// The Deployment is to have a replica.
    Replicas,
    /// There is a Pod.
    Pod,
    /// It has an address: its process runs, or is about to.
    Address,
}

/// Asks for an application that does not run, `starts` times; each part counts from the request.
pub async fn rows(bed: &Bed, starts: usize) -> io::Result<Vec<Row>> {
    for object in objects() {
        bed.create(&object).await?;
    }
    let seen = watch_starts(bed);
    let mut parts: [Vec<f64>; 4] = Default::default();
    for _ in 0..starts {
        until_cold(bed).await?;
        seen.lock().expect("nothing panics while it holds this lock").clear();
        let address = bed.address;
        let begun = Instant::now();
        let answered = tokio::task::spawn_blocking(move || ask(address)).await.map_err(io::Error::other)??;
        let ms = |at: Instant| at.saturating_duration_since(begun).as_secs_f64() * 1_000.0;
        for (part, values) in [Part::Replicas, Part::Pod, Part::Address].into_iter().zip(&mut parts) {
            values.push(ms(seen_at(&seen, part).await?));
        }
        parts[3].push(ms(answered));
    }
    let names = ["replicas are written", "there is a Pod", "the Pod has an address", "the answer"];
    let row = |(name, values): (&str, &Vec<f64>)| {
        let note = format!("from the request; p99 {:.0} ms, {starts} starts", percentile(values, 0.99));
        Row::new(format!("cold start in a cluster until {name}, p50"), percentile(values, 0.5), "ms", None).note(note)
    };
    Ok(names.into_iter().zip(&parts).map(row).collect())
}

/// Notes what watches of our own tell, for as long as the program runs.
fn watch_starts(bed: &Bed) -> Seen<Part> {
    let seen = Seen::default();
    let is_it = |object: &DynamicObject| object.metadata.name.as_ref().is_some_and(|name| name.starts_with(NAME));
    let noted = seen.clone();
    watch(bed.api("apps", "v1", "Deployment"), move |deployment| {
        if is_it(&deployment) && deployment.data["spec"]["replicas"] == 1 {
            note(&noted, Part::Replicas);
        }
    });
    let noted = seen.clone();
    watch(bed.api("", "v1", "Pod"), move |pod| {
        if is_it(&pod) {
            note(&noted, Part::Pod);
        }
        if is_it(&pod) && pod.data["status"]["podIP"].is_string() {
            note(&noted, Part::Address);
        }
    });
    seen
}

/// Nothing runs, and nothing is about to.
async fn until_cold(bed: &Bed) -> io::Result<()> {
    let (deployments, pods) = (bed.api("apps", "v1", "Deployment"), bed.api("", "v1", "Pod"));
    bed.until("the application has stopped", async || {
        let deployment = deployments.get(NAME).await.map_err(io::Error::other)?;
        let all = pods.list_metadata(&Default::default()).await.map_err(io::Error::other)?;
        let runs = all.items.iter().any(|pod| pod.metadata.name.as_ref().is_some_and(|name| name.starts_with(NAME)));
        Ok((deployment.data["spec"]["replicas"] == 0 && !runs).then_some(()))
    })
    .await
}

fn ask(address: SocketAddr) -> io::Result<Instant> {
    match Asker::connect(address)?.ask(&load::get(HOST, "/"))?.status {
        200 => Ok(Instant::now()),
        status => Err(io::Error::other(format!("a cold start was answered {status}"))),
    }
}

fn objects() -> Vec<Value> {
    let policy = json!({
        "apiVersion": "headgate.dev/v1alpha1", "kind": "ScalingPolicy", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": NAME}], "scaleTargetRef": {"name": NAME},
            "maxReplicas": 1, "window": "1s", "idle": "1s", "wait": "30s",
        },
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": "web"}], "hostnames": [HOST],
            "rules": [{"backendRefs": [{"name": NAME, "port": 80}]}],
        },
    });
    application(NAME).into_iter().chain([policy, route]).collect()
}
