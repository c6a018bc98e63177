//! Objects from real files: what goes live, what stays, what is told.

use headgate_controller::{
    assemble::{Ground, Known, assemble},
    sources::{
        Content,
        directory::{self, GONE_MS_MIN, HALF_WRITTEN_MS_MAX, Loaded, Look, Touched},
        findings::Output,
    },
};
use headgate_translate::kinds::Object;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// A folder with what was last loaded from it.
struct Folder {
    folder: TempDir,
    paths: Vec<PathBuf>,
    loaded: Loaded,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut new = Self { paths: vec![folder.path().to_owned()], folder, loaded: Loaded::default() };
        for (name, text) in files {
            new.write(name, text);
        }
        new.load();
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn load(&mut self) {
        self.look(Touched::Anything, SystemTime::now(), false);
    }

    fn look(&mut self, touched: Touched, now: SystemTime, patient: bool) {
        self.loaded = directory::load(&self.paths, &self.loaded, &Look { now, touched, patient });
    }

    fn modified_at(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).and_then(|metadata| metadata.modified()).expect("a time")
    }

    /// `name=value` of each live object.
    fn live(&self) -> Vec<String> {
        live(&self.loaded)
    }

    /// The findings as text, the folder's path left out.
    fn told(&self) -> String {
        let text: String = self.loaded.findings.iter().map(|finding| finding.text(false)).collect();
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// What is wrong beyond the reading, as text.
    fn assembled(&self) -> String {
        let ground = Ground::standalone("localhost", 8080);
        let assembly = assemble(&self.loaded, &Known::default(), &ground, 0);
        assembly.findings.iter().map(|finding| finding.text(false)).collect()
    }
}

fn live(loaded: &Loaded) -> Vec<String> {
    let value = |object: &Object| match object {
        Object::ConfigMap(map) => format!("{}={}", map.meta.name, map.data.get("v").map_or("", String::as_str)),
        other => other.meta().name.to_string(),
    };
    loaded.kubernetes().map(value).collect()
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  v: {value}\n")
}

#[test]
fn what_is_broken_keeps_its_last_good_version_and_the_rest_goes_live() {
    let mut folder =
        Folder::new(&[("a.yaml", &[map("a", "one"), map("b", "one")].join("---\n")), ("c.yaml", &map("c", "one"))]);
    assert_eq!(folder.live(), ["a=one", "b=one", "c=one"]);
    folder.write("a.yaml", &[map("a", "2"), map("b", "two")].join("---\n"));
    folder.load();
    assert_eq!(folder.live(), ["a=one", "b=two", "c=one"]);
    let expected = "\
a.yaml:6:6: error: ConfigMap a: data.v: is a number
  6 |   v: 2
    |      ^
  help: write a text (in quotes if it looks like a number or a truth value)
  note: the last good version stays live
";
    assert_eq!(folder.told(), expected);
    folder.write("a.yaml", &[map("a", "three"), map("b", "two")].join("---\n"));
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["a=three".into(), "b=two".into(), "c=one".into()], String::new()));
}

#[test]
fn an_object_that_was_never_good_is_told_and_not_live() {
    let folder = Folder::new(&[("a.yaml", &map("a", "1"))]);
    assert!(folder.live().is_empty());
    assert!(!folder.told().contains("stays live"));
}

#[test]
fn a_syntax_error_keeps_the_object_it_names_or_else_the_one_at_its_position() {
    let good = [map("a", "one"), map("b", "one"), map("c", "one")].join("---\n");
    let mut folder = Folder::new(&[("a.yaml", &good)]);
    let named = map("b", "[x");
    let nameless = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b\ndata:\n  v: two\n".to_owned();
    for broken in [named, nameless] {
        folder.write("a.yaml", &[map("a", "two"), broken, map("c", "two")].join("---\n"));
        folder.load();
        assert_eq!(folder.live(), ["a=two", "b=one", "c=two"], "{}", folder.told());
        assert!(folder.told().contains("stays live"), "{}", folder.told());
    }
    // What stood at the position before and was only moved is taken from where it stands now.
    folder.write("a.yaml", &["x: [", &map("a", "three"), &map("b", "three"), &map("c", "three")].join("\n---\n"));
    folder.load();
    assert_eq!(folder.live(), ["a=three", "b=three", "c=three"]);
}

#[test]
fn what_is_removed_is_gone() {
    let mut folder =
        Folder::new(&[("a.yaml", &[map("a", "one"), map("b", "one")].join("---\n")), ("c.yaml", &map("c", "one"))]);
    folder.write("a.yaml", &map("b", "one"));
    fs::remove_file(folder.path("c.yaml")).expect("it is there");
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["b=one".to_owned()], String::new()));
}

#[test]
fn the_same_object_twice_is_told_with_both_places() {
    let mut folder =
        Folder::new(&[("a.yaml", &map("x", "first")), ("b.yaml", &format!("# other\n{}", map("x", "second")))]);
    assert_eq!(folder.live(), ["x=first"]);
    let expected = format!(
        "b.yaml:2:1: error: ConfigMap default/x: the same object stands in {}:1 already, and that one is used\n  help: remove one of the two, or give it another name or namespace\n",
        folder.path("a.yaml").display()
    );
    let expected = expected.replace(&format!("{}/", folder.folder.path().display()), "");
    assert_eq!(folder.told(), expected);
    folder.write("a.yaml", "# nothing\n");
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["x=second".to_owned()], String::new()));
}

#[test]
fn a_broken_copy_of_an_object_does_not_freeze_the_good_one() {
    let mut folder = Folder::new(&[("b.yaml", &map("x", "one"))]);
    folder.write("a.yaml", &map("x", "1"));
    folder.load();
    folder.write("b.yaml", &map("x", "two"));
    folder.load();
    assert_eq!(folder.live(), ["x=two"]);
}

#[test]
fn a_key_does_not_come_back_from_a_file_that_never_held_it() {
    let key = |cert: &str, key: &str| {
        let meta = "apiVersion: v1\nkind: Secret\nmetadata: {name: leaf}\ntype: kubernetes.io/tls\n";
        format!("{meta}stringData: {}\n", serde_json::json!({"tls.crt": cert, "tls.key": key}))
    };
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
    let good = key(&made.cert.pem(), &made.signing_key.serialize_pem());
    let mut folder = Folder::new(&[("a.yaml", &good), ("z.yaml", "# nothing\n")]);
    folder.write("b.yaml", &key("nonsense", "nonsense"));
    folder.load();
    assert_eq!((folder.live(), folder.loaded.unusable_secrets().len()), (vec!["leaf".to_owned()], 0));
    fs::remove_file(folder.path("a.yaml")).expect("it is there");
    folder.load();
    assert_eq!((folder.live(), folder.loaded.unusable_secrets().len()), (Vec::<String>::new(), 1));
    folder.write("b.yaml", &good);
    folder.load();
    folder.write("b.yaml", &key("nonsense", "nonsense"));
    folder.load();
    assert_eq!(folder.live(), ["leaf"], "the file that held it keeps it");
}

#[test]
fn a_path_that_vanishes_keeps_what_it_held() {
    let mut folder = Folder::new(&[("sub/a.yaml", &map("a", "one"))]);
    folder.paths = vec![folder.path("sub")];
    folder.load();
    fs::rename(folder.path("sub"), folder.path("away")).expect("it is there");
    folder.load();
    assert_eq!(folder.live(), ["a=one"]);
    let expected = "sub: error: cannot be read: no such file or folder\n  help: create it, or name another path\n  note: the last good version stays live\n";
    assert_eq!(folder.told(), expected);
    assert!(folder.loaded.folders.contains(folder.folder.path()), "its parent is watched for its return");
    fs::rename(folder.path("away"), folder.path("sub")).expect("it is there");
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["a=one".to_owned()], String::new()));
}

#[test]
fn a_file_that_is_no_text_keeps_what_it_held() {
    let mut folder = Folder::new(&[("a.yaml", &map("a", "one"))]);
    fs::write(folder.path("a.yaml"), b"a: 1\nb: \xff\n").expect("a file");
    folder.load();
    assert_eq!(folder.live(), ["a=one"]);
    let expected = "a.yaml: error: line 2 is not UTF-8\n  help: save the file as UTF-8\n  note: the last good version stays live\n";
    assert_eq!(folder.told(), expected);
}

#[test]
fn only_files_of_objects_are_read_each_once_and_in_order() {
    let folder = Folder::new(&[
        ("b.yml", &map("b", "x")),
        ("a.yaml", &map("a", "x")),
        (
            "c/d.json",
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"d\"},\"data\":{\"v\":\"x\"}}",
        ),
        (".hidden.yaml", "x: ["),
        (".git/x.yaml", "x: ["),
        ("node_modules/x/x.yaml", "x: ["),
        (".#a.yaml", "x: ["),
        ("#a.yaml#", "x: ["),
        ("a.yaml~", "x: ["),
        (".a.yaml.swp", "x: ["),
        ("a.yaml.tmp", "x: ["),
        ("4913", "x: ["),
        ("notes.txt", "x: ["),
    ]);
    symlink(folder.folder.path(), folder.path("c/loop")).expect("a link");
    symlink(folder.path("a.yaml"), folder.path("z.yaml")).expect("a link");
    let mut folder = folder;
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["a=x".into(), "b=x".into(), "d=x".into()], String::new()));
    assert_eq!(folder.loaded.report().files, 3);
}

#[test]
fn a_mount_of_kubernetes_is_swapped_as_a_whole() {
    let mut folder = Folder::new(&[("..2026_01/a.yaml", &map("a", "one")), ("..2026_01/b.yaml", &map("b", "one"))]);
    symlink("..2026_01", folder.path("..data")).expect("a link");
    for name in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(name), folder.path(name)).expect("a link");
    }
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["a=one".into(), "b=one".into()], String::new()));
    folder.write("..2026_02/a.yaml", &map("a", "two"));
    folder.write("..2026_02/b.yaml", &map("b", "two"));
    symlink("..2026_02", folder.path("..data_tmp")).expect("a link");
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("it is there");
    fs::remove_dir_all(folder.path("..2026_01")).expect("it is there");
    folder.load();
    assert_eq!((folder.live(), folder.told()), (vec!["a=two".into(), "b=two".into()], String::new()));
    assert_eq!(folder.loaded.report().files, 2);
}

#[test]
fn a_link_that_leads_nowhere_is_told() {
    let mut folder = Folder::new(&[]);
    symlink("nowhere.yaml", folder.path("a.yaml")).expect("a link");
    folder.load();
    assert_eq!(
        folder.told(),
        "a.yaml: error: this link leads nowhere\n  help: create its target, or remove the link\n"
    );
}

#[test]
fn lists_are_unpacked_and_other_kinds_named_once() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a}
  data: {v: x}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: b}
  data: {v: 1}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: c}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
---
name: no object
";
    let folder = Folder::new(&[("a.yaml", text)]);
    assert_eq!(folder.live(), ["a=x"]);
    let expected = "\
a.yaml:11:13: error: ConfigMap b: data.v: is a number
  11 |   data: {v: 1}
     |             ^
  help: write a text (in quotes if it looks like a number or a truth value)
skipped 1 document without apiVersion and kind: no Kubernetes object
skipped kind apps/v1 Deployment (2 objects): Headgate does not use it
1 error; 1 object in 1 file
";
    let report = folder.loaded.report().render(Output::Text { colours: false });
    assert_eq!(report.replace(&format!("{}/", folder.folder.path().display()), ""), expected);
}

#[test]
fn objects_of_openfunction_are_read() {
    let text = "apiVersion: core.openfunction.io/v1beta2\nkind: Function\nmetadata:\n  name: hello\nspec:\n  image: x\n  serving:\n    triggers:\n      http: {}\n";
    let folder = Folder::new(&[("a.yaml", text)]);
    let names: Vec<String> = folder.loaded.objects.keys().map(ToString::to_string).collect();
    assert_eq!((names, folder.told()), (vec!["Function default/hello".to_owned()], String::new()));
    assert!(folder.loaded.objects.values().all(|object| matches!(object.content, Content::OpenFunction(_))));
    assert_eq!(folder.loaded.openfunction().count(), 1);
}

#[test]
fn what_kubectl_reads_differently_is_a_warning() {
    let folder = Folder::new(&[("a.yaml", &map("a", "on"))]);
    assert_eq!(folder.live(), ["a=on"]);
    let expected = "\
a.yaml:6:6: warning: ConfigMap a: kubectl reads `on` as true, here it stays the text `on`
  6 |   v: on
    |      ^
  help: write \"on\" in quotes if text is meant, otherwise true
";
    assert_eq!(folder.told(), expected);
}

#[test]
fn other_programs_files_only_warn() {
    let folder = Folder::new(&[
        ("tsconfig.json", "{\n  \"a\": 1, // a comment\n  \"b\": \"2\"\n}}\n"),
        ("values.yaml", "a: {{ .b }}\n"),
    ]);
    assert!(
        folder
            .loaded
            .findings
            .iter()
            .all(|finding| finding.severity != headgate_controller::sources::findings::Severity::Error)
    );
    assert_eq!(folder.loaded.findings.len(), 2, "{}", folder.told());
    assert!(folder.live().is_empty());
}

#[test]
fn a_half_written_save_waits_and_is_told_when_it_stays_so() {
    let mut folder = Folder::new(&[("a.yaml", &map("a", "one"))]);
    for half in ["", "# nothing yet\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a", "apiVersion: v1\nkin"] {
        folder.write("a.yaml", half);
        let now = folder.modified_at("a.yaml") + Duration::from_millis(10);
        folder.look(Touched::Files(BTreeSet::from([folder.path("a.yaml")])), now, true);
        assert_eq!((folder.live(), folder.told()), (vec!["a=one".to_owned()], String::new()), "{half:?}");
        assert_eq!(folder.loaded.again, Some(Duration::from_millis(HALF_WRITTEN_MS_MAX - 10)));
    }
    let late = folder.modified_at("a.yaml") + Duration::from_millis(HALF_WRITTEN_MS_MAX);
    folder.look(Touched::Anything, late, true);
    assert_eq!(folder.live(), ["a=one"]);
    assert!(folder.told().contains("a key without its `:`"), "{}", folder.told());
    assert_eq!(folder.loaded.again, None);
    folder.write("a.yaml", "");
    folder.look(Touched::Anything, folder.modified_at("a.yaml") + Duration::from_millis(HALF_WRITTEN_MS_MAX), true);
    assert!(folder.live().is_empty(), "a file that stays empty holds nothing");
}

#[test]
fn a_file_that_is_gone_may_come_back_within_a_moment() {
    let mut folder = Folder::new(&[("a.yaml", &map("a", "one"))]);
    let now = SystemTime::now();
    fs::rename(folder.path("a.yaml"), folder.path("a.yaml~")).expect("it is there");
    folder.look(Touched::Files(BTreeSet::from([folder.path("a.yaml")])), now, true);
    assert_eq!(
        (folder.live(), folder.loaded.again),
        (vec!["a=one".to_owned()], Some(Duration::from_millis(GONE_MS_MIN)))
    );
    folder.write("a.yaml", &map("a", "two"));
    folder.look(Touched::Anything, now + Duration::from_millis(5), true);
    assert_eq!((folder.live(), folder.loaded.again), (vec!["a=two".to_owned()], None));
    fs::remove_file(folder.path("a.yaml")).expect("it is there");
    folder.look(Touched::Anything, now, true);
    folder.look(Touched::Anything, now + Duration::from_millis(GONE_MS_MIN), true);
    assert_eq!((folder.live(), folder.loaded.again), (Vec::<String>::new(), None));
}

#[test]
fn only_what_was_touched_is_read() {
    let mut folder = Folder::new(&[("a.yaml", &map("a", "one")), ("b.yaml", &map("b", "one"))]);
    let before = folder.loaded.clone();
    folder.write("a.yaml", &map("a", "two"));
    folder.write("b.yaml", &map("b", "two"));
    folder.look(Touched::Files(BTreeSet::from([folder.path("a.yaml")])), SystemTime::now(), true);
    assert_eq!(folder.live(), ["a=two", "b=one"]);
    assert!(folder.loaded.differs(&before));
    let shared = |name: usize| {
        Arc::ptr_eq(
            before.objects.values().nth(name).expect("two"),
            folder.loaded.objects.values().nth(name).expect("two"),
        )
    };
    assert_eq!((shared(0), shared(1)), (false, true));
}

#[test]
fn a_later_problem_gets_the_line_of_its_field() {
    use headgate_controller::sources::findings::Severity;
    let folder = Folder::new(&[("a.yaml", &[map("a", "one"), map("b", "one")].join("---\n"))]);
    let object = folder.loaded.objects.values().nth(1).expect("two");
    let finding = folder.loaded.locate(object, Severity::Warning, "data.v", "is odd", "write even");
    assert!(finding.place().ends_with("a.yaml:13:6"), "{}", finding.place());
    assert_eq!(finding.line_text, "  v: one");
    folder.write("a.yaml", "# other\n");
    let finding = folder.loaded.locate(object, Severity::Warning, "data.v", "is odd", "write even");
    assert!(finding.place().ends_with("a.yaml:8:1"), "{}", finding.place());
}

#[test]
fn text_from_standard_input_is_checked_alike() {
    let loaded = directory::load_text(Path::new("-"), &map("a", "1"));
    assert!(loaded.findings[0].text(false).starts_with("-:6:6: error: ConfigMap a: data.v: is a number"));
    assert_eq!(live(&directory::load_text(Path::new("-"), &map("a", "one"))), ["a=one"]);
}

/// What people get wrong in YAML, and exactly what they are told.
#[test]
fn syntax_errors_are_told_with_line_caret_and_remedy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/syntax.txt");
    let golden = fs::read_to_string(&path).expect("the golden file");
    let mut told = String::new();
    for case in golden.split("=====\n").filter(|case| !case.is_empty()) {
        let (text, _) = case.split_once("-----\n").expect("each case has its answer");
        // `kind:` makes the file one of ours.
        let loaded = directory::load_text(Path::new("a.yaml"), &format!("kind: X\n{}", text.replace("<TAB>", "\t")));
        let answer: String = loaded.findings.iter().map(|finding| finding.text(false)).collect();
        told += &format!("=====\n{text}-----\n{answer}");
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(path, told).expect("the golden file");
    }
    assert_eq!(told, golden, "set UPDATE_GOLDEN=1 to take this as right");
}

#[test]
fn parameters_of_gateways_are_known_though_nobody_provides_pods_here() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: headgate
  infrastructure: {parametersRef: {group: headgate.dev, kind: GatewayParameters, name: web}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
";
    let parameters = |spec: &str| {
        format!("apiVersion: headgate.dev/v1alpha1\nkind: GatewayParameters\nmetadata: {{name: web}}\nspec: {spec}\n")
    };
    let mut folder = Folder::new(&[("gateway.yaml", gateway), ("parameters.yaml", &parameters("{replicas: 2}"))]);
    assert_eq!(folder.assembled(), "");

    folder.write("parameters.yaml", &parameters("{replicas: many}"));
    folder.load();
    assert!(folder.told().starts_with("parameters.yaml:4:18: "), "{}", folder.told());
    assert_eq!(folder.assembled(), "", "the last good version counts");

    fs::remove_file(folder.path("parameters.yaml")).expect("it was there");
    folder.load();
    assert!(folder.assembled().contains("GatewayParameters default/web does not exist"), "{}", folder.assembled());
}
