//! User instructions of a warm HTTP/1 request, counted by valgrind: the one figure of speed that a busy machine does not change. Neither the kernel's part nor the time is in it.

use crate::{
    Plan,
    load::Clients,
    objects,
    process::{self, Gateway, Options, Origin},
    report::Row,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

const CONNECTIONS: usize = 32;
const WHAT: &str = "user instructions per warm HTTP/1 request";
/// What is asked, and the folder of its routes.
const CASES: [(&str, &str); 2] = [("a plain route", "plain"), ("a weighted split with a filter", "split")];

/// Both kinds of routes.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    if !process::is_installed("valgrind") || !process::is_installed("callgrind_control") {
        let skipped = |(what, _): (&str, _)| Row::skipped(format!("{WHAT}, {what}"), "valgrind is not installed");
        return Ok(CASES.map(skipped).into());
    }
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(100)?;
    let mut rows = Vec::new();
    for (what, name) in CASES {
        let routes = folder.path().join(name);
        fs::create_dir(&routes)?;
        let heads = match name {
            "plain" => {
                objects::write_peer_routes(&routes, origin.address)?;
                objects::peer_heads()
            }
            _ => {
                fs::write(routes.join("routes.yaml"), objects::split_route(origin.address))?;
                vec![crate::load::get(&objects::host(0), "/orders/7?page=2")]
            }
        };
        let count = plan.count(5_000, 500) as u64;
        let measured = count_on(plan, routes, heads, count, &folder.path().join(format!("{name}.out")))?;
        let note =
            format!("{CONNECTIONS} connections, 1 core, no access log, {count} requests; control threads are in it");
        rows.push(Row::new(format!("{WHAT}, {what}"), measured, "instructions", None).note(note));
    }
    Ok(rows)
}

/// Runs the gateway under valgrind; the instructions of each of `count` requests, after as many that are not counted.
fn count_on(plan: &Plan, routes: PathBuf, heads: Vec<Vec<u8>>, count: u64, output: &Path) -> io::Result<f64> {
    let file = format!("--callgrind-out-file={}", output.display());
    let under = ["valgrind", "--tool=callgrind", "--quiet", &file];
    let options =
        Options { program: plan.headgate()?, under: &under, folder: routes, cores: Some(1), ..Options::default() };
    let gateway = Gateway::start(&options)?;
    let mut clients = Clients::connect(gateway.address, CONNECTIONS, heads)?;
    clients.ask(count)?;
    control("--zero", gateway.id())?;
    clients.ask(count)?;
    control("--dump", gateway.id())?;
    let dump = fs::read_to_string(format!("{}.1", output.display()))?;
    let sum = sum(&dump).ok_or_else(|| io::Error::other("what callgrind wrote has no sum"))?;
    Ok(sum as f64 / count as f64)
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
