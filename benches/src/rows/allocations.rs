//! Allocations of a warm HTTP/1 request, counted between two moments of a gateway that serves, and where in the code they are.

use crate::{
    Plan,
    load::Clients,
    objects,
    process::{self, Origin, Process},
    report::Row,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

const CONNECTIONS: usize = 32;
/// Enough that every host, path and connection was seen before.
const WARM: u64 = 10_000;
const COUNTED: u64 = 10_000;

/// Measures, and writes the sites to `allocations.txt`.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let routes = folder.path().join("routes");
    fs::create_dir(&routes)?;
    let origin = Origin::start(100)?;
    objects::write_peer_routes(&routes, origin.address)?;
    let profile = folder.path().join("profile.json");
    let mut gateway = Counted::start(&routes, &folder.path().join("access.log"), &profile)?;

    let mut clients = Clients::connect(gateway.address, CONNECTIONS, objects::peer_heads())?;
    clients.ask(WARM)?;
    gateway.tell("count")?;
    clients.ask(COUNTED)?;
    let blocks: f64 = gateway.tell("stop")?.trim().parse().map_err(io::Error::other)?;
    drop(gateway);

    let sites = sites(&fs::read_to_string(&profile)?)?;
    fs::create_dir_all(&plan.results)?;
    fs::write(plan.results.join("allocations.txt"), text(&sites))?;
    let note = format!(
        "{CONNECTIONS} connections, 1 core, access log to a file, {COUNTED} requests after {WARM}; places in allocations.txt"
    );
    Ok(vec![Row::new("allocations per warm HTTP/1 request", blocks / COUNTED as f64, "blocks", 0.0).note(note)])
}

/// The gateway in a process of its own, under an allocator that counts.
struct Counted {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Counted {
    fn start(routes: &Path, log: &Path, profile: &Path) -> io::Result<Self> {
        let address = process::free_address()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("counted")
            .args([routes.as_os_str(), address.port().to_string().as_ref(), log.as_os_str(), profile.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take().expect("it was piped");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut counted = Self { _process: process::keep(child), input, output, address };
        counted.answer()?;
        Ok(counted)
    }

    fn tell(&mut self, command: &str) -> io::Result<String> {
        writeln!(self.input, "{command}")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the gateway that is counted ended")),
            _ => Ok(line),
        }
    }
}

/// What dhat writes, as far as it is read here: places with indices into a table of frames.
#[derive(Deserialize)]
struct Profile {
    pps: Vec<Place>,
    ftbl: Vec<String>,
}

#[derive(Deserialize)]
struct Place {
    /// Blocks.
    tbk: u64,
    /// Bytes.
    tb: u64,
    /// Frames, innermost first.
    fs: Vec<usize>,
}

/// A place that allocates.
struct Site {
    blocks: u64,
    bytes: u64,
    /// Innermost first.
    frames: Vec<String>,
}

/// The places by how often they allocate; those that differ in frames of libraries only are one.
fn sites(profile: &str) -> io::Result<Vec<Site>> {
    let profile: Profile = serde_json::from_str(profile).map_err(io::Error::other)?;
    let mut sites: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
    for place in &profile.pps {
        let frames: Vec<_> =
            place.fs.iter().filter_map(|at| profile.ftbl.get(*at)).map(|f| without_address(f)).collect();
        let sum = sites.entry(worth_reading(&frames)).or_default();
        *sum = (sum.0 + place.tbk, sum.1 + place.tb);
    }
    let mut sites: Vec<Site> =
        sites.into_iter().map(|(frames, (blocks, bytes))| Site { blocks, bytes, frames }).collect();
    sites.sort_by_key(|site| std::cmp::Reverse(site.blocks));
    Ok(sites)
}

/// `0x55d0c0ffee: function (file:line:column)` without its first part.
fn without_address(frame: &str) -> &str {
    frame.split_once(": ").map_or(frame, |(_, rest)| rest)
}

/// Our own frames; where there are none, those of libraries, the innermost being the allocator's.
fn worth_reading(frames: &[&str]) -> Vec<String> {
    /// Folders of our crates, as dhat shortens paths.
    const OURS: [&str; 8] =
        ["config", "message", "http1", "routing", "gateway", "translate", "functions", "controller"];
    /// More says nothing.
    const FRAMES: usize = 8;
    let is_ours = |frame: &&&str| OURS.iter().any(|folder| frame.contains(&format!("({folder}/src/")));
    let ours: Vec<_> = frames.iter().filter(is_ours).take(FRAMES).map(|frame| (*frame).to_owned()).collect();
    if ours.is_empty() { frames.iter().take(2 * FRAMES).map(|frame| (*frame).to_owned()).collect() } else { ours }
}

fn text(sites: &[Site]) -> String {
    let mut text = format!(
        "Allocations of {COUNTED} warm HTTP/1 requests, {CONNECTIONS} connections, by place; innermost frame first. Written by `headgate-bench allocations`.\n"
    );
    for site in sites {
        let _ = writeln!(
            text,
            "\n{:.4} a request ({} blocks, {} bytes each)",
            site.blocks as f64 / COUNTED as f64,
            site.blocks,
            site.bytes / site.blocks.max(1)
        );
        for frame in &site.frames {
            let _ = writeln!(text, "    {frame}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_our_own_frames() {
        let profile = r#"{"pps": [{"tb": 20, "tbk": 2, "fs": [1, 2]}, {"tb": 10, "tbk": 1, "fs": [3, 2]}, {"tb": 9, "tbk": 9, "fs": [4]}],
            "ftbl": ["[root]", "0x1: alloc (alloc/src/alloc.rs:1:1)", "0x2: ours (gateway/src/b.rs:2:2)", "0x3: grow (src/vec/mod.rs:1:1)", "0x4: other (core/src/d.rs:1:1)"]}"#;
        let sites = sites(profile).unwrap();
        let read: Vec<_> = sites.iter().map(|site| (site.blocks, site.bytes, site.frames.join(","))).collect();
        let other = (9, 9, "other (core/src/d.rs:1:1)".to_owned());
        assert_eq!(read, [other, (3, 30, "ours (gateway/src/b.rs:2:2)".to_owned())]);
    }
}
