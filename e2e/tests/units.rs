//! The unit files in docs/systemd.md: systemd takes each of them, and the program takes the flags in them. It starts no service.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use headgate_e2e::binary;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Name and text of each block that begins with its name.
fn units() -> Vec<(String, String)> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/systemd.md");
    let text = fs::read_to_string(document).unwrap();
    let blocks = text.split("```ini\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let named = |block: String| (block.lines().next().unwrap().trim_start_matches("# ").to_owned(), block);
    blocks.map(named).collect()
}

#[test]
fn systemd_takes_each_unit() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("not tried: there is no systemd-analyze");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = Vec::new();
    for (name, text) in units() {
        // a program that is there
        let text = text.replace("/usr/local/bin/headgate", "/bin/true");
        paths.push(home.path().join(name));
        fs::write(paths.last().unwrap(), text).unwrap();
    }
    let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["headgate.service", "headgate.socket", "headgate@.service"]);
    fs::rename(&paths[2], home.path().join("headgate@a.service")).unwrap();
    paths[2] = home.path().join("headgate@a.service");
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("headgate")).collect();
    assert!(verified.status.success() && of_ours.is_empty(), "{said}");
}

#[test]
fn the_program_takes_the_flags_of_each_unit() {
    let mut commands = 0;
    for (name, text) in units() {
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/headgate ")) {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words.last(), Some(&"/etc/headgate"), "{name}: {line}");
            let missing = ["/nonexistent/headgate"];
            let started = Command::new(binary()).args(&words[..words.len() - 1]).args(missing).output().unwrap();
            let said = String::from_utf8_lossy(&started.stderr).into_owned();
            // the flags are read first, and then what is to be served
            assert!(said.contains("no such file or folder"), "{name}: {said}");
            commands += 1;
        }
    }
    assert_eq!(commands, 2);
}
