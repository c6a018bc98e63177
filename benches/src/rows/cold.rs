//! Cold starts: from the application's listen() to the arrival of the request that was held for it, over many starts one after the other; and what clients wait when many functions are woken at once.

use crate::{
    Plan, load,
    load::Asker,
    numbers::percentile,
    objects,
    process::{Gateway, Options},
    report::Row,
};
use std::{io, net::SocketAddr, path::Path, time::Instant};
use tokio::net::TcpStream;

/// Both.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut rows = dispatch(plan)?;
    rows.extend(at_once(plan)?);
    Ok(rows)
}

/// Each start is of another function, so that none waits for an earlier one to stop.
fn dispatch(plan: &Plan) -> io::Result<Vec<Row>> {
    let starts = plan.count(300, 20);
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let settings = [("idle", "500ms"), ("window", "500ms"), ("grace", "1s")];
    let command = [text(&program)?, "app", "--listen-after-ms", "50"];
    objects::write_functions(folder.path(), starts, &command, &settings)?;
    let gateway = start(plan, folder.path())?;
    let mut asker = Asker::connect(gateway.address)?;
    let mut ms = Vec::with_capacity(starts);
    for at in 0..starts {
        let answer = asker.ask(&load::get(&objects::function_host(at), "/"))?;
        let body = String::from_utf8_lossy(answer.body);
        let us: f64 = match answer.status {
            200 => body.parse().map_err(io::Error::other)?,
            status => return Err(io::Error::other(format!("function {at} answered {status}: {body}"))),
        };
        ms.push(us / 1_000.0);
    }
    let note = format!("{starts} starts, the application listens after 50 ms, TCP probe");
    Ok(vec![
        Row::new("cold dispatch after listen(), p50", percentile(&ms, 0.5), "ms", 1.0).note(note.clone()),
        Row::new("cold dispatch after listen(), p99", percentile(&ms, 0.99), "ms", 5.0).note(note),
    ])
}

/// All functions are cold in each turn, and each is asked once, all at the same moment.
fn at_once(plan: &Plan) -> io::Result<Vec<Row>> {
    let (functions, turns) = (plan.count(100, 20), plan.count(5, 1));
    let folder = tempfile::tempdir()?;
    let program = plan.headgate()?;
    let command = [text(&program)?, "echo", "--text", "awake"];
    objects::write_functions(folder.path(), functions, &command, &[("grace", "1s")])?;
    let mut waited = Vec::new();
    for _ in 0..turns {
        let gateway = start(plan, folder.path())?;
        waited.push(wake(gateway.address, functions)?);
    }
    let note = format!(
        "from the request to the answer, median of {turns} turns; each function is a process of `headgate echo`"
    );
    let row = |name, share| {
        let of_turns: Vec<f64> = waited.iter().map(|ms| percentile(ms, share)).collect();
        let what = format!("{functions} cold functions woken at once, {name}");
        Row::new(what, percentile(&of_turns, 0.5), "ms", None).note(note.clone())
    };
    Ok(vec![row("p50", 0.5), row("p99", 0.99), row("the last", 1.0)])
}

/// Milliseconds until each answered. Connections are there before.
fn wake(at: SocketAddr, functions: usize) -> io::Result<Vec<f64>> {
    load::runtime()?.block_on(load::limited(async {
        let mut streams = Vec::with_capacity(functions);
        for _ in 0..functions {
            streams.push(TcpStream::connect(at).await?);
        }
        let begun = Instant::now();
        let asking = streams.into_iter().enumerate().map(|(function, mut stream)| {
            let head = load::get(&objects::function_host(function), "/");
            tokio::task::spawn_local(async move {
                load::exchange(&mut stream, &head, &mut [0; 4096]).await?;
                Ok::<_, io::Error>(begun.elapsed().as_secs_f64() * 1_000.0)
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut ms = Vec::with_capacity(functions);
        for one in asking {
            ms.push(one.await.map_err(io::Error::other)??);
        }
        Ok(ms)
    }))
}

fn start(plan: &Plan, folder: &Path) -> io::Result<Gateway> {
    Gateway::start(&Options { program: plan.headgate()?, folder: folder.into(), ..Options::default() })
}

fn text(program: &Path) -> io::Result<&str> {
    program.to_str().ok_or_else(|| io::Error::other(format!("the path of {} is no text", program.display())))
}
