//! Each command as a user types it: what it prints, and its exit code.
#![allow(clippy::unwrap_used, reason = "tests panic to fail")]

mod check;
mod echo;
mod explain;
mod gateway;
mod help;
mod init;
mod live;
mod migrate;
mod program;
mod routes;
mod skew;

use program::headgate;

#[test]
fn version_says_which_program_this_is() {
    let version = env!("CARGO_PKG_VERSION");
    headgate(&["version"]).exits(0).prints(&format!("headgate {version}"));
    let json = headgate(&["version", "-o", "json"]).exits(0).json();
    assert_eq!(json["version"], version);
    assert!(json.get("commit").is_some());
}

#[test]
fn completion_is_written_for_each_shell() {
    for (shell, mark) in [
        ("bash", "complete -F _headgate"),
        ("zsh", "#compdef headgate"),
        ("fish", "complete -c headgate"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = headgate(&["completion", shell]).exits(0);
        script.prints(mark).prints("explain");
        assert!(!script.stdout.contains("__supervise"), "what is hidden stays hidden");
    }
    headgate(&["completion", "tcsh"]).exits(2);
}

#[test]
fn wrong_usage_exits_with_two() {
    for wrong in
        [&["chekc"][..], &["check", "--nope"], &["explain"], &["routes", "-o", "xml"], &["echo", "--start-delay", "1"]]
    {
        headgate(wrong).exits(2);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_problem() {
    let mut child = program::command(&["completion", "bash"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
