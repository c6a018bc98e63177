//! Saves as editors and Kubernetes make them: each is live soon, and none shows a state in between.

use headgate_controller::sources::{directory::Loaded, watch::Directory};
use headgate_translate::kinds::Object;
use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::timeout;

/// How long a test waits for what must come; generous, as machines can be busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  v: {value}\n")
}

fn live(loaded: &Loaded) -> Vec<String> {
    let value = |object: &Object| match object {
        Object::ConfigMap(map) => format!("{}={}", map.meta.name, map.data.get("v").map_or("", String::as_str)),
        other => other.meta().name.to_string(),
    };
    loaded.kubernetes().map(value).collect()
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, value) in files {
        fs::write(folder.path().join(format!("{name}.yaml")), map(name, value)).expect("a file");
    }
    folder
}

/// Waits until exactly this is live, and gives every state on the way.
async fn until(directory: &mut Directory, expected: &[&str]) -> Vec<Arc<Loaded>> {
    let mut states = Vec::new();
    let wait = async {
        while live(directory.loaded()) != expected {
            states.push(directory.next().await);
        }
    };
    if timeout(PATIENCE, wait).await.is_err() {
        panic!("{:?} is live, not {expected:?}", live(directory.loaded()));
    }
    states
}

fn assert_quiet(states: &[Arc<Loaded>]) {
    for state in states {
        assert!(state.findings.is_empty(), "told in between: {:?}", state.findings);
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
}

#[tokio::test]
async fn a_save_in_place_is_live() {
    let folder = folder(&[("a", "one"), ("b", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    assert_eq!(directory.polls_because(), None);
    assert_eq!(live(directory.loaded()), ["a=one", "b=one"]);
    write(&folder.path().join("a.yaml"), &map("a", "two"));
    assert_quiet(&until(&mut directory, &["a=two", "b=one"]).await);
}

#[tokio::test]
async fn a_save_in_pieces_is_live_as_a_whole() {
    let folder = folder(&[("a", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    let text = map("a", "two");
    let mut file = fs::File::create(folder.path().join("a.yaml")).expect("a file");
    for piece in text.as_bytes().chunks(7) {
        file.write_all(piece).expect("written");
    }
    drop(file);
    assert_quiet(&until(&mut directory, &["a=two"]).await);
}

#[tokio::test]
async fn a_file_renamed_over_is_live() {
    let folder = folder(&[("a", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    let new = folder.path().join("a.yaml.tmp");
    write(&new, &map("a", "two"));
    fs::rename(&new, folder.path().join("a.yaml")).expect("renamed");
    assert_quiet(&until(&mut directory, &["a=two"]).await);
}

#[tokio::test]
async fn a_file_moved_away_and_written_anew_is_never_gone() {
    let folder = folder(&[("a", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    let path = folder.path().join("a.yaml");
    fs::rename(&path, folder.path().join("a.yaml~")).expect("renamed");
    write(&path, &map("a", "two"));
    let states = until(&mut directory, &["a=two"]).await;
    assert_quiet(&states);
    assert!(states.iter().all(|state| live(state) == ["a=two"]));
}

#[tokio::test]
async fn nonsense_is_told_and_the_mended_file_is_live() {
    let folder = folder(&[("a", "one"), ("b", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    write(&folder.path().join("a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a");
    let state = timeout(PATIENCE, directory.next()).await.expect("it is told");
    assert_eq!((live(&state), state.findings.len()), (vec!["a=one".to_owned(), "b=one".to_owned()], 1));
    write(&folder.path().join("a.yaml"), &map("a", "two"));
    until(&mut directory, &["a=two", "b=one"]).await;
    assert!(directory.loaded().findings.is_empty());
}

#[tokio::test]
async fn files_and_folders_that_come_and_go_are_seen() {
    let folder = folder(&[("a", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    let sub = folder.path().join("x/y");
    fs::create_dir_all(&sub).expect("a folder");
    write(&sub.join("b.yaml"), &map("b", "one"));
    until(&mut directory, &["a=one", "b=one"]).await;
    write(&sub.join("b.yaml"), &map("b", "two"));
    until(&mut directory, &["a=one", "b=two"]).await;
    fs::remove_dir_all(folder.path().join("x")).expect("removed");
    until(&mut directory, &["a=one"]).await;
    fs::create_dir_all(&sub).expect("a folder");
    write(&sub.join("b.yaml"), &map("b", "three"));
    until(&mut directory, &["a=one", "b=three"]).await;
    write(&sub.join("b.yaml"), &map("b", "four"));
    until(&mut directory, &["a=one", "b=four"]).await;
}

#[tokio::test]
async fn a_single_file_is_watched_through_renames() {
    let folder = folder(&[("a", "one")]);
    let path = folder.path().join("a.yaml");
    let mut directory = Directory::open(vec![path.clone()]);
    for value in ["two", "three"] {
        let new = folder.path().join("new");
        write(&new, &map("a", value));
        fs::rename(&new, &path).expect("renamed");
        until(&mut directory, &[&format!("a={value}")]).await;
    }
}

#[tokio::test]
async fn a_folder_that_vanishes_is_told_and_seen_again() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = parent.path().join("conf");
    fs::create_dir(&path).expect("a folder");
    write(&path.join("a.yaml"), &map("a", "one"));
    let mut directory = Directory::open(vec![path.clone()]);
    fs::rename(&path, parent.path().join("away")).expect("renamed");
    let state = timeout(PATIENCE, directory.next()).await.expect("it is told");
    assert_eq!((live(&state), state.findings.len()), (vec!["a=one".to_owned()], 1));
    fs::create_dir(&path).expect("a folder");
    write(&path.join("a.yaml"), &map("a", "two"));
    until(&mut directory, &["a=two"]).await;
    write(&path.join("a.yaml"), &map("a", "three"));
    until(&mut directory, &["a=three"]).await;
}

#[tokio::test]
async fn a_mount_of_kubernetes_is_swapped_as_a_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let version = |name: &str, value: &str| {
        fs::create_dir(path(name)).expect("a folder");
        for object in ["a", "b"] {
            write(&path(name).join(format!("{object}.yaml")), &map(object, value));
        }
        symlink(name, path("..data_tmp")).expect("a link");
        fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
    };
    version("..2026_01", "one");
    for object in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(object), path(object)).expect("a link");
    }
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    for (name, before, value) in [("..2026_02", "..2026_01", "two"), ("..2026_03", "..2026_02", "three")] {
        version(name, value);
        fs::remove_dir_all(path(before)).expect("removed");
        let states = until(&mut directory, &[&format!("a={value}"), &format!("b={value}")]).await;
        assert_quiet(&states);
        assert_eq!(states.len(), 1, "both objects change at once");
    }
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_followed() {
    let (folder, elsewhere) = (folder(&[]), folder(&[("a", "one")]));
    symlink(elsewhere.path().join("a.yaml"), folder.path().join("link.yaml")).expect("a link");
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    assert_eq!(live(directory.loaded()), ["a=one"]);
    write(&elsewhere.path().join("a.yaml"), &map("a", "two"));
    until(&mut directory, &["a=two"]).await;
}

#[tokio::test]
async fn who_stops_waiting_loses_nothing() {
    let folder = folder(&[("a", "one")]);
    let mut directory = Directory::open(vec![folder.path().to_owned()]);
    write(&folder.path().join("a.yaml"), &map("a", "two"));
    let wait = async {
        while live(directory.loaded()) != ["a=two"] {
            let _ = timeout(Duration::from_millis(3), directory.next()).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it comes nevertheless");
}
