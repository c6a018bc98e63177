//! What the controllers write, by the API server's own audit: nothing once all is said, and never anything but what they are for. It changes no object.

use crate::{
    audit::{Write, ours, summary},
    load::Load,
    objects::{backends, gateway, route, split},
    parts::lasting,
    story::Story,
};
use std::time::Duration;

/// All that the controllers may ever write, as the chart's roles have it; statuses and scale only by `patch`.
const EXPECTED: &[(&str, &[&str])] = &[
    ("gatewayclasses.gateway.networking.k8s.io/status", &["patch"]),
    ("gateways.gateway.networking.k8s.io/status", &["patch"]),
    ("listenersets.gateway.networking.k8s.io/status", &["patch"]),
    ("httproutes.gateway.networking.k8s.io/status", &["patch"]),
    ("grpcroutes.gateway.networking.k8s.io/status", &["patch"]),
    ("tlsroutes.gateway.networking.k8s.io/status", &["patch"]),
    ("tcproutes.gateway.networking.k8s.io/status", &["patch"]),
    ("udproutes.gateway.networking.k8s.io/status", &["patch"]),
    ("backendtlspolicies.gateway.networking.k8s.io/status", &["patch"]),
    ("xbackends.gateway.networking.x-k8s.io/status", &["patch"]),
    ("xbackendtrafficpolicies.gateway.networking.x-k8s.io/status", &["patch"]),
    ("ingresses.networking.k8s.io/status", &["patch"]),
    ("functions.core.openfunction.io/status", &["patch"]),
    ("gateways.networking.openfunction.io/status", &["patch"]),
    ("scalingpolicies.headgate.dev/status", &["patch"]),
    ("deployments.apps", &["create", "patch", "delete"]),
    ("deployments.apps/scale", &["patch"]),
    ("services", &["create", "patch", "delete"]),
    ("serviceaccounts", &["create", "patch", "delete"]),
    ("configmaps", &["create", "patch", "delete"]),
    ("poddisruptionbudgets.policy", &["create", "patch", "delete"]),
    ("httproutes.gateway.networking.k8s.io", &["create", "patch", "delete"]),
    ("gateways.gateway.networking.k8s.io", &["create", "patch", "delete"]),
    ("pods", &["patch"]),
    ("events.events.k8s.io", &["create", "patch"]),
    ("tokenreviews.authentication.k8s.io", &["create"]),
    ("leases.coordination.k8s.io", &["create", "update"]),
    ("secrets", &["create", "update", "patch"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_once_all_is_said() {
    let Some(story) = Story::alone("e2e-idle").await else { return };
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-idle", "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;
    story
        .until("what other stories left is gone", async || {
            let namespaces = story.api.list("/api/v1/namespaces").await;
            namespaces.iter().all(|namespace| namespace["status"]["phase"] == "Active")
        })
        .await;
    // traffic alone is no reason to write
    let load = Load::begin(to, "shop.example");
    let quiet = Duration::from_secs(3);
    let real = || ours().into_iter().filter(|write| !write.is_housekeeping()).collect::<Vec<_>>();
    let mut before = real().len();
    story
        .until("statuses have settled", async || {
            tokio::time::sleep(quiet).await;
            std::mem::replace(&mut before, real().len()) == before
        })
        .await;
    let begun = real().len();
    let time = lasting(Duration::from_secs(10), Duration::from_secs(600));
    tokio::time::sleep(time).await;
    let after = real();
    assert!(after.len() == begun, "in {time:?} of rest: {:?}", &after[begun..]);
    assert!(begun > 0, "the audit log has no write of ours at all");
    load.end_with_only("200 a edit 1").await;
}

/// Runs when all others have been told: `e2e/cluster/stories` says so.
#[tokio::test]
#[ignore = "judges what the other stories wrote"]
async fn all_writes_were_allowed_and_expected() {
    let Some(_story) = Story::alone("e2e-writes").await else { return };
    let all = ours();
    println!("{} writes: {:#?}", all.len(), summary(&all));
    assert!(all.len() > 100, "only {} writes", all.len());
    let is_expected = |write: &&Write| {
        let row = EXPECTED.iter().find(|(of, _)| *of == write.of);
        row.is_some_and(|(_, verbs)| verbs.contains(&write.verb.as_str()))
    };
    let wrong: Vec<_> = all.iter().filter(|write| !is_expected(write)).collect();
    assert!(wrong.is_empty(), "nobody expects {wrong:?}");
    // the story `operator` takes this right from the controllers for a while
    let was_taken = |write: &Write| write.status == 403 && write.of == "deployments.apps";
    // the story `gateways` asks for an address that no cluster could give
    let was_impossible = |write: &Write| write.status == 422 && write.object.starts_with("e2e-reach/web-headgate-");
    let is_excused = |write: &Write| write.came_too_late || was_taken(write) || was_impossible(write);
    let is_refused = |write: &&Write| [401, 403, 422].contains(&write.status) && !is_excused(write);
    let refused: Vec<_> = all.iter().filter(is_refused).collect();
    assert!(refused.is_empty(), "the API server refused {refused:?}");
    let own = |write: &&Write| match write.of.as_str() {
        "secrets" => write.object == "headgate-system/headgate-stream" || write.verb == "create",
        "leases.coordination.k8s.io" => write.object.starts_with("headgate-system/"),
        _ => true,
    };
    let foreign: Vec<_> = all.iter().filter(|write| !own(write)).collect();
    assert!(foreign.is_empty(), "these belong to somebody else: {foreign:?}");
}
