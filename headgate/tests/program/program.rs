//! The built program, run to its end or as long as a test needs it. Nothing it started outlives a test.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long a program may take to say what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, with an environment that does not depend on who runs the tests.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command
        .args(arguments)
        .env_remove("HEADGATE_LOG")
        .env_remove("PORT")
        .env_remove("COLUMNS")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn headgate(arguments: &[&str]) -> Ended {
    end(&mut command(arguments), arguments)
}

/// The same in a folder.
pub fn headgate_in(folder: &Path, arguments: &[&str]) -> Ended {
    end(command(arguments).current_dir(folder), arguments)
}

/// The same with a text on standard input.
pub fn headgate_reading(text: &str, arguments: &[&str]) -> Ended {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Ended::of(&child.wait_with_output().unwrap(), arguments)
}

fn end(command: &mut Command, arguments: &[&str]) -> Ended {
    Ended::of(&command.output().unwrap(), arguments)
}

/// What it printed and how it ended.
pub struct Ended {
    what: String,
    code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    fn of(output: &std::process::Output, arguments: &[&str]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { what: format!("headgate {}", arguments.join(" ")), code: output.status.code(), stdout, stderr }
    }

    /// Asserts the exit code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{}", self.what, self.stdout, self.stderr);
        self
    }

    /// Asserts a part of standard output.
    pub fn prints(&self, part: &str) -> &Self {
        assert!(self.stdout.contains(part), "{} does not print {part:?}:\n{}", self.what, self.stdout);
        self
    }

    /// Asserts a part of standard error.
    pub fn complains(&self, part: &str) -> &Self {
        assert!(self.stderr.contains(part), "{} does not say {part:?}:\n{}", self.what, self.stderr);
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.what, self.stdout))
    }
}

/// A program that runs until it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts it and waits for a line that has `mark`, on either stream; gives that line.
    pub fn start(arguments: &[&str], mark: &str) -> (Self, String) {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, lines) = mpsc::channel();
        follow(child.stdout.take().unwrap(), said.clone());
        follow(child.stderr.take().unwrap(), said);
        let running = Self(child);
        let until = Instant::now() + PATIENCE;
        let mut read = String::new();
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(mark) {
                return (running, line);
            }
            read.push_str(&line);
        }
        panic!("headgate {} never said {mark:?}:\n{read}", arguments.join(" "));
    }

    /// Gives it a signal by name.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end and gives the code.
    pub fn wait(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a stream to its end, whether or not somebody listens: what a program says must not stop it.
fn follow(stream: impl Read + Send + 'static, said: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.for_each(|line| drop(said.send(line + "\n")));
    });
}

/// A file of this checkout.
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// Sends bytes and reads to the end of the connection.
pub fn exchange(address: &str, request: &str) -> String {
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
