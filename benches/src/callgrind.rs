//! Counts the user instructions of warm requests under valgrind, of the core that serves them: a busy machine does not change that, while threads that look at something every so often do more in the longer time. Neither the kernel's part nor the time is in it.

use crate::{
    Plan, http2,
    load::Clients,
    process::{self, Gateway, Options},
};
use std::{fs, io, path::Path, process::Command};

/// Requests at once.
pub const AT_ONCE: usize = 32;
/// Connections of HTTP/2; the rest are streams.
const HTTP2_CONNECTIONS: usize = 4;

/// What is asked.
pub enum Asked {
    /// These heads in turn, over HTTP/1.
    Http1(Vec<Vec<u8>>),
    /// This, over HTTP/2 without TLS.
    Http2(http2::Question),
}

/// Whether this machine has what it takes.
pub fn is_installed() -> bool {
    process::is_installed("valgrind") && process::is_installed("callgrind_control")
}

/// Runs the gateway under valgrind on one core, without an access log; the instructions of each of `count` requests, after as many
/// that are not counted. `prepare` writes the routes of the `case` into a folder of its own below `folder`, and says what is asked.
pub fn per_request(
    plan: &Plan,
    folder: &Path,
    case: &str,
    count: u64,
    prepare: impl FnOnce(&Path) -> io::Result<Asked>,
) -> io::Result<f64> {
    let routes = folder.join(case);
    fs::create_dir(&routes)?;
    let asked = prepare(&routes)?;
    let program = plan.headgate()?;
    let output = folder.join(format!("{case}.out"));
    let file = format!("--callgrind-out-file={}", output.display());
    // to start takes longer than all requests, and much longer while it is counted
    let under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", "--quiet", &file];
    let gateway =
        Gateway::start(&Options { program, under: &under, folder: routes, cores: Some(1), ..Options::default() })?;
    let mut ask: Box<dyn FnMut() -> io::Result<()>> = match asked {
        Asked::Http1(heads) => {
            let mut clients = Clients::connect(gateway.address, AT_ONCE, heads)?;
            Box::new(move || clients.ask(count).map(drop))
        }
        Asked::Http2(question) => {
            let streams = AT_ONCE / HTTP2_CONNECTIONS;
            let mut clients = http2::Clients::connect(gateway.address, HTTP2_CONNECTIONS, streams, question)?;
            Box::new(move || clients.ask(count))
        }
    };
    ask()?;
    control("--instr=on", gateway.id())?;
    ask()?;
    control("--dump", gateway.id())?;
    Ok(of_core(folder, &format!("{case}.out.1-"))? as f64 / count as f64)
}

/// The sum of the thread that did most, of the dumps of one moment, which is a file for each thread.
fn of_core(folder: &Path, prefix: &str) -> io::Result<u64> {
    let mut most = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            most = most.max(sum(&fs::read_to_string(entry.path())?));
        }
    }
    most.ok_or_else(|| io::Error::other("what callgrind wrote has no sum"))
}

fn control(what: &str, id: u32) -> io::Result<()> {
    let output = Command::new("callgrind_control").args([what, &id.to_string()]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("callgrind_control {what}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The sum of a dump: of its `totals:` line, or of `summary:` where it has no other.
fn sum(dump: &str) -> Option<u64> {
    let line = |name: &str| dump.lines().rev().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line("totals:").or_else(|| line("summary:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_dump_is_read() {
        assert_eq!(sum("version: 1\nevents: Ir\nsummary: 7\nfn=(1) a\n1 5\n\ntotals: 12\n"), Some(12));
        assert_eq!(sum("events: Ir\nsummary: 7\n"), Some(7));
        assert_eq!(sum("events: Ir\n"), None);
    }
}
