//! The shape that ARCHITECTURE.md promises: who may depend on whom, where the routes are read, that files say what they are for, and that examples are clean. It starts no program of ours.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a crate must never reach, directly or through others, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "headgate-config",
        &["tokio", "hyper", "h2", "http", "kube", "headgate-*"],
        "the words are data, below everything",
    ),
    ("headgate-message", &["tokio", "hyper", "h2", "http", "kube"], "heads are data"),
    ("headgate-http1", &["tokio", "hyper", "h2", "kube", "socket2"], "the codec has no socket and no clock"),
    ("headgate-proxy-protocol", &["tokio", "hyper", "h2", "kube", "socket2"], "a header is bytes and addresses"),
    ("headgate-routing", &["tokio", "hyper", "h2", "kube"], "matching is pure"),
    ("headgate-translate", &["tokio", "hyper", "h2", "kube", "kube-client", "headgate-routing"], "translation is pure"),
    ("headgate-provision", &["tokio", "hyper", "h2", "kube", "kube-client"], "manifests are data"),
    ("headgate-functions", &["tokio", "hyper", "h2", "kube", "kube-client"], "planning is pure"),
    (
        "headgate-gateway",
        &[
            "headgate-translate",
            "headgate-functions",
            "headgate-controller",
            "kube",
            "kube-client",
            "kube-cel",
            "k8s-openapi",
        ],
        "the data plane never knows Kubernetes",
    ),
    ("headgate-controller", &["headgate-gateway", "headgate-http1"], "the control plane never sees a request"),
];

#[test]
fn crates_depend_downwards_only() {
    let graph = Graph::read();
    for (of, never, why) in NEVER {
        let reached = graph.reached(of);
        for name in *never {
            let is_it = |found: &&String| match name.strip_suffix('*') {
                Some(prefix) => found.starts_with(prefix),
                None => found == name,
            };
            let wrong: Vec<_> = reached.keys().filter(is_it).map(|found| graph.path(&reached, found)).collect();
            assert!(wrong.is_empty(), "{why}, but: {}", wrong.join("; "));
        }
    }
}

#[test]
fn nobody_depends_on_the_program_or_on_tests() {
    let graph = Graph::read();
    for (name, needs) in &graph.needs {
        assert!(!needs.contains("headgate-e2e"), "{name} depends on the end-to-end tests");
        assert!(!needs.contains("headgate"), "{name} depends on the program");
    }
}

/// Normal dependencies by name, of everything that is built.
struct Graph {
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // of this platform only: what others need was never downloaded
        let about = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
        let about = String::from_utf8_lossy(&about).into_owned();
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names: BTreeMap<String, String> =
            list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let is_normal = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let of = needs.entry(names[&text(&node["id"])].clone()).or_default();
            let dependencies = list(&node["deps"]);
            of.extend(dependencies.iter().filter(is_normal).map(|dependency| names[&text(&dependency["pkg"])].clone()));
        }
        Self { needs }
    }

    /// Everything that a crate reaches, and through whom.
    fn reached(&self, of: &str) -> BTreeMap<String, String> {
        assert!(self.needs.contains_key(of), "there is no crate {of}");
        let mut reached = BTreeMap::new();
        let mut open = vec![of.to_owned()];
        while let Some(name) = open.pop() {
            for need in &self.needs[&name] {
                if need != of && !reached.contains_key(need) {
                    reached.insert(need.clone(), name.clone());
                    open.push(need.clone());
                }
            }
        }
        reached
    }

    fn path(&self, reached: &BTreeMap<String, String>, to: &str) -> String {
        let mut path = vec![to];
        while let Some(through) = reached.get(*path.last().unwrap()) {
            path.push(through);
        }
        path.reverse();
        path.join(" -> ")
    }
}

/// Sources of ours, by path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    open.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "found only {} sources", found.len());
    found
}

/// A source without its tests and comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_file_opens_with_what_it_is_for() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 20, "{path} opens with {first:?}");
    }
}

#[test]
fn the_routes_are_read_at_one_place_of_the_request_path() {
    // on the control thread and the admin port others may look at them
    let others = ["gateway/src/subscribe.rs", "gateway/src/admin.rs", "gateway/src/lib.rs"];
    let loads = |text: &str| ["active.load", "cache.load()", "Cache::new("].iter().any(|load| text.contains(load));
    let found: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| path.starts_with("gateway/src") && loads(&code(text)))
        .map(|(path, _)| path)
        .filter(|path| !others.contains(&path.as_str()))
        .collect();
    assert_eq!(found, ["gateway/src/core.rs"]);
}

#[test]
fn pure_crates_read_no_clock_and_no_file() {
    let pure = [
        "config/src",
        "gateway/message/src",
        "gateway/http1/src",
        "gateway/routing/src",
        "controller/translate/src",
        "controller/functions/src",
        "controller/provision/src",
    ];
    let impure = ["Instant::now", "SystemTime", "std::fs", "std::net::Tcp", "std::env", "std::thread", "fastrand::"];
    for (path, text) in sources() {
        if pure.iter().any(|folder| path.starts_with(folder)) {
            let code = code(&text);
            let found: Vec<_> = impure.iter().filter(|word| code.contains(**word)).collect();
            assert!(found.is_empty(), "{path} has {found:?}");
        }
    }
}

#[test]
fn no_open_ends_stand_in_the_sources() {
    // written apart, so that this file has none
    let marks = ["TO", "FIX", "XX"].map(|start| {
        format!(
            "{start}{}",
            if start == "TO" {
                "DO"
            } else if start == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            let open = words.into_iter().any(|word| marks.iter().any(|mark| word == mark));
            assert!(!open, "{path}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = root();
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
            .map(|name| root.join(name))
            .into();
    for folder in ["docs", "docs/decisions", "examples"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") {
                let target = document.parent().unwrap().join(file);
                assert!(target.exists(), "{} links {link}, which is not there", document.display());
            }
        }
    }
}

/// A word of a table of `docs/resilience.md` is a story, a test or a file of tests, or the beginning of its name.
#[test]
fn what_shows_resilience_is_there() {
    let text = fs::read_to_string(root().join("docs/resilience.md")).unwrap();
    let sources = sources();
    let mut count = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let shown = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        for named in shown.split('`').skip(1).step_by(2) {
            let words: Vec<_> = named.rsplit(' ').next().unwrap().split("::").collect();
            let in_story = shown.contains("stor").then(|| format!("e2e/cluster/tests/{}.rs", words[0]));
            let last = words[words.len() - 1];
            let is_it = |(path, text): &(String, String)| {
                let has_it = text.contains(&format!("fn {last}")) || path.ends_with(&format!("/{last}.rs"));
                has_it && (in_story.as_ref().is_none_or(|story| story == path) || named.starts_with("headgate"))
            };
            assert!(sources.iter().any(is_it), "docs/resilience.md names {named}, which is not there");
            count += 1;
        }
    }
    assert!(count > 25, "{count} names");
}

#[test]
fn architecture_names_each_folder_of_ours() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let folders: BTreeSet<String> = sources()
        .iter()
        .filter_map(|(path, _)| path.rsplit_once("/src/").map(|(folder, _)| folder.to_owned()))
        .collect();
    for folder in folders {
        let last = folder.rsplit('/').next().unwrap();
        assert!(text.contains(&format!("{last}/")), "ARCHITECTURE.md does not name {folder}/");
    }
}
