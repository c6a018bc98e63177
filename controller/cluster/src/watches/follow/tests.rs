//! What becomes of lists, changes and failures of one kind, without an API server.

use super::*;
use headgate_controller::sources::cluster::ClusterContent;
use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use std::{collections::BTreeSet, convert::Infallible};
use tokio::sync::mpsc;

/// A follower of HTTPRoutes, and what it tells.
fn follower() -> (Follower, mpsc::Receiver<News>) {
    let nobody =
        tower::service_fn(async |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let (news, told) = mpsc::channel(16);
    let referred = watch::channel(Arc::new(BTreeSet::new())).1;
    let context = Context { client: Client::new(nobody, "default"), news, defined: watch::Sender::default(), referred };
    (Follower::new(context, routes()), told)
}

fn routes() -> usize {
    KINDS.iter().position(|kind| kind.kind == "HTTPRoute").expect("a kind that is watched")
}

fn route(name: &str, version: &str, spec: &Value) -> DynamicObject {
    let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn good(name: &str, version: &str) -> DynamicObject {
    route(name, version, &json!({"hostnames": ["a.example"]}))
}

/// What one event makes of it, in short.
async fn heard(
    follower: &mut Follower,
    told: &mut mpsc::Receiver<News>,
    version: &'static str,
    event: Event<DynamicObject>,
) -> (Health, Vec<String>) {
    assert!(follower.hear(Form { version, generation: 1 }, event).await.is_ok());
    let news = told.try_recv().unwrap();
    let short = |change: &ObjectChange| match change {
        ObjectChange::Upsert(object) => format!("+{}", object.name.name),
        ObjectChange::Remove(name) => format!("-{}", name.name),
    };
    let mut changes: Vec<String> = news.changes.iter().map(short).collect();
    changes.sort();
    (news.health, changes)
}

#[tokio::test]
async fn a_list_tells_only_what_differs_and_what_is_missing_from_it_is_gone() {
    let (mut follower, mut told) = follower();
    let all = |objects| Event::All(objects);
    let first = heard(&mut follower, &mut told, "v1", all(vec![good("a", "1"), good("b", "2")])).await;
    assert_eq!(first, (Health::Synced, vec!["+a".into(), "+b".into()]));
    let second = heard(&mut follower, &mut told, "v1", all(vec![good("b", "2"), good("c", "3")])).await;
    assert_eq!(second.1, ["+c", "-a"]);
    let other = heard(&mut follower, &mut told, "v1beta1", all(vec![good("b", "2"), good("c", "3")])).await;
    assert_eq!(other.1, ["+b", "+c"], "another version may say it otherwise");
    assert_eq!(heard(&mut follower, &mut told, "v1beta1", Event::Delete(good("c", "4"))).await.1, ["-c"]);
    assert_eq!(heard(&mut follower, &mut told, "v1beta1", Event::Delete(good("c", "5"))).await.1, [""; 0]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_keeps_what_it_was_and_says_why() {
    let (mut follower, mut told) = follower();
    heard(&mut follower, &mut told, "v1", Event::All(vec![good("a", "1")])).await;
    let before = follower.known.iter().next().unwrap().clone();
    let broken = route("a", "2", &json!({"hostnames": 7}));
    assert_eq!(heard(&mut follower, &mut told, "v1", Event::Apply(broken)).await.1, ["+a"]);
    let after = follower.known.iter().next().unwrap().clone();
    assert_eq!(after.content, before.content);
    assert_eq!((after.resource_version.as_str(), after.problems.is_empty()), ("2", false));
    let never = route("b", "3", &json!({"hostnames": 7}));
    heard(&mut follower, &mut told, "v1", Event::Apply(never)).await;
    assert!(follower.known.iter().any(|object| object.content == ClusterContent::Unreadable));
}

/// An API server with one route, and the generation of its kind's definition; each watch of it hangs.
#[derive(Default)]
struct Defined {
    generation: i64,
    versions: Vec<&'static str>,
    spec: Value,
    /// Paths of what was listed.
    listed: Vec<String>,
}

impl Defined {
    fn answer(&mut self, request: &Request<Body>) -> Option<Value> {
        let path = request.uri().path();
        if path.contains("/customresourcedefinitions/") {
            let version = |name: &&str| json!({"name": name, "served": true, "storage": *name == "v1"});
            let versions: Vec<Value> = self.versions.iter().map(version).collect();
            let names = json!({"kind": "HTTPRoute", "plural": "httproutes"});
            return Some(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "httproutes.gateway.networking.k8s.io", "generation": self.generation},
                "spec": {"group": "gateway.networking.k8s.io", "scope": "Namespaced", "names": names, "versions": versions}}));
        }
        if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            return None;
        }
        self.listed.push(path.to_owned());
        let items = [serde_json::to_value(route("a", "1", &self.spec)).unwrap()];
        Some(json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "5"}, "items": items}))
    }
}

/// The next time that an object is told of: the version in which it was read, and its first host.
async fn next_of(told: &mut mpsc::Receiver<News>) -> (&'static str, String) {
    loop {
        let news = told.recv().await.unwrap();
        if let Some(ObjectChange::Upsert(object)) = news.changes.first() {
            let text = format!("{:?}", object.content);
            let host = ["a.example", "b.example"].into_iter().find(|host| text.contains(host)).unwrap_or("none");
            return (object.version, host.to_owned());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_definition_makes_of_an_object_is_told_though_the_object_has_not_changed() {
    let server = Arc::new(std::sync::Mutex::new(Defined {
        generation: 1,
        versions: vec!["v1beta1"],
        spec: json!({"hostnames": ["a.example"]}),
        listed: Vec::new(),
    }));
    let asked = server.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = asked.lock().unwrap().answer(&request);
        async move {
            match answer {
                Some(value) => Ok::<_, Infallible>(Response::new(Body::from(value.to_string().into_bytes()))),
                None => std::future::pending().await,
            }
        }
    });
    let (news, mut told) = mpsc::channel(16);
    let referred = watch::channel(Arc::new(BTreeSet::new())).1;
    let context =
        Context { client: Client::new(service, "default"), news, defined: watch::Sender::default(), referred };
    let defined = context.defined.clone();
    let redefine = |version: &str, change: &dyn Fn(&mut Defined)| {
        change(&mut server.lock().unwrap());
        let name = "httproutes.gateway.networking.k8s.io".to_owned();
        defined.send_replace(Definitions::from([(name, version.to_owned())]));
    };
    let _followed = tokio::spawn(follow(context, routes()));
    assert_eq!(next_of(&mut told).await, ("v1beta1", "a.example".into()));

    redefine("10", &|server| (server.generation, server.versions) = (2, vec!["v1", "v1beta1"]));
    assert_eq!(next_of(&mut told).await, ("v1", "a.example".into()), "the better version");
    redefine("11", &|server| (server.generation, server.spec) = (3, json!({"hostnames": ["b.example"]})));
    assert_eq!(next_of(&mut told).await, ("v1", "b.example".into()), "what its schema shows of it now");

    // an API server that went on by the definition before for a moment
    redefine("12", &|server| server.generation = 4);
    let listed = server.lock().unwrap().listed.len();
    while server.lock().unwrap().listed.len() == listed {
        tokio::task::yield_now().await;
    }
    server.lock().unwrap().spec = json!({"hostnames": ["a.example"]});
    assert_eq!(next_of(&mut told).await, ("v1", "a.example".into()));

    // a definition whose status alone has changed costs no list
    tokio::time::sleep(CHANGED_WITHIN * 3).await;
    let listed = server.lock().unwrap().listed.len();
    redefine("13", &|_| {});
    tokio::time::sleep(CHANGED_WITHIN * 3).await;
    assert_eq!(server.lock().unwrap().listed.len(), listed);
}

/// An API server that knows ClusterTrustBundles in this version, if it does, and has one.
fn answer_of_bundles(served: Option<&str>, request: &Request<Body>) -> Option<Value> {
    let (group, path) = ("/apis/certificates.k8s.io/", request.uri().path());
    let (version, rest) = path.strip_prefix(group)?.split_once('/').unwrap_or((path.strip_prefix(group)?, ""));
    if rest.is_empty() {
        let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": false, "kind": kind, "verbs": []});
        let requests = resource("certificatesigningrequests", "CertificateSigningRequest");
        let bundles = (served == Some(version)).then(|| resource("clustertrustbundles", "ClusterTrustBundle"));
        let resources: Vec<Value> = (version == "v1").then_some(requests).into_iter().chain(bundles).collect();
        return (!resources.is_empty())
            .then(|| json!({"kind": "APIResourceList", "groupVersion": format!("certificates.k8s.io/{version}"), "resources": resources}));
    }
    let bundle = json!({"apiVersion": format!("certificates.k8s.io/{version}"), "kind": "ClusterTrustBundle",
        "metadata": {"name": "roots", "resourceVersion": "1"}, "spec": {"trustBundle": "none"}});
    (served == Some(version))
        .then(|| json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "5"}, "items": [bundle]}))
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_enabled_later_is_found_in_the_version_that_is_served() {
    let served = Arc::new(std::sync::Mutex::new(None));
    let asked = served.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let answer = answer_of_bundles(*asked.lock().unwrap(), &request);
        async move {
            if is_watch {
                return std::future::pending().await;
            }
            let missing =
                json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "no", "code": 404});
            let status = if answer.is_some() { 200 } else { 404 };
            let body = Body::from(answer.unwrap_or(missing).to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    let (news, mut told) = mpsc::channel(16);
    let referred = watch::channel(Arc::new(BTreeSet::new())).1;
    let context =
        Context { client: Client::new(service, "default"), news, defined: watch::Sender::default(), referred };
    let at = KINDS.iter().position(|kind| kind.kind == "ClusterTrustBundle").unwrap();
    let followed = tokio::spawn(follow(context.clone(), at));
    let first = told.recv().await.unwrap();
    assert_eq!((first.health, first.changes.len()), (Health::Missing, 0));

    *served.lock().unwrap() = Some("v1beta1");
    let found = loop {
        let news = told.recv().await.unwrap();
        if news.health == Health::Synced {
            break news.changes;
        }
    };
    let short = |change: &ObjectChange| match change {
        ObjectChange::Upsert(object) => format!("+{} {}", object.name.name, object.version),
        ObjectChange::Remove(name) => format!("-{}", name.name),
    };
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), ["+roots v1beta1", "+* "]);
    followed.abort();

    // and all of it goes with the kind
    let mut follower = Follower::new(context, at);
    follower.known = found
        .into_iter()
        .map(|change| match change {
            ObjectChange::Upsert(object) => object,
            ObjectChange::Remove(name) => panic!("{name}"),
        })
        .collect();
    assert!(follower.miss().await.is_ok());
    let gone = loop {
        let news = told.recv().await.unwrap();
        if news.health == Health::Missing {
            break news.changes;
        }
    };
    let mut gone: Vec<_> = gone.iter().map(short).collect();
    gone.sort();
    assert_eq!(gone, ["-*", "-roots"]);
}
