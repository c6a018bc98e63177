//! The chart is upgraded and rolled back, and gateways become fewer, under load: nobody is refused. It leaves the release as it was.

use crate::{
    load::Load,
    objects::{backends, gateway, route, split},
    story::Story,
};
use std::{path::Path, process::Command};

const SYSTEM: &str = "headgate-system";
const SERVED: &str = "200 a edit 1";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_chart_and_its_rollback_lose_no_request() {
    let Some(story) = Story::alone("e2e-upgrade").await else { return };
    story.apply(&(backends() + &gateway(2) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-upgrade", "deployment/web-headgate").await;
    story.until_answered(to, "shop.example", SERVED).await;
    let before = story.image().await;

    let load = Load::begin(to, "shop.example");
    let newer = newer_chart();
    let chart = newer.path().join("headgate");
    helm(&["upgrade", "headgate", chart.to_str().unwrap(), "--reuse-values", "--set", "image.tag=upgraded"]);
    replaced(&story, "headgate:upgraded").await;
    let during = load.counts();
    helm(&["rollback", "headgate"]);
    replaced(&story, &before).await;
    let answered = load.end_with_only(SERVED).await;
    println!("an upgrade and its rollback: {answered} requests, none failed ({during:?} at the upgrade)");
    assert!(answered > 500, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_gateways_lose_no_request() {
    let Some(story) = Story::begin("e2e-fewer").await else { return };
    story.apply(&(backends() + &gateway(3) + &route(&split(1, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-fewer", "deployment/web-headgate").await;
    story.until("three gateways are ready", async || story.pods("web").await.len() == 3).await;
    story.until_answered(to, "shop.example", SERVED).await;

    let load = Load::begin(to, "shop.example");
    story.patch("gatewayparameters/web", r#"{"spec":{"replicas":1}}"#).await;
    let label = "gateway.networking.k8s.io/gateway-name=web";
    story.until("one is left", async || story.names("e2e-fewer", "pods", label).await.len() == 1).await;
    let answered = load.end_with_only(SERVED).await;
    println!("from three gateways to one: {answered} requests, none failed");
    assert!(answered > 100, "{answered}");
}

/// All controllers and gateways run this image, and no others do.
async fn replaced(story: &Story, image: &str) {
    story.rolled_out(SYSTEM, "deployment/headgate-controller").await;
    let path = "--output=jsonpath={.spec.template.spec.containers[0].image}";
    story
        .until(&format!("gateways are {image}"), async || {
            story.kubectl(&["get", "deployment/web-headgate", path]).await == image
        })
        .await;
    story.rolled_out("e2e-upgrade", "deployment/web-headgate").await;
    let images = "--output=jsonpath={.items[*].spec.containers[0].image}";
    let label = "gateway.networking.k8s.io/gateway-name=web";
    story
        .until("the others are gone", async || {
            let found = story.kubectl(&["get", "pods", "-l", label, images]).await;
            found.split(' ').all(|one| one == image)
        })
        .await;
}

/// This chart as its next version.
fn newer_chart() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/headgate");
    let copied = Command::new("cp").arg("-r").args([&chart, folder.path()]).status().unwrap();
    assert!(copied.success());
    let file = folder.path().join("headgate/Chart.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let line =
        |line: &str| if line.starts_with("version:") { "version: 99.0.0\n".to_owned() } else { format!("{line}\n") };
    std::fs::write(&file, text.lines().map(line).collect::<String>()).unwrap();
    folder
}

fn helm(arguments: &[&str]) {
    let output = Command::new("helm").args(arguments).args(["--namespace", SYSTEM]).output().expect("helm runs");
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
