//! What `translate` costs for 5,000 and 40,000 routes with their Services and EndpointSlices.
//!
//! `cargo bench -p headgate-bench`.

#![allow(missing_docs)]

use divan::{AllocProfiler, Bencher, black_box};
use headgate_controller::sources::directory::load_text;
use headgate_translate::{Objects, Settings, translate};
use std::path::Path;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = [5_000, 40_000], sample_count = 10)]
fn translate_routes(bencher: Bencher, count: usize) {
    let mut objects = Objects::default();
    for first in (0..count).step_by(1_000) {
        let loaded = load_text(Path::new("routes.yaml"), &documents(first..first + 1_000));
        loaded.kubernetes().for_each(|object| objects.insert(object.clone()));
    }
    let settings = Settings::standalone();
    bencher.bench_local(|| black_box(translate(&objects, &settings)));
}

fn documents(range: std::ops::Range<usize>) -> String {
    range
        .map(|at| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: fn-{at}}}\nspec:\n  ports:\n  - {{name: http, port: 80, targetPort: 9000}}\n---\n\
                 apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: fn-{at}-a\n  labels: {{kubernetes.io/service-name: fn-{at}}}\n\
                 addressType: IPv4\nports:\n- {{name: http, port: 9000}}\nendpoints:\n- addresses: [127.0.0.1]\n---\n\
                 apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: fn-{at}}}\nspec:\n  hostnames: [fn-{at}.example.com]\n\
                 \x20 rules:\n  - backendRefs: [{{name: fn-{at}, port: 80}}]\n---\n"
            )
        })
        .collect()
}
