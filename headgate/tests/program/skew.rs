//! `gateway` with a controller of another version: what it does not know costs what it stands at, and never the stream. The controller speaks by hand, as the wire has it; it shares no code with the program but the JSON of configuration.

use crate::gateway::{backend, free_port, get, is_ready, pod, snapshot, until};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use headgate_config::{Activation, BackendName, Endpoint, Endpoints, Probe};
use headgate_stream::authority::Material;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::CONTENT_TYPE,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

const RULE: u64 = 1;
const BACKEND: u64 = 2;
const LISTENER: u64 = 3;

/// A field of a protobuf message: a number.
fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

/// A field of a protobuf message: bytes, a text or a message.
fn field(tag: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [varint(tag << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn piece(kind: u64, json: &Value) -> Vec<u8> {
    [number(1, kind), field(2, json.to_string())].concat()
}

/// A version of these pieces, after the first word of a controller.
fn version(hello: Vec<u8>, pieces: &[Vec<u8>], endpoints: &[Value], later: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let part = pieces.iter().flat_map(|piece| field(1, piece)).collect::<Vec<u8>>();
    let list = endpoints.iter().flat_map(|one| field(2, one.to_string())).collect::<Vec<u8>>();
    let commit = [number(1, 1), number(2, pieces.len() as u64), number(3, 0)].concat();
    let mut said = vec![field(1, hello)];
    said.extend(later.iter().cloned());
    said.extend([field(5, [number(1, 1), list].concat()), field(2, part), field(4, commit)]);
    said
}

/// A controller that says these words on each stream, and then only that it lives.
struct Controller {
    _runtime: tokio::runtime::Runtime,
    at: String,
    streams: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Controller {
    fn start(folder: &Path, words: Vec<Vec<u8>>) -> Self {
        let material = Material::renewed(None, &["localhost".to_owned()], SystemTime::now()).unwrap().unwrap();
        std::fs::write(folder.join("ca.crt"), material.trusted()).unwrap();
        std::fs::write(folder.join("token"), "the token").unwrap();
        std::fs::create_dir_all(folder.join("state")).unwrap();
        let chain = CertificateDer::pem_slice_iter(material.chain().as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(material.key().reveal().as_bytes()).unwrap();
        let mut tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(tls));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (streams, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, kept, words) = (streams.clone(), heard.clone(), Arc::new(words));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, counted, kept, words) = (tls.clone(), counted.clone(), kept.clone(), words.clone());
                tokio::spawn(async move {
                    let stream = tls.accept(socket).await.unwrap();
                    let service = service_fn(move |request: Request<Incoming>| {
                        counted.fetch_add(1, SeqCst);
                        tokio::spawn(hear(request.into_body(), kept.clone()));
                        let answer = say((*words).clone());
                        async { Ok::<_, Infallible>(answer) }
                    });
                    let connection = http2::Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { _runtime: runtime, at, streams, heard }
    }

    fn has_heard(&self, text: &str) -> bool {
        self.heard.lock().unwrap().windows(text.len()).any(|part| part == text.as_bytes())
    }
}

async fn hear(mut body: Incoming, kept: Arc<Mutex<Vec<u8>>>) {
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            kept.lock().unwrap().extend_from_slice(data);
        }
    }
}

fn say(words: Vec<Vec<u8>>) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
    let beats = stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Some((field(6, []), ()))
    });
    let framed = |word: Vec<u8>| {
        let head = [&[0][..], &(word.len() as u32).to_be_bytes()].concat();
        Ok(Frame::data(Bytes::from([head, word].concat())))
    };
    let body = StreamBody::new(stream::iter(words).chain(beats).map(framed));
    Response::builder().header(CONTENT_TYPE, "application/grpc").body(body).unwrap()
}

/// What everybody knows: a listener, a backend, a rule for all paths; and the endpoints of the backend.
struct Known {
    rule: Value,
    backend: Value,
    listener: Value,
    endpoints: Value,
}

impl Known {
    fn new(port: u16, endpoint: SocketAddr) -> Self {
        let name = BackendName::tcp("a", "s", 80);
        let snapshot = snapshot(port, name.clone());
        let endpoint = Endpoint { address: endpoint, ready: true, probe: Probe::default() };
        Self {
            rule: json!(snapshot.rules.values().next().unwrap()),
            backend: json!(snapshot.backends.values().next().unwrap()),
            listener: json!(snapshot.listeners.values().next().unwrap()),
            endpoints: json!(Endpoints { backend: name, list: vec![endpoint], activation: Activation::Ready }),
        }
    }

    /// Another rule for what is below `/name`, changed.
    fn rule(&self, name: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut rule = self.rule.clone();
        rule["name"]["route"] = json!(name);
        rule["seniority"]["route"] = json!(name);
        rule["matches"][0]["path"] = json!({"prefix": format!("/{name}")});
        change(&mut rule);
        piece(RULE, &rule)
    }
}

/// Why a request is not served, by `Proxy-Status`; the answer if it is.
fn outcome(address: &str, path: &str) -> String {
    let answer = get(address, path);
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let reasons = ["filter_unsupported", "rule_invalid", "backend_invalid", "hello"];
    let reason = reasons.iter().find(|reason| answer.contains(*reason)).copied();
    format!("{status} {}", reason.unwrap_or(&answer))
}

#[test]
fn what_a_newer_controller_says_costs_only_what_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let known = Known::new(port, backend());
    let unknown = json!({"bodyModifier": {"set": "x"}});
    let mut later = known.backend.clone();
    (later["name"]["service"], later["protocol"]) = (json!("later"), json!("http9"));
    let with_more = |mut value: Value| {
        value["ofALaterVersion"] = json!({"any": [1]});
        value
    };
    let pieces = [
        piece(LISTENER, &with_more(known.listener.clone())),
        piece(BACKEND, &with_more(known.backend.clone())),
        piece(BACKEND, &later),
        piece(77, &json!({"name": "a kind of a later version"})),
        piece(RULE, &known.rule),
        known.rule("filter", |rule| rule["filters"] = json!([unknown])),
        known.rule("arm", |rule| rule["action"]["forward"]["arms"][0]["filters"] = json!([unknown])),
        known.rule("part", |rule| {
            rule["filters"] = json!([{"requestHeaders": {"set": [["x-a", "b"]], "unlessFrom": ["10.0.0.0/8"]}}]);
        }),
        known.rule("condition", |rule| rule["matches"][0]["cookies"] = json!([{"name": "a", "value": "b"}])),
        known.rule("action", |rule| rule["action"] = json!({"answer": {"status": 200}})),
        known.rule("backend", |rule| {
            rule["action"]["forward"]["arms"][0]["target"]["backend"]["service"] = json!("later");
        }),
        known.rule("fine", |rule| *rule = with_more(rule.take())),
    ];
    let hello = [number(1, 9), field(2, "newer"), number(3, 7), field(4, "9.9.9"), number(5, 1), field(99, "more")];
    let endpoints = [with_more(known.endpoints.clone()), json!({"of": "a later version"})];
    let words = version(hello.concat(), &pieces, &endpoints, &[field(42, "a word of a later version")]);
    let controller = Controller::start(folder.path(), words);
    let (mut running, admin) = pod(folder.path(), &controller.at, &[]);
    until("it becomes ready", || is_ready(&admin));
    let address = format!("127.0.0.1:{port}");
    for (path, wanted) in [
        ("/", "200 hello"),
        ("/fine", "200 hello"),
        ("/filter", "500 filter_unsupported"),
        ("/arm", "500 filter_unsupported"),
        ("/part", "500 filter_unsupported"),
        ("/condition", "500 rule_invalid"),
        ("/action", "500 rule_invalid"),
        ("/backend", "500 backend_invalid"),
    ] {
        assert_eq!(outcome(&address, path), wanted, "{path}");
    }
    for said in
        ["kind 77", "bodyModifier", "requestHeaders with unlessFrom", "condition cookies", "answers 500", "http9"]
    {
        until(&format!("the controller is told of {said}"), || controller.has_heard(said));
    }
    let before = controller.heard.lock().unwrap().len();
    until("it goes on saying what it counts", || controller.heard.lock().unwrap().len() > before + 20);
    assert_eq!(controller.streams.load(SeqCst), 1, "the stream was never torn down");
    assert!(running.runs());
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn what_an_older_controller_leaves_out_is_as_it_was_before_there_was_such_a_thing() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let Known { mut rule, mut backend, mut listener, endpoints } = Known::new(port, backend());
    let keep =
        |value: &mut Value, kept: &[&str]| value.as_object_mut().unwrap().retain(|key, _| kept.contains(&&**key));
    keep(&mut rule, &["name", "seniority", "attachments", "matches", "action"]);
    keep(&mut rule["action"]["forward"], &["arms"]);
    keep(&mut backend, &["name", "protocol"]);
    keep(&mut listener, &["name", "port", "protocol", "hostname"]);
    let pieces = [piece(LISTENER, &listener), piece(BACKEND, &backend), piece(RULE, &rule)];
    let hello = [field(2, "older"), number(5, 1)].concat();
    let controller = Controller::start(folder.path(), version(hello, &pieces, &[endpoints], &[]));
    let (running, admin) = pod(folder.path(), &controller.at, &[]);
    until("it becomes ready", || is_ready(&admin));
    assert_eq!(outcome(&format!("127.0.0.1:{port}"), "/"), "200 hello");
    assert!(!controller.has_heard("cannot be read"), "nothing is wrong with it");
    assert_eq!(controller.streams.load(SeqCst), 1);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
}
