//! Asks the admin port of a running gateway. One GET at a time, and never more than it says.

use serde::de::DeserializeOwned;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

/// The port of loopback where `run` shows it if nothing else is said.
const DEFAULT_PORT: u16 = 9901;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which gateway of this machine.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct AdminArgs {
    /// Where the running gateway shows itself [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["from", "gateway", "context", "kubeconfig"])]
    pub admin: Option<SocketAddr>,
}

impl AdminArgs {
    /// Where to ask.
    pub fn address(self) -> SocketAddr {
        self.admin.unwrap_or(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)))
    }
}

/// The admin port of a gateway.
#[derive(Clone, Copy, Debug)]
pub struct Admin(pub SocketAddr);

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// Nobody is there, or not a gateway.
    Unreachable(String),
    /// The gateway refused, with its status and text.
    Refused(u16, String),
}

impl Admin {
    /// The JSON of a page.
    pub fn get<T: DeserializeOwned>(&self, page: &str) -> Result<T, Unanswered> {
        let (status, body) = self.ask(page).map_err(|error| Unanswered::Unreachable(error.to_string()))?;
        match status {
            200 => serde_json::from_str(&body).map_err(|error| {
                Unanswered::Unreachable(format!("{page} is not what a gateway of this version says: {error}"))
            }),
            _ => Err(Unanswered::Refused(status, body.trim().to_owned())),
        }
    }

    /// HTTP/1.0, so that the answer ends with its connection and is never chunked.
    fn ask(&self, page: &str) -> io::Result<(u16, String)> {
        let mut socket = TcpStream::connect_timeout(&self.0, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        write!(socket, "GET {page} HTTP/1.0\r\nhost: {}\r\n\r\n", self.0)?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        parsed(&answer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers there is no HTTP server"))
    }

    /// Tells the user, with what to do, and gives the exit code.
    pub fn report(&self, why: &Unanswered, hint: &str) -> ExitCode {
        match why {
            Unanswered::Unreachable(_) => crate::exit::fail(
                crate::exit::UNREACHABLE,
                &format!("no gateway answers at {}: {why}", self.0),
                &format!("start `headgate run`, name its admin address with --admin, or {hint}"),
            ),
            Unanswered::Refused(..) => crate::exit::fail(crate::exit::PROBLEMS, &why.to_string(), ""),
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused(_, text) => f.write_str(text),
        }
    }
}

/// Status and body of an answer that ended with its connection.
pub fn parsed(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A text as a query parameter's value.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
