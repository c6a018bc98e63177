//! The authority of the stream and the controllers' certificate are renewed under load, as if they had grown old: gateways trust the next authority before it signs, and requests notice nothing. It writes into the Secret of the authority, and changes no clock.

use crate::{
    load::Load,
    shop,
    story::{Story, ask_once, told},
};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

const NAMESPACE: &str = "e2e-rotation";
const SYSTEM: &str = "headgate-system";
const SECRET: &str = "/api/v1/namespaces/headgate-system/secrets/headgate-stream";
const CONTROLLERS: &str = "deployment/headgate-controller";
const DAY_S: u64 = 24 * 60 * 60;

/// How long after the beginning of the story the next authority is to sign.
const SIGNS_AFTER: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_authorities_are_renewed_under_load() {
    let Some(story) = Story::alone(NAMESPACE).await else { return };
    let to = shop::open(&story, NAMESPACE, "").await;
    let load = Load::begin(to, "shop.example");

    // a certificate of which a third of its time is left, and an authority that is trusted for a day in a moment, and then signs
    let first = kept(&story).await;
    let began = Instant::now();
    let made_s = Timestamp::now().as_second() as u64 + SIGNS_AFTER.as_secs() - DAY_S;
    let (next, key) = authority(made_s);
    let mut times: Value = serde_json::from_str(first["times.json"].as_str().expect("times")).unwrap();
    times["servingS"] = json!(times["servingS"].as_u64().expect("a time") - 61 * DAY_S);
    times["nextS"] = json!(made_s);
    let data = json!({"times.json": times.to_string(), "next.crt": next, "next.key": key});
    story.api.merge(SECRET, &json!({"stringData": data})).await;
    look_again(&story).await;
    let second = kept(&story).await;
    assert_eq!(second["ca.crt"], first["ca.crt"], "by the same authority");
    assert_ne!(second["tls.crt"], first["tls.crt"], "another certificate");
    shop::edit_until_said(&story, NAMESPACE, &load, 2, "b").await;
    for gateway in story.names(NAMESPACE, "pods", "gateway.networking.k8s.io/gateway-name=web").await {
        story
            .until("a gateway has read both", async || trusted(&story, &gateway).await.matches("BEGIN").count() == 2)
            .await;
    }

    tokio::time::sleep(SIGNS_AFTER.saturating_sub(began.elapsed())).await;
    look_again(&story).await;
    let last = kept(&story).await;
    assert_eq!((last["ca.crt"].as_str(), last.get("next.crt")), (Some(&*next), None), "it signs");
    shop::edit_until_said(&story, NAMESPACE, &load, 3, "a").await;
    let pods = story.pods("web").await;
    let gone = story.names(NAMESPACE, "pods", "gateway.networking.k8s.io/gateway-name=web").await.remove(0);
    story.kubectl(&["delete", &gone, "--wait=false"]).await;
    story.until("a new gateway is ready", async || story.pods("web").await.iter().any(|pod| !pods.contains(pod))).await;
    for pod in story.pods("web").await {
        assert_eq!(ask_once(pod, "shop.example").await.map(|answer| told(&answer)).as_deref(), Ok("200 a edit 3"));
    }
    shop::edit_until_said(&story, NAMESPACE, &load, 4, "b").await;
    let counts = load.end().await;
    println!("a new certificate, and a new authority: {counts:?}");
    assert!(counts.keys().all(|outcome| outcome.starts_with("200 ")), "{counts:?}");
}

/// An authority as a controller would have made it then, and its key.
fn authority(made_s: u64) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("headgate authority {made_s}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Controllers look at the authority once an hour, and when they start.
async fn look_again(story: &Story) {
    story.kubectl(&["--namespace", SYSTEM, "rollout", "restart", CONTROLLERS]).await;
    story.rolled_out(SYSTEM, CONTROLLERS).await;
}

/// What stands in the Secret, as texts.
async fn kept(story: &Story) -> Value {
    let pair = r#"{{printf "%q" $name}}:{{printf "%q" (base64decode $text)}},"#;
    let template = format!("--output=go-template={{{{range $name, $text := .data}}}}{pair}{{{{end}}}}");
    let pairs = story.kubectl(&["--namespace", SYSTEM, "get", "secret", "headgate-stream", &template]).await;
    serde_json::from_str(&format!("{{{}}}", pairs.trim_end_matches(','))).unwrap()
}

/// The authorities in the file of a gateway, as its program would read them for its next stream.
async fn trusted(story: &Story, pod: &str) -> String {
    let uid = story.kubectl(&["get", pod, "--output=jsonpath={.metadata.uid}"]).await;
    let folder = format!("kubelet/pods/{NAMESPACE}_{}_{uid}/volumes/ca", pod.trim_start_matches("pod/"));
    let cluster = PathBuf::from(std::env::var_os("KUBECONFIG").expect("a cluster"));
    std::fs::read_to_string(cluster.with_file_name(folder).join("ca.crt")).expect("a file of a Pod")
}
