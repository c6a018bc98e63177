//! What a request costs when much more is served than it needs: Headgate beside Headgate, in alternating pairs. No peer is in it.

use crate::{
    Plan,
    drive::{Ask, Work},
    numbers::Estimate,
    objects,
    peers::{Job, Name, Running, Upstream},
    process::Origin,
    report::Row,
    site::Site,
};
use std::{io, path::Path};

/// Of the bootstrap: the same draws each time.
const SEED: u64 = 7;

/// Many hosts, and many rules on one.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let (hosts, rules) = (plan.count(100_000, 2_000), plan.count(10_000, 500));
    Ok(vec![
        compare(
            plan,
            &format!("CPU per request, {hosts} hosts against 10"),
            [Site::hosts(10), Site::hosts(hosts)],
            1.05,
        )?,
        compare(
            plan,
            &format!("CPU per request, {rules} rules on a host against 1"),
            [Site::rules(1), Site::rules(rules)],
            1.2,
        )?,
    ])
}

fn compare(plan: &Plan, what: &str, sites: [Site; 2], goal: f64) -> io::Result<Row> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(100)?;
    let [few, many] = [
        start(plan, &sites[0], &origin, folder.path(), "few")?,
        start(plan, &sites[1], &origin, folder.path(), "many")?,
    ];
    let heads = sites.map(|site| site.heads());
    let (pairs, count) = (plan.count(12, 2), plan.count(30_000, 2_000) as u64);
    let cost = |running: &Running, heads: &[Vec<u8>]| {
        Work::Kept(64).cost(running, &Ask { heads, host: &objects::host(0), count }).map(|cost| cost.cpu_us)
    };
    let mut costs = Vec::new();
    for pair in 0..pairs {
        // A B B A
        let first = if pair % 2 == 0 { Some(cost(&many, &heads[1])?) } else { None };
        let base = cost(&few, &heads[0])?;
        let much = first.map_or_else(|| cost(&many, &heads[1]), Ok)?;
        costs.push((base, much));
    }
    let estimate = |of: fn(&(f64, f64)) -> f64| Estimate::of(&costs.iter().map(of).collect::<Vec<_>>(), SEED);
    let (ratio, base, much) =
        (estimate(|(base, much)| much / base), estimate(|(base, _)| *base), estimate(|(_, much)| *much));
    let note = format!(
        "95 % {:.3} to {:.3}, {pairs} pairs; {:.1} and {:.1} us, access logs to files, all hosts and rules asked for in turn",
        ratio.low, ratio.high, base.median, much.median
    );
    Ok(Row::new(what, ratio.median, "ratio", goal).note(note))
}

fn start(plan: &Plan, site: &Site, origin: &Origin, folder: &Path, name: &str) -> io::Result<Running> {
    let folder = folder.join(name);
    let job = Job {
        site,
        retries: false,
        mirror: None,
        upstream: Upstream::Http1,
        origins: origin.addresses,
        certificate: None,
        folder: &folder,
    };
    Name::Headgate.start(plan, &job)
}
