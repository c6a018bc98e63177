//! The README as a newcomer types it: every `sh` block in order, from an empty home, in the checkout. What is promised below a block is what it prints.
//!
//! - A `text` block right below an `sh` block is its output; `…` stands for anything in a line, alone for any lines.
//! - A block that serves (` run `) goes on in the background once it has printed its text, and is stopped in the end as by Ctrl-C.
//! - A `yaml` block is something to serve: `headgate check` finds no error in it. `console` blocks are shown, not run.
//!
//! The home is empty but for the toolchain: cargo and rustup are found where they are.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// The first block builds the program from nothing.
const PATIENCE: Duration = Duration::from_secs(1_800);

struct Block {
    language: String,
    line: usize,
    text: String,
    /// Whether only blank lines stand between it and the block before it.
    follows: bool,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut follows) = (false, false);
    for (number, line) in markdown.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => (open, follows) = (false, true),
            Some(language) => {
                open = true;
                blocks.push(Block { language: language.trim().into(), line: number + 2, text: String::new(), follows });
            }
            None if open => {
                let block = blocks.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            None => follows &= line.trim().is_empty(),
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

/// Whether a line is what a pattern says.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether lines are what a text says; with `start` more may follow.
fn matches(text: &[&str], lines: &[&str], start: bool) -> bool {
    match (text, lines) {
        ([], lines) => lines.is_empty() || start,
        (["…", rest @ ..], lines) => (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..], start)),
        ([pattern, rest @ ..], [line, more @ ..]) => fits(pattern, line) && matches(rest, more, start),
        (_, []) => false,
    }
}

/// A block that runs, with all that it printed.
struct Running {
    child: Child,
    output: Arc<(Mutex<String>, Condvar)>,
}

impl Running {
    fn start(script: &str, home: &Path) -> Self {
        let toolchain = |name: &str, folder: &str| {
            env::var_os(name).map_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(folder), PathBuf::from)
        };
        let mut child = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{script}")])
            .current_dir(checkout())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap())
            .env("HOME", home)
            .env("CARGO_HOME", toolchain("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", toolchain("RUSTUP_HOME", ".rustup"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let output = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (stream, into) = (child.stdout.take().unwrap(), output.clone());
        std::thread::spawn(move || collect(stream, &into));
        Self { child, output }
    }

    fn printed(&self) -> String {
        self.output.0.lock().unwrap().clone()
    }

    /// Waits until what was printed starts as a text says.
    fn wait_for(&mut self, block: &Block, text: &str) {
        let wanted: Vec<&str> = text.lines().collect();
        let deadline = Instant::now() + PATIENCE;
        let (lock, bell) = &*self.output;
        let mut printed = lock.lock().unwrap();
        while !matches(&wanted, &printed.lines().collect::<Vec<_>>(), true) {
            let ended = self.child.try_wait().unwrap();
            let over = ended.is_some() || Instant::now() > deadline;
            assert!(!over, "README.md:{}: {ended:?}; it printed\n{printed}\nand not\n{text}", block.line);
            printed = bell.wait_timeout(printed, Duration::from_millis(100)).unwrap().0;
        }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let group = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        // it may be gone
        let _ = nix::sys::signal::killpg(group, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read, into: &(Mutex<String>, Condvar)) {
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let mut output = into.0.lock().unwrap();
        output.push_str(&String::from_utf8_lossy(&line));
        output.push('\n');
        into.1.notify_all();
    }
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_block_does_what_is_written_below_it() {
    let port = std::net::TcpListener::bind("127.0.0.1:8080");
    assert!(port.is_ok(), "port 8080, which the README uses, is taken: stop who listens there");
    drop(port);
    let markdown = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let blocks = blocks(&markdown);
    let mut servers = Vec::new();
    let mut ran = 0;
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        let text = blocks.get(index + 1).filter(|next| next.language == "text" && next.follows).map(|next| &next.text);
        let mut running = Running::start(&block.text, home.path());
        ran += 1;
        if block.text.contains(" run ") {
            running.wait_for(block, text.expect("a server says when it is ready"));
            servers.push(running);
            continue;
        }
        let status = running.child.wait().unwrap();
        match text {
            None => assert!(status.success(), "README.md:{}: {status}; it printed\n{}", block.line, running.printed()),
            Some(text) => {
                let wanted: Vec<&str> = text.lines().collect();
                let deadline = Instant::now() + Duration::from_secs(5);
                // what was printed last may still be on its way to us
                while !matches(&wanted, &running.printed().lines().collect::<Vec<_>>(), false) {
                    let printed = running.printed();
                    assert!(
                        Instant::now() < deadline,
                        "README.md:{}: it printed\n{printed}\nand not\n{text}",
                        block.line
                    );
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
    assert!(ran >= 3, "the README has hardly any block to run");
    for mut server in servers {
        server.signal(nix::sys::signal::Signal::SIGINT);
        server.child.wait().unwrap();
        let printed = server.printed();
        assert!(printed.contains("no process is left"), "{printed}");
    }
}

#[test]
fn what_is_shown_as_a_manifest_has_no_error() {
    let markdown = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    for block in blocks(&markdown).iter().filter(|block| block.language == "yaml") {
        let mut check = Command::new(headgate_e2e::binary())
            .args(["check", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        check.stdin.take().unwrap().write_all(block.text.as_bytes()).unwrap();
        let told = check.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success() && !text.contains("error"), "README.md:{}:\n{text}", block.line);
    }
}

#[test]
fn patterns_mean_what_they_say() {
    for (pattern, line, expected) in [
        ("plain", "plain", true),
        ("plain", "plainer", false),
        ("ready in … ms", "ready in 12 ms", true),
        ("ready in … ms", "ready in 12 s", false),
        ("… hello", "     91 hello", true),
        ("a…b…c", "a1b2c", true),
        ("a…b…c", "a1c", false),
        ("…", "", true),
    ] {
        assert_eq!(fits(pattern, line), expected, "{pattern} {line}");
    }
    assert!(matches(&["…", "b"], &["a", "a", "b"], false) && !matches(&["…", "b"], &["b", "c"], false));
    assert!(matches(&["…", "b"], &["b", "c"], true) && !matches(&["a", "b"], &["a"], true));
    let found = blocks("x\n```sh\na\n```\n\n```text\nb\n```\nwords\n```text\nc\n```\n");
    assert_eq!(found.iter().map(|block| block.follows).collect::<Vec<_>>(), [false, true, false]);
}
