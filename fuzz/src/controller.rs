//! A controller as its wire format is described, that says whatever a text tells it to, and knows what a gateway must hold of it. It shares no code with the stream.
//!
//! ```text
//! 1 {…}            a rule as JSON; 2 a backend, 3 a listener, any other number a piece of a later version
//! -0               the first of the pieces of this text is gone
//! k ns name chain  a certificate; its key is made up
//! ~0               the first of the certificates of this text is gone
//! e {…}            endpoints as JSON
//! c                the version is complete; `c 3 1` says of how many pieces and certificates it is, rightly or not
//! x                the stream breaks, and there is another
//! m …              any bytes as a message; `\n` is the end of a line
//! ```

use crate::escapes::plain;
use headgate_config::{BackendName, ListenerName, RuleName};
use std::collections::{BTreeMap, BTreeSet};

/// Every key begins like this.
pub const KEY: &str = "PRIVATE-e1c7b2";

/// The first 16 bytes of a SHA-256.
pub type Digest = [u8; 16];

/// A piece of a version: its kind and its JSON.
pub type Piece = (u32, Vec<u8>);

/// What is said next.
#[derive(Debug)]
pub enum Word {
    /// A message that shows nothing yet, whatever a gateway makes of it.
    Staged(Vec<u8>),
    /// A commit, and whether it tells rightly how much there is.
    Commit(Vec<u8>, bool),
    /// Endpoints.
    Endpoints(Vec<u8>),
    /// Any bytes.
    Wild(Vec<u8>),
    /// A new stream.
    Reconnect,
}

/// What a gateway holds, or will with the next commit.
#[derive(Clone, Debug, Default)]
struct Set {
    pieces: BTreeMap<Digest, Piece>,
    /// Names by digest.
    keys: BTreeMap<Digest, (String, String)>,
}

/// The controller.
#[derive(Debug, Default)]
pub struct Controller {
    held: Set,
    staged: Set,
    gone: BTreeSet<Digest>,
    sent: Vec<Digest>,
    sent_keys: Vec<Digest>,
    version: u64,
    /// Whether a version that was taken had two pieces of one name.
    had_twins: bool,
}

impl Controller {
    /// What a line says; `None` if that is nothing.
    pub fn say(&mut self, line: &[u8]) -> Option<Word> {
        let (word, rest) = match line.iter().position(|&b| b == b' ') {
            Some(end) => (&line[..end], &line[end + 1..]),
            None => (line, &[][..]),
        };
        Some(match word {
            b"x" => Word::Reconnect,
            b"m" => Word::Wild(plain(rest)),
            b"e" => Word::Endpoints(down(5, &[number(1, 1), bytes(2, rest)].concat())),
            b"c" => self.commit(rest),
            b"k" => self.key(rest)?,
            [b'-', at @ ..] => self.remove(*self.sent.get(decimal(at)? as usize)?, 2),
            [b'~', at @ ..] => self.remove(*self.sent_keys.get(decimal(at)? as usize)?, 3),
            kind => self.piece(u32::try_from(decimal(kind)?).ok()?, rest),
        })
    }

    /// The gateway took the commit, or what was begun counts no more.
    pub fn settle(&mut self, is_taken: bool) {
        let staged = std::mem::take(&mut self.staged);
        let gone = std::mem::take(&mut self.gone);
        if is_taken {
            self.held = self.held.with(staged, &gone);
            self.had_twins |= self.held.has_twins();
        }
    }

    /// The gateway holds nothing any more.
    pub fn drifted(&mut self) {
        self.settle(false);
        self.held = Set::default();
        self.had_twins = false;
    }

    /// What pieces are called that the gateway holds.
    pub fn pieces(&self) -> BTreeSet<Digest> {
        self.held.pieces.keys().copied().collect()
    }

    /// Names of the certificates that it holds.
    pub fn certificates(&self) -> BTreeSet<(String, String)> {
        self.held.keys.values().cloned().collect()
    }

    /// All that it holds in the messages of one version without keys; `None` if this or one that it grew from had two pieces of one
    /// name: no controller sends that, and which of them counts is not said.
    pub fn whole(&self) -> Option<Vec<Vec<u8>>> {
        let pieces = self.held.pieces.values().map(|(kind, json)| part(*kind, json));
        let commit = commit(1, self.held.pieces.len() as u64, 0);
        (!self.had_twins).then(|| pieces.chain([commit]).collect())
    }

    fn piece(&mut self, kind: u32, json: &[u8]) -> Word {
        let digest = digest(&[&kind.to_be_bytes(), json]);
        self.sent.push(digest);
        self.staged.pieces.insert(digest, (kind, json.to_vec()));
        Word::Staged(part(kind, json))
    }

    fn key(&mut self, text: &[u8]) -> Option<Word> {
        let mut words = std::str::from_utf8(text).ok()?.splitn(3, ' ');
        let (namespace, secret, chain) = (words.next()?, words.next()?, words.next().unwrap_or_default());
        let key = format!("{KEY}-{}", self.sent_keys.len());
        let texts = [namespace, secret, chain, &key];
        let digest = digest(&texts.map(str::as_bytes));
        self.sent_keys.push(digest);
        self.staged.keys.insert(digest, (namespace.into(), secret.into()));
        let keyed: Vec<u8> = (1..).zip(texts).flat_map(|(tag, text)| bytes(tag, text.as_bytes())).collect();
        Some(Word::Staged(down(3, &bytes(1, &keyed))))
    }

    fn remove(&mut self, digest: Digest, tag: u8) -> Word {
        self.gone.insert(digest);
        Word::Staged(down(tag, &bytes(2, &digest)))
    }

    fn commit(&mut self, told: &[u8]) -> Word {
        self.version += 1;
        let next = self.held.with(self.staged.clone(), &self.gone);
        let right = (next.pieces.len() as u64, next.keys.len() as u64);
        let mut told = told.split(|&b| b == b' ').map(decimal);
        let (pieces, keys) = match (told.next().flatten(), told.next().flatten()) {
            (Some(pieces), Some(keys)) => (pieces, keys),
            _ => right,
        };
        Word::Commit(commit(self.version, pieces, keys), (pieces, keys) == right)
    }
}

impl Set {
    fn has_twins(&self) -> bool {
        let names: BTreeSet<String> = self.pieces.values().map(name).collect();
        names.len() < self.pieces.len()
    }

    fn with(&self, added: Self, gone: &BTreeSet<Digest>) -> Self {
        let mut next = self.clone();
        next.pieces.retain(|digest, _| !gone.contains(digest));
        next.keys.retain(|digest, _| !gone.contains(digest));
        next.pieces.extend(added.pieces);
        next.keys.extend(added.keys);
        next
    }
}

/// What a piece is the piece of; of what has no name, itself.
fn name(piece: &Piece) -> String {
    let (kind, json) = piece;
    let value = serde_json::from_slice::<serde_json::Value>(json).unwrap_or_default();
    let name = value.get("name").cloned().unwrap_or_default();
    let named = match kind {
        1 => serde_json::from_value::<RuleName>(name).ok().map(|name| name.to_string()),
        2 => serde_json::from_value::<BackendName>(name).ok().map(|name| format!("{name} {}", name.uid)),
        3 => serde_json::from_value::<ListenerName>(name).ok().map(|name| name.to_string()),
        _ => None,
    };
    named.map_or_else(|| format!("{piece:?}"), |name| format!("{kind} {name}"))
}

/// Of several texts, each behind its length.
fn digest(texts: &[&[u8]]) -> Digest {
    let framed: Vec<u8> = texts.iter().flat_map(|text| [&(text.len() as u64).to_be_bytes(), *text].concat()).collect();
    let whole = ring::digest::digest(&ring::digest::SHA256, &framed);
    whole.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes")
}

fn part(kind: u32, json: &[u8]) -> Vec<u8> {
    down(2, &bytes(1, &[number(1, u64::from(kind)), bytes(2, json)].concat()))
}

fn commit(version: u64, pieces: u64, keys: u64) -> Vec<u8> {
    down(4, &[number(1, version), number(2, pieces), number(3, keys)].concat())
}

/// A message of the controller.
fn down(tag: u8, say: &[u8]) -> Vec<u8> {
    bytes(tag, say)
}

/// A field of protobuf that has a length.
fn bytes(tag: u8, text: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2];
    varint(&mut field, text.len() as u64);
    field.extend(text);
    field
}

/// A field of protobuf that is a number.
fn number(tag: u8, value: u64) -> Vec<u8> {
    let mut field = vec![tag << 3];
    varint(&mut field, value);
    field
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        to.push((value % 128 + 128) as u8);
        value /= 128;
    }
    to.push(value as u8);
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_config::Snapshot;
    use headgate_controller::{
        assemble::{Ground, Known, assemble},
        sources::directory::load_text,
    };
    use headgate_stream::replay::{Replay, Replayed};
    use std::{fs, path::Path};

    const SOURCES: [&str; 9] = [
        "backend_tls",
        "filters",
        "grpc",
        "hostname_intersection",
        "proxy_protocol",
        "scaling_policies",
        "timeouts_and_matches",
        "transport",
        "weights",
    ];

    fn folder(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    /// What becomes of objects, said in two versions and with a stream that breaks between them.
    fn script(yaml: &str) -> String {
        let loaded = load_text(Path::new("seed.yaml"), yaml);
        let one = assemble(&loaded, &Known::default(), &Ground::standalone("localhost", 8080), 0).translation;
        let Snapshot { listeners, rules, backends } = one.snapshot;
        let mut lines = Vec::new();
        let json = |kind: u32, json: serde_json::Result<String>| format!("{kind} {}", json.unwrap());
        lines.extend(listeners.values().map(|one| json(3, serde_json::to_string(one))));
        lines.extend(backends.values().map(|one| json(2, serde_json::to_string(&**one))));
        lines.extend(rules.values().map(|one| json(1, serde_json::to_string(&**one))));
        lines.extend(["k a tls chain".to_owned(), "c".to_owned()]);
        let of = |one: &BackendName| serde_json::to_string(one).unwrap();
        let address = r#"{"address":"10.0.0.1:80","ready":true,"probe":{"http":{"path":"/"}}}"#;
        lines.extend(backends.values().map(|one| format!(r#"e {{"backend":{},"list":[{address}]}}"#, of(&one.name))));
        lines.extend(["-0", "x", "-1", "~0", "k a tls chain2", "c", "c 0 0"].map(str::to_owned));
        lines.join("\n") + "\n"
    }

    #[test]
    fn seeds_say_whole_versions() {
        let corpus = folder("corpus/stream");
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            for source in SOURCES {
                let yaml = folder("../controller/translate/tests/golden").join(source).with_extension("yaml");
                fs::write(corpus.join(source), script(&fs::read_to_string(yaml).unwrap())).unwrap();
            }
        }
        for source in SOURCES {
            let text = fs::read(corpus.join(source)).unwrap();
            let (mut controller, mut gateway, mut rules) = (Controller::default(), Replay::default(), Vec::new());
            for line in text.split(|&b| b == b'\n') {
                let Some(word) = controller.say(line) else { continue };
                let (Word::Staged(message) | Word::Endpoints(message) | Word::Commit(message, _)) = word else {
                    gateway.reconnect();
                    controller.settle(false);
                    continue;
                };
                match gateway.hear(&message) {
                    Ok(Replayed::Version { snapshot, problems, .. }) => {
                        assert_eq!(problems, Vec::<String>::new(), "{source}");
                        controller.settle(true);
                        rules.push(snapshot.rules.len());
                    }
                    Ok(_) => {}
                    Err(_) => controller.drifted(),
                }
            }
            assert!(rules.len() == 2 && rules[0] > 0, "{source}: {rules:?}");
            assert!(controller.pieces().is_empty(), "{source}: the last commit lies");
        }
    }
}
