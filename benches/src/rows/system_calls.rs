//! System calls of a warm HTTP/1 request, counted by strace attached to the gateway. Calls of its control threads are among them.

use crate::{
    Plan,
    load::Clients,
    objects,
    process::{self, Gateway, Options, Origin},
    report::Row,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

const CONNECTIONS: usize = 32;
const WHAT: &str = "system calls per warm HTTP/1 request";
/// What is shown of the single calls.
const CALLS_SHOWN: usize = 6;

/// With and without an access log.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    if !process::is_installed("strace") {
        return Ok(vec![Row::skipped(WHAT, "strace is not installed")]);
    }
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes");
    fs::create_dir(&routes)?;
    let origin = Origin::start(100)?;
    objects::write_peer_routes(&routes, origin.address)?;
    let mut rows = Vec::new();
    for (log, with) in [(None, "no access log"), (Some(folder.path().join("access.log")), "access log to a file")] {
        let options =
            Options { program: plan.headgate()?, folder: routes.clone(), cores: Some(1), log, ..Options::default() };
        let gateway = Gateway::start(&options)?;
        rows.push(count(&gateway, plan.count(20_000, 2_000) as u64, with, &folder.path().join("calls"))?);
    }
    Ok(rows)
}

fn count(gateway: &Gateway, requests: u64, with: &str, output: &Path) -> io::Result<Row> {
    let what = format!("{WHAT}, {with}");
    let mut clients = Clients::connect(gateway.address, CONNECTIONS, objects::peer_heads())?;
    clients.ask(requests / 2)?;
    let mut strace = match attach(gateway.id(), output)? {
        Ok(strace) => strace,
        Err(why) => return Ok(Row::skipped(what, why)),
    };
    clients.ask(requests)?;
    let id = i32::try_from(strace.id()).map_err(io::Error::other)?;
    kill(Pid::from_raw(id), Signal::SIGINT)?;
    strace.wait()?;
    let calls = calls(&fs::read_to_string(output)?);
    let sum: u64 = calls.iter().map(|(_, count)| count).sum();
    let each: Vec<_> = calls
        .iter()
        .take(CALLS_SHOWN)
        .map(|(name, count)| format!("{name} {:.3}", *count as f64 / requests as f64))
        .collect();
    let note = format!("{CONNECTIONS} connections, 1 core, {requests} requests: {}", each.join(", "));
    Ok(Row::new(what, sum as f64 / requests as f64, "calls", 4.2).note(note))
}

/// Attaches to all threads; `Err` says why that is not allowed here.
fn attach(id: u32, output: &Path) -> io::Result<Result<Child, String>> {
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-p", &id.to_string(), "-o"])
        .arg(output)
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = BufReader::new(strace.stderr.take().expect("it was piped")).lines();
    match told.next().transpose()? {
        Some(line) if line.contains("attached") => {
            // reads on, so that the pipe is never full
            std::thread::spawn(move || told.for_each(drop));
            Ok(Ok(strace))
        }
        line => {
            strace.wait()?;
            Ok(Err(format!("strace may not attach: {}", line.unwrap_or_default())))
        }
    }
}

/// Names and counts of strace's table, the most frequent first. The columns are `% time, seconds, usecs/call, calls, errors?, syscall`.
fn calls(table: &str) -> Vec<(String, u64)> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, count) = (words.last()?, words.get(3)?);
        words.first()?.parse::<f64>().ok()?;
        (*name != "total").then_some((*name).to_owned()).zip(count.parse().ok())
    };
    let mut calls: Vec<(String, u64)> = table.lines().filter_map(row).collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_without_its_sum() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- --------- ----------------\n \
                     60.00    0.100000           5     20000       120 recvfrom\n 40.00    0.050000           2     20001           writev\n\
                     ------ ----------- ----------- --------- --------- ----------------\n100.00    0.150000           3     40001       120 total\n";
        assert_eq!(calls(table), [("writev".to_owned(), 20_001), ("recvfrom".to_owned(), 20_000)]);
    }
}
