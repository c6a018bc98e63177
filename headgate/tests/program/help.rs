//! What `--help` says is part of the interface. `UPDATE_GOLDENS=1` writes it anew.

use crate::program::headgate;
use std::{collections::BTreeSet, fs, path::Path};

const COMMANDS: [&str; 13] = [
    "run",
    "controller",
    "gateway",
    "init",
    "check",
    "routes",
    "explain",
    "status",
    "diff",
    "migrate",
    "echo",
    "completion",
    "version",
];

#[test]
fn help_is_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut differing = Vec::new();
    for name in std::iter::once("headgate").chain(COMMANDS) {
        let arguments = if name == "headgate" { vec!["--help"] } else { vec![name, "--help"] };
        let help = headgate(&arguments).exits(0).stdout;
        let file = folder.join(format!("{name}.txt"));
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &help).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != help {
            differing.push(format!("{}\n{help}", file.display()));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDENS=1 writes these anew:\n{}", differing.join("\n"));
}

#[test]
fn every_command_has_a_golden_and_an_example() {
    let help = headgate(&["--help"]).exits(0).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed: BTreeSet<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(listed, BTreeSet::from(COMMANDS));
    for name in COMMANDS {
        headgate(&[name, "--help"]).exits(0).prints("Examples:");
    }
}

#[test]
fn limits_stand_in_the_long_help_only() {
    headgate(&["run", "--help"]).exits(0).prints("Limits:").prints("--head-bytes <SIZE>");
    assert!(!headgate(&["run", "-h"]).exits(0).stdout.contains("--head-bytes"));
}
