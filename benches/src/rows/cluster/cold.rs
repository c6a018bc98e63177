//! What a cold start costs in a cluster, and which part of it is whose. It starts one Deployment again and again, and judges nothing.

use super::{
    LOST, POLL,
    bed::{Bed, NAMESPACE, application},
};
use crate::{
    load::{self, Asker},
    numbers::percentile,
    report::Row,
};
use futures_util::StreamExt;
use kube::runtime::watcher;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

const NAME: &str = "cold";
const HOST: &str = "cold.example";

/// What a watch shows of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The Deployment is to have a replica.
    Replicas,
    /// There is a Pod.
    Pod,
    /// It has an address: its process runs, or is about to.
    Address,
}

/// When each part was first seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<Part, Instant>>>);

impl Seen {
    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<Part, Instant>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    fn note(&self, part: Part) {
        self.parts().entry(part).or_insert_with(Instant::now);
    }

    /// Waits for it; the watch may tell after the application has answered.
    async fn first(&self, part: Part) -> io::Result<Instant> {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.parts().get(&part) {
                return Ok(*at);
            }
            if begun.elapsed() > LOST {
                return Err(io::Error::other(format!("the watch never told of {part:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Asks for an application that does not run, `starts` times; each part counts from the request.
pub async fn rows(bed: &Bed, starts: usize) -> io::Result<Vec<Row>> {
    for object in objects() {
        bed.create(&object).await?;
    }
    let seen = watch(bed);
    let mut parts: [Vec<f64>; 4] = Default::default();
    for _ in 0..starts {
        until_cold(bed).await?;
        seen.parts().clear();
        let address = bed.address;
        let begun = Instant::now();
        let answered = tokio::task::spawn_blocking(move || ask(address)).await.map_err(io::Error::other)??;
        let ms = |at: Instant| at.saturating_duration_since(begun).as_secs_f64() * 1_000.0;
        for (part, values) in [Part::Replicas, Part::Pod, Part::Address].into_iter().zip(&mut parts) {
            values.push(ms(seen.first(part).await?));
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
fn watch(bed: &Bed) -> Seen {
    let seen = Seen::default();
    for (group, kind) in [("apps", "Deployment"), ("", "Pod")] {
        let (api, seen) = (bed.api(group, "v1", kind), seen.clone());
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let Ok(watcher::Event::Apply(object)) = event else { continue };
                if !object.metadata.name.is_some_and(|name| name.starts_with(NAME)) {
                    continue;
                }
                if kind == "Pod" {
                    seen.note(Part::Pod);
                    if object.data["status"]["podIP"].is_string() {
                        seen.note(Part::Address);
                    }
                } else if object.data["spec"]["replicas"] == 1 {
                    seen.note(Part::Replicas);
                }
            }
        });
    }
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
