//! An operator looks into a cluster from the command line: what is well, what is refused and why, what files would change, which Pod answered. It sees what a person sees.

use crate::{
    objects::{backends, gateway, route, split},
    story::Story,
};
use headgate_e2e::binary;
use serde_json::Value;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

const NAMESPACE: &str = "e2e-operator";
/// The longest that a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second listener without its Secret.
const TLS: &str = r#"[{"name":"http","port":80,"protocol":"HTTP"},
    {"name":"https","port":443,"protocol":"HTTPS","tls":{"certificateRefs":[{"name":"missing"}]}}]"#;

/// A route to a Service that is not there, and one to a listener that is not.
const REFUSED: &str = "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost}
spec:
  parentRefs: [{name: web}]
  hostnames: [lost.example]
  rules: [{backendRefs: [{name: gone, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stray}
spec:
  parentRefs: [{name: web, sectionName: nowhere}]
  hostnames: [stray.example]
  rules: [{backendRefs: [{name: a, port: 80}]}]
";

/// May read, and not ask Pods.
const READER: &str = "
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- apiGroups: ['*']
  resources: ['*']
  verbs: [list]
";

pub struct Ended {
    code: Option<i32>,
    out: String,
    told: String,
}

impl Ended {
    /// What it printed, read.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.told))
    }

    /// Asserts the exit code and parts of what is printed.
    fn says(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.told);
        for part in parts {
            assert!(self.out.contains(part) || self.told.contains(part), "{part}\n{}\n{}", self.out, self.told);
        }
    }
}

/// Runs the program to its end.
pub async fn headgate(arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(binary());
    command.args(arguments).env("NO_COLOR", "1").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the command ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), told: text(&output.stderr) }
}

/// Waits until the status of a namespace is that all is well, and tells the last one else.
async fn until_well(story: &Story, namespace: &str) {
    let mut last = headgate(&["status", "-n", namespace], "").await;
    let well = async || {
        if last.code != Some(0) {
            last = headgate(&["status", "-n", namespace], "").await;
        }
        last.code == Some(0)
    };
    if !story.holds_in_time(well).await {
        panic!("not all is well:\n{}\n{}", last.out, last.told);
    }
}

/// A kubeconfig of a ServiceAccount of the story.
async fn as_account(story: &Story, account: &str) -> PathBuf {
    let token = story.kubectl(&["create", "token", account]).await;
    let file = std::env::temp_dir().join(format!("headgate-{NAMESPACE}-{}.kubeconfig", std::process::id()));
    std::fs::copy(std::env::var_os("KUBECONFIG").unwrap(), &file).unwrap();
    let path = file.to_str().unwrap();
    story.kubectl(&["--kubeconfig", path, "config", "set-credentials", account, &format!("--token={token}")]).await;
    story.kubectl(&["--kubeconfig", path, "config", "set-context", "--current", &format!("--user={account}")]).await;
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_is_well_what_is_refused_and_what_files_would_change() {
    let Some(story) = Story::begin(NAMESPACE).await else { return };
    let good = backends() + &gateway(2) + &route(&split(1, &[("a", 1)]));
    story.apply(&good).await;
    let to = story.address("web").await;
    story.rolled_out(NAMESPACE, "deployment/web-headgate").await;
    story.rolled_out(NAMESPACE, "deployment/b").await;
    story.until_answered(to, "shop.example", "200 a edit 1").await;

    well(&story).await;
    routes_and_explanations().await;
    differences(&good).await;

    story.apply(REFUSED).await;
    story.patch("gateway/web", &format!(r#"{{"spec":{{"listeners":{TLS}}}}}"#)).await;
    refusals(&story).await;
    limited_rights(&story).await;
}

/// Everything is there: exit code 0.
async fn well(story: &Story) {
    until_well(story, NAMESPACE).await;
    let status = headgate(&["status", "-n", NAMESPACE, "-o", "json"], "").await.json();
    let gateway = &status["gateways"][0];
    assert_eq!((&gateway["programmed"], &gateway["ready"], &gateway["wanted"]), (&"True".into(), &2.into(), &2.into()));
    let pods = gateway["pods"].as_array().unwrap();
    assert!(pods.iter().all(|pod| pod["version"].is_u64() && pod["version"] == pod["newest"]), "{pods:?}");
    let controllers = status["controllers"].as_array().unwrap();
    assert_eq!(controllers.iter().filter(|one| one["leads"] == true).count(), 1, "{controllers:?}");
    assert!(controllers.iter().all(|one| one["health"]["synced"] == true), "{controllers:?}");
    headgate(&["status", "-n", NAMESPACE], "").await.says(0, &["2 of 2 ready", "current", "all is well"]);
}

async fn routes_and_explanations() {
    headgate(&["routes", "-n", NAMESPACE], "")
        .await
        .says(0, &["Gateway e2e-operator/web (by Pod web-headgate-", "e2e-operator/a:80"]);
    let gateway = format!("{NAMESPACE}/web");
    let explain = async |url: &'static str| headgate(&["explain", "--gateway", &gateway, url], "").await;
    let rule = "goes to HTTPRoute/e2e-operator/shop/0";
    explain("http://shop.example/").await.says(0, &[rule, "asked: Pod web-headgate-", "1 of 1 ready"]);
    explain("http://nobody.example/").await.says(1, &["404: listener e2e-operator/web/http takes nobody.example"]);
    let past = headgate(&["explain", "--gateway", &gateway, "--request-id", "no-such"], "").await;
    past.says(1, &["no gateway remembers such a request"]);
    headgate(&["explain", "--gateway", "nobody/web", "a.example"], "")
        .await
        .says(3, &["there is: ", "e2e-operator/web"]);
}

async fn differences(good: &str) {
    let diff = async |files: &str| headgate(&["diff", "-", "-n", NAMESPACE], files).await;
    diff(good).await.says(0, &["nothing would change"]);
    let next = route(&split(1, &[("a", 9), ("gone", 1)])) + &REFUSED.replace("gone", "a");
    diff(&next).await.says(
        1,
        &[
            "+   lost.example",
            "~   shop.example",
            "e2e-operator/a:80 -> e2e-operator/a:80 90%, 500 10%: BackendNotFound",
            "Newly refused:\n! HTTPRoute e2e-operator/shop (Gateway e2e-operator/web): ResolvedRefs: BackendNotFound",
            "stray (Gateway e2e-operator/web, listener nowhere): Accepted: NoMatchingParent",
        ],
    );
    diff("kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {name: a}\nspec: {rules: 1}\n")
        .await
        .says(2, &["spec.rules"]);
    headgate(&["diff", "/no/such/file"], "").await.says(2, &["no such file"]);
}

/// Each refused object, with where, why and what to do; nothing of the good ones.
async fn refusals(story: &Story) {
    let status = async || headgate(&["status", "-n", NAMESPACE, "-o", "json"], "").await.json();
    let wanted = [
        ("Gateway e2e-operator/web", "listener https", "ResolvedRefs", "InvalidCertificateRef"),
        ("HTTPRoute e2e-operator/lost", "Gateway e2e-operator/web", "ResolvedRefs", "BackendNotFound"),
        ("HTTPRoute e2e-operator/stray", "Gateway e2e-operator/web, listener nowhere", "Accepted", "NoMatchingParent"),
    ];
    let told = async || -> Vec<String> {
        let row = |one: &Value| {
            ["object", "at", "condition", "reason"].map(|key| one[key].as_str().unwrap_or("").to_owned()).join("|")
        };
        status().await["refused"].as_array().unwrap().iter().map(row).collect()
    };
    let wanted: Vec<String> = wanted.iter().map(|(a, b, c, d)| [*a, *b, *c, *d].join("|")).collect();
    let mut last = Vec::new();
    story
        .until("each refused object is told, and no other", async || {
            last = told().await;
            last == wanted
        })
        .await;
    let printed = headgate(&["status", "-n", NAMESPACE], "").await;
    printed.says(
        1,
        &[
            "name a Service and one of its ports",
            "name a Secret with tls.crt and tls.key in PEM",
            "3 are refused or not ready",
        ],
    );
}

/// Who may only read one namespace is told so, and gets what objects say.
async fn limited_rights(story: &Story) {
    story.apply(READER).await;
    let file = as_account(story, "reader").await;
    let reader = file.to_str().unwrap();
    let status = headgate(&["status", "-n", NAMESPACE, "--kubeconfig", reader], "").await;
    status.says(1, &["e2e-operator/web", "not allowed to list gatewayclasses", "BackendNotFound"]);
    headgate(&["status", "--kubeconfig", reader], "")
        .await
        .says(2, &["not allowed to list", "not everything could be read"]);
    headgate(&["diff", "-", "--kubeconfig", reader], "").await.says(2, &["not allowed to list"]);
    std::fs::remove_file(file).unwrap();
    headgate(&["status", "--context", "no-such"], "").await.says(2, &["no-such"]);
}

const CONTROLLER_ROLE: &str = "clusterrole/headgate-controller:headgate-system";

/// Gives the controllers these rights on Deployments, and gives back what they had.
async fn rights_on_deployments(story: &Story, verbs: &str) -> String {
    let role: Value = serde_json::from_str(&story.kubectl(&["get", CONTROLLER_ROLE, "-o", "json"]).await).unwrap();
    let rules = role["rules"].as_array().unwrap();
    let is_it = |rule: &Value| rule["resources"] == serde_json::json!(["deployments"]);
    let at = rules.iter().position(is_it).expect("the chart has a rule for Deployments");
    let patch = format!(r#"[{{"op":"replace","path":"/rules/{at}/verbs","value":{verbs}}}]"#);
    story.kubectl(&["patch", CONTROLLER_ROLE, "--type=json", "--patch", &patch]).await;
    rules[at]["verbs"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_says_which_right_its_controller_lacks_and_serves_once_it_has_it() {
    // others need the right too
    let Some(story) = Story::alone("e2e-rights").await else { return };
    let (mut said, mut status) = (String::new(), headgate(&["status", "-n", "e2e-rights"], "").await);
    let before = rights_on_deployments(&story, r#"["get","list","watch"]"#).await;
    story.apply(&gateway(1)).await;
    let message = ["get", "gateway/web", r#"--output=jsonpath={.status.conditions[?(@.type=="Programmed")].message}"#];
    let lacks = "Deployment e2e-rights/web-headgate cannot be written: the controller may not patch deployments.apps in namespace e2e-rights";
    for _ in 0..300 {
        said = story.kubectl(&message).await;
        if said.starts_with(lacks) {
            status = headgate(&["status", "-n", "e2e-rights"], "").await;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // before anything is judged
    rights_on_deployments(&story, &before).await;
    assert!(said.starts_with(lacks), "{said}");
    status.says(1, &[lacks, "Gateway e2e-rights/web: Programmed: NoResources"]);
    story.address("web").await;
    until_well(&story, "e2e-rights").await;
}
