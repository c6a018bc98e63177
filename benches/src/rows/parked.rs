//! Memory of a request that waits: the slope of the gateway's private memory over how many are parked. The kernel's part is not in it.

use crate::{
    Plan,
    counted::Counted,
    load, objects,
    process::{self, Gateway, Options},
    profile::{self, Count},
    report::Row,
};
use std::{
    fs,
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

/// How long connections may take until all their requests wait.
const PARKED: Duration = Duration::from_secs(60);

/// Below the bound of a queue that is not told otherwise.
const COUNTED: usize = 450;
const WARM: usize = 450;

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
        park(gateway.address, &mut parked, count, &head)?;
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
    drop((parked, gateway));
    let kept = kept(plan, folder.path())?;
    let kept = Row::new("user memory per parked HTTP/1 request, blocks only", kept / 1_024.0, "KiB", 2.0)
        .note(format!("{COUNTED} parked; what the allocator adds is not in it; places in parked.txt"));
    Ok(vec![Row::new("user memory per parked HTTP/1 request", slope(0, 2) / 1_024.0, "KiB", 2.0).note(note), kept])
}

fn park(address: SocketAddr, parked: &mut Vec<TcpStream>, count: usize, head: &[u8]) -> io::Result<()> {
    while parked.len() < count {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(head)?;
        parked.push(stream);
    }
    Ok(())
}

/// Bytes a parked request by the allocator's own count; their places are written to `parked.txt`.
fn kept(plan: &Plan, routes: &Path) -> io::Result<f64> {
    /// Until all of them wait: nothing tells in that process, and nobody reads the figure while it grows.
    const PAUSE: Duration = Duration::from_secs(2);
    let folder = tempfile::tempdir()?;
    let profile = folder.path().join("profile.json");
    let mut gateway = Counted::start(routes, &folder.path().join("access.log"), &profile)?;
    let mut parked = Vec::new();
    // lists grow by doubling: half of them wait before the counting begins
    park(gateway.address, &mut parked, WARM, &parked_head())?;
    std::thread::sleep(PAUSE);
    gateway.tell("count")?;
    park(gateway.address, &mut parked, WARM + COUNTED, &parked_head())?;
    std::thread::sleep(PAUSE);
    gateway.tell("stop")?;
    let sites = profile::sites(&fs::read_to_string(&profile)?, Count::Kept)?;
    fs::create_dir_all(&plan.results)?;
    let title = format!("Memory that {COUNTED} parked HTTP/1 requests keep");
    fs::write(plan.results.join("parked.txt"), profile::text(&title, &sites, COUNTED as u64))?;
    Ok(sites.iter().map(|site| site.bytes as f64).sum::<f64>() / COUNTED as f64)
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
