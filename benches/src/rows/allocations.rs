//! Allocations of a warm HTTP/1 request, counted between two moments of a gateway that serves, and where in the code they are.

use crate::{
    Plan,
    counted::Counted,
    load::Clients,
    objects,
    process::Origin,
    profile::{self, Count},
    report::Row,
};
use std::{fs, io};

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
    gateway.tell("stop")?;
    drop(gateway);

    let title = format!("Allocations of {COUNTED} warm HTTP/1 requests over {CONNECTIONS} connections");
    let sites = profile::sites(&fs::read_to_string(&profile)?, Count::All)?;
    let blocks: u64 = sites.iter().map(|site| site.blocks).sum();
    fs::create_dir_all(&plan.results)?;
    fs::write(plan.results.join("allocations.txt"), profile::text(&title, &sites, COUNTED))?;
    let note = format!(
        "{CONNECTIONS} connections, 1 core, access log to a file, {COUNTED} requests after {WARM}; places in allocations.txt"
    );
    Ok(vec![Row::new("allocations per warm HTTP/1 request", blocks as f64 / COUNTED as f64, "blocks", 0.0).note(note)])
}
