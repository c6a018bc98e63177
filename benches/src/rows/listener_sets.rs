//! A gateway that is told 40,000 routes on 2,500 ListenerSets: what it holds, what an edit costs on the wire and until it serves, and how soon it is back after a lost stream. The routes are those of
//! `listenerset-load.sh 50 50` of gateway-api-bench; the controller is this process, so that no API server is in any figure.

use crate::{
    Plan,
    controller::{Controller, GATEWAY},
    drive,
    load::{self, Asker},
    numbers::percentile,
    objects,
    process::{self, Origin, Process},
    report::Row,
};
use headgate_config::{Certificate, CertificateName, Endpoints, PathMatch, Rule, Snapshot};
use headgate_controller::{
    assemble::{Ground, Known, assemble},
    sources::watch::Directory,
};
use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two questions to the gateway; part of each figure.
const POLL: Duration = Duration::from_micros(200);
/// What does not happen within this is lost.
const LOST: Duration = Duration::from_secs(60);
/// Old versions are gone by then, and the allocator has given back what it gives.
const SETTLE: Duration = Duration::from_secs(3);
/// Between two edits where their mean cost is measured.
const EVERY: Duration = Duration::from_secs(1);

/// All rows.
pub fn measure(plan: &Plan) -> io::Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(100)?;
    let routes = Routes::make(plan, &folder.path().join("objects"), origin.address)?;
    let what =
        format!("{} routes of {} ListenerSets", routes.snapshot.rules.len(), routes.snapshot.listeners.len() - 1);
    let state = folder.path().join("pod");
    fs::create_dir(&state)?;
    let mut told = Told { controller: Controller::start(&state)?, routes, edits: 0 };
    let begun = Instant::now();
    told.tell_all();
    let gateway = start(plan, &state, &told.controller)?;
    let ids = [gateway.id()];
    let first = told.live(begun)?;
    std::thread::sleep(SETTLE);
    let held = process::memory(gateway.id())?;
    let mut rows = vec![
        Row::new(format!("resident memory of a gateway, {what}"), held.resident / 1_048_576.0, "MiB", 60.0)
            .note(format!("{:.1} MiB of it its own", held.private / 1_048_576.0)),
        Row::new(format!("a new gateway serves, {what}"), first, "s", None).note("from its start, told all of them"),
    ];

    let idle = Duration::from_secs(plan.count(30, 3) as u64);
    rows.push(Row::new(
        format!("CPU of a gateway, idle, {what}"),
        cores(&ids, || {
            std::thread::sleep(idle);
            Ok(())
        })?,
        "cores",
        0.002,
    ));
    let edits = plan.count(30, 3);
    let one_a_second = cores(&ids, || {
        for _ in 0..edits {
            std::thread::sleep(EVERY);
            told.edit()?;
        }
        Ok(())
    })?;
    rows.push(Row::new(format!("CPU of a gateway, an edit a second, {what}"), one_a_second, "cores", None));

    let (bytes, count) = (told.controller.bytes(), plan.count(300, 10));
    let mut times = (0..count).map(|_| told.edit()).collect::<io::Result<Vec<f64>>>()?;
    let each = (told.controller.bytes() - bytes) as f64 / count as f64 / 1_024.0;
    times.sort_by(f64::total_cmp);
    let note = format!("p50 {:.1} ms, {count} edits of a path, one after the other", percentile(&times, 0.5));
    rows.push(Row::new(format!("an edit is live, p99, {what}"), percentile(&times, 0.99), "ms", 10.0).note(note));
    let note = "both ways, on the stream to the gateway";
    rows.push(Row::new(format!("bytes of an edit, {what}"), each, "KiB", 10.0).note(note));
    std::thread::sleep(SETTLE);
    let held = process::memory(gateway.id())?.resident / 1_048_576.0;
    rows.push(Row::new(format!("resident memory after {} edits, {what}", told.edits), held, "MiB", 60.0));

    let back = (0..plan.count(5, 2)).map(|_| told.cut_and_edit()).collect::<io::Result<Vec<f64>>>()?;
    let most = back.iter().copied().fold(0.0, f64::max);
    let note = format!("the longest of {}: from the new connection until what changed meanwhile is live", back.len());
    rows.push(Row::new(format!("a gateway is back, {what}"), most, "s", 1.0).note(note));
    Ok(rows)
}

/// Cores that processes take meanwhile.
fn cores(ids: &[u32], during: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let (begun, before) = (Instant::now(), process::cpu_seconds(ids)?);
    during()?;
    Ok((process::cpu_seconds(ids)? - before) / begun.elapsed().as_secs_f64())
}

fn start(plan: &Plan, pod: &Path, controller: &Controller) -> io::Result<Process> {
    let mut command = Command::new(plan.headgate()?);
    command.args(["gateway", "--gateway", GATEWAY, "--pod", "pod", "--access-log", "none", "--cores", "2"]);
    command.args(["--admin", &process::free_address()?.to_string(), "--controller", &controller.at]);
    command.arg("--ca").arg(pod.join("ca.crt")).arg("--token").arg(pod.join("token"));
    command.arg("--state").arg(pod.join("state"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(process::keep)
}

/// What is told.
struct Routes {
    snapshot: Snapshot,
    certificates: Arc<BTreeMap<CertificateName, Certificate>>,
    endpoints: Vec<Arc<Endpoints>>,
    at: SocketAddr,
}

impl Routes {
    fn make(plan: &Plan, folder: &Path, origin: SocketAddr) -> io::Result<Self> {
        let (namespaces, sets) = (plan.count(50, 2), plan.count(50, 5));
        let (at, own) = (process::free_address()?, process::free_address()?);
        objects::write_listener_sets(folder, namespaces, sets, [at.port(), own.port()], origin)?;
        let directory = Directory::open(vec![folder.to_owned()]);
        let ground = Ground::standalone("localhost", at.port());
        let translation = assemble(directory.loaded(), &Known::default(), &ground, 0).translation;
        let endpoints = translation.endpoints.values().cloned().collect();
        let certificates = translation.certificates.iter().map(|one| (one.name.clone(), one.clone())).collect();
        Ok(Self { snapshot: translation.snapshot, certificates: Arc::new(certificates), endpoints, at })
    }
}

/// The routes, who tells them, and how many edits there were.
struct Told {
    controller: Controller,
    routes: Routes,
    edits: usize,
}

impl Told {
    fn tell_all(&self) {
        self.routes.endpoints.iter().for_each(|one| self.controller.endpoints(one));
        self.tell();
    }

    fn tell(&self) {
        self.controller.publish(self.routes.snapshot.clone(), self.routes.certificates.clone());
    }

    /// Gives one rule another path, and waits until it serves there; in milliseconds.
    fn edit(&mut self) -> io::Result<f64> {
        let edited = self.change()?;
        let mut asker = self.asker(&edited)?;
        let begun = Instant::now();
        self.tell();
        self.answers(&mut asker, &edited, begun).map(|time| time.as_secs_f64() * 1_000.0)
    }

    /// Cuts the stream, edits, and lets it connect again; seconds from there.
    fn cut_and_edit(&mut self) -> io::Result<f64> {
        self.controller.cut();
        let edited = self.change()?;
        self.tell();
        let mut asker = self.asker(&edited)?;
        let begun = self.controller.mend()?;
        self.answers(&mut asker, &edited, begun).map(|time| time.as_secs_f64())
    }

    /// Seconds since `begun` when the last rule serves.
    fn live(&self, begun: Instant) -> io::Result<f64> {
        let last = self.routes.snapshot.rules.values().next_back().ok_or_else(|| io::Error::other("no rule"))?.clone();
        loop {
            if let Ok(mut asker) = self.asker(&last) {
                return self.answers(&mut asker, &last, begun).map(|time| time.as_secs_f64());
            }
            if begun.elapsed() > LOST {
                return Err(io::Error::other("the gateway never listened"));
            }
            std::thread::sleep(POLL);
        }
    }

    fn change(&mut self) -> io::Result<Arc<Rule>> {
        // a step that has no factor with their number goes through all of them
        const STEP: usize = 7_919;
        self.edits += 1;
        let rules = &mut self.routes.snapshot.rules;
        let at = self.edits * STEP % rules.len();
        let mut rule = Rule::clone(rules.values().nth(at).ok_or_else(|| io::Error::other("no rule"))?);
        let path = PathMatch::Prefix(format!("/edit-{}", self.edits).into());
        rule.matches.edit(|matches| matches[0].path = path);
        let rule = Arc::new(rule);
        self.routes.snapshot.insert_rule(rule.clone());
        Ok(rule)
    }

    fn asker(&self, rule: &Rule) -> io::Result<Asker<impl io::Read + io::Write + use<>>> {
        drive::tls_asker(self.routes.at, &host_of(rule))
    }

    fn answers(
        &self,
        asker: &mut Asker<impl io::Read + io::Write>,
        rule: &Rule,
        begun: Instant,
    ) -> io::Result<Duration> {
        let PathMatch::Prefix(path) = &rule.matches[0].path else { return Err(io::Error::other("another path")) };
        let question = load::get(&host_of(rule), path);
        loop {
            match asker.ask(&question)?.status {
                200 => return Ok(begun.elapsed()),
                _ if begun.elapsed() > LOST => return Err(io::Error::other("never answered 200")),
                _ => std::thread::sleep(POLL),
            }
        }
    }
}

fn host_of(rule: &Rule) -> String {
    rule.attachments[0].hosts[0].pattern.to_string()
}
