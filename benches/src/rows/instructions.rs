//! User instructions of a warm request, counted by valgrind: the one figure of speed that a busy machine does not change. Neither the kernel's part nor the time is in it.

use crate::{
    Plan,
    callgrind::{self, AT_ONCE, Asked},
    load, objects,
    process::Origin,
    report::Row,
};
use std::{fs, io, net::SocketAddr, path::Path};

/// What is asked, and the folder of its routes.
const CASES: [(&str, &str); 3] = [
    ("HTTP/1 request, a plain route", "plain"),
    ("HTTP/1 request, a weighted split with a filter", "split"),
    ("HTTP/2 request, a plain route", "http2"),
];

fn name(what: &str) -> String {
    format!("user instructions per warm {what}")
}

/// All kinds of routes.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    if !callgrind::is_installed() {
        return Ok(CASES.map(|(what, _)| Row::skipped(name(what), "valgrind is not installed")).into());
    }
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(100)?;
    let count = plan.count(5_000, 500) as u64;
    let note =
        format!("{AT_ONCE} requests at once, 1 core, no access log, {count} requests; control threads are in it");
    let mut rows = Vec::new();
    for (what, case) in CASES {
        let prepare = |routes: &Path| prepare(case, routes, origin.address);
        let measured = callgrind::per_request(plan, folder.path(), case, count, prepare)?;
        rows.push(Row::new(name(what), measured, "instructions", None).note(note.clone()));
    }
    Ok(rows)
}

fn prepare(case: &str, routes: &Path, origin: SocketAddr) -> io::Result<Asked> {
    if case == "split" {
        fs::write(routes.join("routes.yaml"), objects::split_route(origin))?;
        return Ok(Asked::Http1(vec![load::get(&objects::host(0), "/orders/7?page=2")]));
    }
    objects::write_peer_routes(routes, origin)?;
    Ok(match case {
        "http2" => Asked::Http2(format!("http://{}/orders/7", objects::host(0))),
        _ => Asked::Http1(objects::peer_heads()),
    })
}
