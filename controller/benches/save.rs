//! What one save costs until its routes are known, at 5,000 and 40,000 routes with their Services and EndpointSlices in files of 33 routes: reading the file, and all that follows from it.
//!
//! `cargo bench -p headgate-controller`. Swapping the routes in is `compile_edit` of `headgate-routing`.

#![allow(missing_docs)]

use divan::{Bencher, black_box};
use headgate_controller::{
    assemble::Ground,
    sources::directory::{self, Loaded, Look, Touched},
    standalone::Standalone,
};
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

const ROUTES_PER_FILE: usize = 33;
const COUNTS: [usize; 2] = [5_000, 40_000];

fn main() {
    divan::main();
}

/// Everything from nothing, as at a start.
#[divan::bench(args = COUNTS, sample_count = 5, sample_size = 1)]
fn load_everything(bencher: Bencher, count: usize) {
    let folder = Folder::with(count);
    bencher.bench_local(|| folder.load(&Loaded::default(), Touched::Anything));
}

#[divan::bench(args = COUNTS, sample_count = 5, sample_size = 1)]
fn assemble_everything(bencher: Bencher, count: usize) {
    let folder = Folder::with(count);
    let loaded = Arc::new(folder.load(&Loaded::default(), Touched::Anything));
    bencher.bench_local(|| standalone().loaded(black_box(loaded.clone()), 0));
}

/// The file of a changed route is read again.
#[divan::bench(args = COUNTS, sample_count = 100, sample_size = 1)]
fn load_edit(bencher: Bencher, count: usize) {
    let folder = Folder::with(count);
    let loaded = folder.load(&Loaded::default(), Touched::Anything);
    let touched = Touched::Files([folder.save(1)].into());
    bencher.bench_local(|| folder.load(black_box(&loaded), touched.clone()));
}

/// All that follows from one changed route.
#[divan::bench(args = COUNTS, sample_count = 100, sample_size = 1)]
fn assemble_edit(bencher: Bencher, count: usize) {
    let folder = Folder::with(count);
    let mut loaded = Arc::new(folder.load(&Loaded::default(), Touched::Anything));
    let mut standalone = standalone();
    let _ = standalone.loaded(loaded.clone(), 0);
    let mut version = 0;
    let next = || {
        version += 1;
        let touched = Touched::Files([folder.save(version)].into());
        loaded = Arc::new(folder.load(&loaded, touched));
        loaded.clone()
    };
    bencher.with_inputs(next).bench_local_values(|loaded| standalone.loaded(loaded, 0));
}

fn standalone() -> Standalone {
    Standalone::new(Ground::standalone("localhost", 8080), BTreeMap::new())
}

struct Folder(TempDir);

impl Folder {
    fn with(count: usize) -> Self {
        let folder = Self(TempDir::new().expect("a folder"));
        for first in (0..count).step_by(ROUTES_PER_FILE) {
            let last = (first + ROUTES_PER_FILE).min(count);
            fs::write(folder.file(first), documents(first, last, 0)).expect("a file");
        }
        folder
    }

    fn file(&self, first: usize) -> PathBuf {
        self.0.path().join(format!("routes-{first:05}.yaml"))
    }

    /// Writes the first file with another host in its first route.
    fn save(&self, version: usize) -> PathBuf {
        let file = self.file(0);
        fs::write(&file, documents(0, ROUTES_PER_FILE, version)).expect("a file");
        file
    }

    fn load(&self, previous: &Loaded, touched: Touched) -> Loaded {
        // later than any file's settling time, so that nothing else is read again
        let now = SystemTime::now() + Duration::from_secs(10);
        directory::load(&[self.0.path().to_owned()], previous, &Look { now, touched, patient: false })
    }
}

fn documents(first: usize, last: usize, version: usize) -> String {
    (first..last)
        .map(|at| {
            let host = if at == 0 { format!("v{version}.example.com") } else { format!("fn-{at}.example.com") };
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: fn-{at}}}\nspec:\n  ports:\n  - {{name: http, port: 80, targetPort: 9000}}\n---\n\
                 apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: fn-{at}-a\n  labels: {{kubernetes.io/service-name: fn-{at}}}\n\
                 addressType: IPv4\nports:\n- {{name: http, port: 9000}}\nendpoints:\n- addresses: [127.0.0.1]\n---\n\
                 apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: fn-{at}}}\nspec:\n  hostnames: [{host}]\n\
                 \x20 rules:\n  - backendRefs: [{{name: fn-{at}, port: 80}}]\n---\n"
            )
        })
        .collect()
}
