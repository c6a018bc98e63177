//! Memory of a request that waits: the slope of the gateway's private memory over how many are parked. The kernel's part is not in it.

use crate::{
    Plan, load, objects,
    process::{self, Gateway, Options},
    report::Row,
};
use std::{
    io::{self, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// How long connections may take until all their requests wait.
const PARKED: Duration = Duration::from_secs(60);

/// Parks requests at a function that never listens.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let steps = [plan.count(2_000, 500), plan.count(7_000, 1_000), plan.count(12_000, 1_500)];
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or_else(|| io::Error::other("the path of this program is no text"))?;
    let settings = [("queue", "20000"), ("wait", "10m"), ("start-timeout", "10m"), ("grace", "1s")];
    objects::write_functions(folder.path(), 1, &[program, "app", "--never"], &settings)?;
    let gateway = Gateway::start(&Options {
        program: plan.headgate()?,
        folder: folder.path().into(),
        flags: &["--queue-count-total", "20000", "--connections", "20000", "--drain-grace", "1s"],
        ..Options::default()
    })?;
    let head = parked_head();
    let mut parked = Vec::new();
    let mut memories = Vec::new();
    for count in steps {
        while parked.len() < count {
            let mut stream = TcpStream::connect(gateway.address)?;
            stream.write_all(&head)?;
            parked.push(stream);
        }
        wait_until_parked(&gateway, count)?;
        memories.push(process::memory(gateway.id())?.private);
    }
    let slope = |from: usize, to: usize| (memories[to] - memories[from]) / (steps[to] - steps[from]) as f64;
    let note = format!(
        "{} to {} parked, heads of {} B; {:.0} B up to {}, {:.0} B beyond; private pages of the process",
        steps[0],
        steps[2],
        head.len(),
        slope(0, 1),
        steps[1],
        slope(1, 2)
    );
    Ok(vec![Row::new("user memory per parked HTTP/1 request", slope(0, 2) / 1_024.0, "KiB", 2.0).note(note)])
}

/// As a browser sends it, without cookies.
fn parked_head() -> Vec<u8> {
    let mut head = load::get(&objects::function_host(0), "/orders/7?page=2");
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"accept-language: en-GB,en;q=0.9\r\naccept-encoding: gzip, deflate, br\r\nreferer: http://example.com/orders\r\n\r\n");
    head
}

fn wait_until_parked(gateway: &Gateway, count: usize) -> io::Result<()> {
    let until = Instant::now() + PARKED;
    loop {
        let depth = gateway.metric("headgate_queue_depth")?;
        if depth >= count as f64 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(io::Error::other(format!("{depth} of {count} requests wait after {} s", PARKED.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
