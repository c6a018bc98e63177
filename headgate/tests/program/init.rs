//! `init` as a user types it: what it writes, and that it overwrites nothing.

use crate::program::{headgate, headgate_in};
use std::fs;

#[test]
fn the_example_is_written_clean_and_served() {
    let home = tempfile::tempdir().unwrap();
    headgate_in(home.path(), &["init", "hello"])
        .exits(0)
        .prints("wrote hello/function.yaml")
        .prints("headgate run hello");
    headgate_in(home.path(), &["check", "hello"]).exits(0).prints("no problems; 3 objects in 2 files");
    let explained =
        headgate_in(home.path(), &["explain", "--from", "hello", "http://hello.default.localhost:8080/", "-o", "json"]);
    let split = &explained.exits(0).json()["split"];
    assert_eq!((&split[0]["percent"], &split[1]["percent"]), (&90.0.into(), &10.0.into()));
}

#[test]
fn nothing_is_written_over() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("route.yaml"), "mine").unwrap();
    headgate_in(home.path(), &["init"]).exits(1).complains("./route.yaml exists already: nothing was written");
    let files: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(fs::read_to_string(home.path().join("route.yaml")).unwrap(), "mine");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    headgate(&["init", "/dev/null/x"]).exits(1).complains("/dev/null/x: ");
}
