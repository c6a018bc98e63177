//! The API server, asked directly: for stories that ask it thousands of times. It tries nothing again.

use crate::story::open;
use headgate_e2e::Answer;
use http::Method;
use serde_json::{Value, json};
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The longest wait for an answer.
const ANSWER_MOST: Duration = Duration::from_secs(20);

/// As the administrator of the cluster, through `kubectl proxy`, which knows who that is.
pub struct Api {
    to: SocketAddr,
    _proxy: Child,
}

impl Api {
    /// By the environment's kubeconfig.
    pub async fn new() -> Self {
        let mut command = Command::new("kubectl");
        command.args(["proxy", "--port=0"]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut proxy = command.spawn().expect("kubectl is there");
        let mut said = String::new();
        let mut stdout = BufReader::new(proxy.stdout.take().expect("it is piped"));
        timeout(ANSWER_MOST, stdout.read_line(&mut said)).await.expect("kubectl proxy says where it is").unwrap();
        let to = said.trim().rsplit(' ').next().and_then(|to| to.parse().ok());
        Self { to: to.unwrap_or_else(|| panic!("kubectl proxy said {said:?}")), _proxy: proxy }
    }

    /// What stands there; a panic if nothing does.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.unwrap_or_else(|why| panic!("GET {path}: {why}"))
    }

    /// The `items` of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut list = self.get(path).await;
        std::mem::take(list["items"].as_array_mut().expect("a list"))
    }

    /// Makes an object.
    pub async fn create(&self, path: &str, object: &Value) {
        self.ask(Method::POST, path, Some(object)).await.unwrap_or_else(|why| panic!("POST {path}: {why}\n{object}"));
    }

    /// Merges a patch into an object, or its `/status`.
    pub async fn merge(&self, path: &str, patch: &Value) {
        self.ask(Method::PATCH, path, Some(patch)).await.unwrap_or_else(|why| panic!("PATCH {path}: {why}\n{patch}"));
    }

    /// What comes back, or why nothing does.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let answer = self.exchange(method, path, body.map(Value::to_string).unwrap_or_default()).await?;
        match answer.status {
            200..=299 => serde_json::from_str(&answer.text()).map_err(|error| error.to_string()),
            status => Err(format!("{status} {}", answer.text())),
        }
    }

    /// The text that comes back with 200.
    pub async fn read(&self, path: &str) -> Result<String, String> {
        let answer = self.exchange(Method::GET, path, String::new()).await?;
        match answer.status {
            200 => Ok(answer.text()),
            status => Err(format!("{status} {}", answer.text())),
        }
    }

    /// Whether a watch of a list that is not empty says something within a second: a server that has just started answers before that.
    pub async fn watches(&self, path: &str) -> bool {
        let watch = format!("{path}?watch=true&resourceVersion=0&timeoutSeconds=1");
        let answer = self.exchange(Method::GET, &watch, String::new()).await;
        answer.is_ok_and(|answer| answer.status == 200 && !answer.text().is_empty())
    }

    async fn exchange(&self, method: Method, path: &str, body: String) -> Result<Answer, String> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        let asked = async {
            let mut wire = open(self.to).await?;
            wire.send(head + &body).await;
            wire.try_answer(false).await
        };
        timeout(ANSWER_MOST, asked).await.map_err(|_| "no answer".to_owned())?
    }
}

/// Where the HTTPRoutes of a namespace stand.
pub fn routes(namespace: &str) -> String {
    format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes")
}

/// Has etcd forget all versions but the newest, as it does by itself in time.
pub async fn forget_history() {
    let newest =
        etcd("range", json!({"key": "AA=="})).await["header"]["revision"].as_str().expect("a revision").to_owned();
    etcd("compaction", json!({"revision": newest, "physical": true})).await;
}

/// What etcd's gateway for JSON answers.
async fn etcd(verb: &str, asked: Value) -> Value {
    let body = asked.to_string();
    let head = format!("POST /v3/kv/{verb} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut wire = open(SocketAddr::from(([127, 0, 0, 1], 2379))).await.expect("etcd is there");
    wire.send(head + &body).await;
    let answer = wire.try_answer(false).await.expect("etcd answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}
