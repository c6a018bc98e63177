//! docs/benchmarks.md and its plot, made from the newest results file. It measures nothing, and says nothing that is not in that file.

mod svg;

use crate::{
    report::{Beside, PublishedText, Report, Row, shown},
    scenario,
};
use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Where pages are, from the root of the repository.
pub const DOCS: &str = "docs";
const PLOT: &str = "benchmarks/beside-peers.svg";

/// What is written, with its path below [`DOCS`].
pub struct Page {
    path: &'static str,
    text: String,
}

/// Writes both below a folder.
pub fn write(results: &Path, docs: &Path) -> io::Result<()> {
    for page in pages(results)? {
        let path = docs.join(page.path);
        fs::create_dir_all(path.parent().unwrap_or(docs))?;
        fs::write(&path, page.text)?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn pages(results: &Path) -> io::Result<[Page; 2]> {
    let file = newest(results)?;
    let report: Report = serde_json::from_str(&fs::read_to_string(&file)?).map_err(io::Error::other)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let page = page(&report, &name);
    Ok([Page { path: "benchmarks.md", text: page }, Page { path: PLOT, text: svg::plot(&jobs(&report.rows)) }])
}

/// Names begin with the day.
fn newest(results: &Path) -> io::Result<PathBuf> {
    let files = fs::read_dir(results)?.flatten().map(|entry| entry.path());
    let newest = files.filter(|path| path.extension().is_some_and(|end| end == "json")).max();
    newest.ok_or_else(|| io::Error::other(format!("no results in {}: `make bench` makes them", results.display())))
}

/// One job with its rows beside peers, in the order in which they are measured, however often a part was measured again.
struct Job<'a> {
    title: String,
    rows: Vec<(&'a Beside, &'a Row)>,
}

fn jobs(rows: &[Row]) -> Vec<Job<'_>> {
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for (beside, row) in rows.iter().filter_map(|row| row.beside.as_ref().zip(Some(row))) {
        let title = format!("{}: {}", beside.job, beside.figure);
        match jobs.iter_mut().find(|job| job.title == title) {
            Some(job) => job.rows.push((beside, row)),
            None => jobs.push(Job { title, rows: vec![(beside, row)] }),
        }
    }
    let place = |job: &Job<'_>| {
        let name = job.rows.first().map(|(beside, _)| beside.scenario.as_str());
        scenario::names().iter().position(|one| Some(*one) == name)
    };
    jobs.sort_by_key(|job| place(job).unwrap_or(usize::MAX));
    jobs
}

fn page(report: &Report, file: &str) -> String {
    let machine = &report.machine;
    let jobs = jobs(&report.rows);
    let mut text = format!(
        "# Benchmarks\n\nWritten by `headgate-bench page` from `benches/results/{file}`; do not edit it. `make bench` measures anew, on your machine: it installs the peers that can be had,\n\
         runs everything, and writes this page. Figures of different machines cannot be compared.\n\n\
         Measured on {} with {} × {}, Linux {}, load {} when it began.\n\n## Beside other gateways\n\n",
        report.date, machine.processors, machine.processor, machine.kernel, machine.load
    );
    if jobs.is_empty() {
        text.push_str("This run measured no peers at these jobs.\n");
    } else {
        text.push_str(HOW);
        beside_peers(&mut text, &jobs);
    }
    published(&mut text, &report.rows);
    alone(&mut text, &report.rows);
    text
}

const HOW: &str = "\
All do the same job on the same machine in turn, round after round, each second round the other way round: 1,000 hosts with four paths each, two endpoints with weights 70 and 30,\n\
kept connections on both sides, X-Forwarded-For, an access log in a file. Two threads serve in each. Each figure is Headgate's divided by the peer's in the same round: the median of all\n\
rounds, and the interval that it lies in with 95 % confidence (bootstrap). Below 1 Headgate costs less.\n\n\
**ahead**: the whole interval is below 1. **behind**: all of it is above 1. **even**: neither. A goal is met when the whole interval is at or below it.\n\
Configurations of the peers are in `benches/src/peers/`; their makers are welcome to correct them. What they keep by default (statistics of Envoy, say) is on, as Headgate's metrics are.\n\n\
The buffer for functions that start has no peer here: Knative's activator (knative.dev/serving 0.42.2) can be built within minutes, but it learns of revisions and their endpoints from an\n\
API server and speaks with an autoscaler beside it, so that without a cluster it holds nothing.\n\n";

fn beside_peers(text: &mut String, jobs: &[Job<'_>]) {
    let _ = writeln!(text, "![Ratios to each peer with their intervals]({PLOT})\n");
    for job in jobs {
        let _ = writeln!(
            text,
            "### {}\n\n| beside | ratio | 95 % | | goal | | Headgate | peer |\n|---|---|---|---|---|---|---|---|",
            job.title
        );
        for (beside, row) in &job.rows {
            let _ = match (row.measured, beside.interval, beside.medians) {
                (Some(ratio), Some([low, high]), Some([ours, theirs])) => writeln!(
                    text,
                    "| {} | {ratio:.2} | {low:.2} to {high:.2} | {} | {} | {} | {} {unit} | {} {unit} |",
                    beside.peer,
                    beside.place(),
                    row.goal.map_or(String::new(), |goal| format!("≤ {goal}")),
                    row.verdict().to_lowercase(),
                    shown(ours),
                    shown(theirs),
                    unit = beside.unit,
                ),
                _ => writeln!(text, "| {} | | | {} | | | | |", beside.peer, in_a_cell(&row.note)),
            };
        }
        text.push('\n');
    }
}

const PUBLISHED: &str = "\n## Beside published figures\n\n\
The tests of [gateway-api-bench](https://github.com/howardjohn/gateway-api-bench) by their method, run by `make bench-cluster` on the machine above beside a whole control plane (two controllers, the API server, etcd and all Pods on its processors).\n\
The figures of the others are those that its author published, on 16 cores of an AMD 9950X; he works on Istio and agentgateway, and says so. So memory, writes and failures compare; times and cores say little more than their order of magnitude. What else differs\n\
stands in each row. The controller of agentgateway is kgateway there.\n\n\
| test | Headgate | goal | | agentgateway | Istio | Envoy Gateway | NGINX Gateway Fabric | how |\n|---|---|---|---|---|---|---|---|---|\n";

fn published(text: &mut String, rows: &[Row]) {
    let mut rows = rows.iter().filter_map(|row| Some((row, row.published.as_ref()?))).peekable();
    if rows.peek().is_none() {
        return;
    }
    text.push_str(PUBLISHED);
    for (row, PublishedText(others)) in rows {
        let _ = writeln!(text, "| {} | {} | {} |", judged(row), others.join(" | "), in_a_cell(&row.note));
    }
}

/// What was measured, the goal, and whether it is met: cells of a table.
fn judged(row: &Row) -> String {
    let what = in_a_cell(&row.what);
    let measured = row.measured.map_or(String::new(), |value| format!("{} {}", shown(value), row.unit));
    let goal = row.goal.map_or(String::new(), |goal| format!("≤ {}", shown(goal)));
    format!("{what} | {measured} | {goal} | {}", row.verdict().to_lowercase())
}

fn alone(text: &mut String, rows: &[Row]) {
    text.push_str("\n## Headgate alone\n\n| what | measured | goal | | how |\n|---|---|---|---|---|\n");
    for row in rows.iter().filter(|row| row.beside.is_none() && row.published.is_none()) {
        let _ = writeln!(text, "| {} | {} |", judged(row), in_a_cell(&row.note));
    }
}

/// A text that ends neither the cell nor the line.
fn in_a_cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(peer: &str, interval: Option<[f64; 2]>) -> Beside {
        let [scenario, job, figure] = ["http1", "HTTP/1.1 <small>", "CPU time"].map(str::to_owned);
        let medians = interval.map(|_| [10.0, 20.0]);
        Beside { scenario, job, figure, peer: peer.to_owned(), interval, medians, unit: "us".to_owned() }
    }

    fn report() -> Report {
        let mut report = Report::new();
        report.add(Row::new("a", 0.5, "ratio", 0.75).beside(beside("nginx", Some([0.4, 0.8]))));
        report.add(Row::new("b", 1.2, "ratio", 0.4).beside(beside("Envoy", Some([1.1, 9.0]))));
        report.add(Row::skipped("c", "not\nthere | at all").beside(beside("Caddy", None)));
        report.add(Row::new("reload", 1.5, "ms", None));
        report
    }

    #[test]
    fn a_row_that_is_behind_stays_and_a_goal_needs_the_whole_interval() {
        let page = page(&report(), "x.json");
        assert!(
            page.contains("| nginx | 0.50 | 0.40 to 0.80 | ahead | ≤ 0.75 | missed | 10.0 us | 20.0 us |"),
            "{page}"
        );
        assert!(page.contains("| Envoy | 1.20 | 1.10 to 9.00 | behind | ≤ 0.4 | missed |"), "{page}");
        assert!(page.contains("| Caddy | | | skipped: not there \\| at all |"), "{page}");
        assert!(page.contains("| reload | 1.500 ms |"), "{page}");
    }

    #[test]
    fn the_plot_has_a_bar_for_each_that_was_measured() {
        let report = report();
        let plot = svg::plot(&jobs(&report.rows));
        assert_eq!(plot.matches("class=\"bar").count(), 2, "{plot}");
        assert!(plot.contains("HTTP/1.1 &lt;small>"), "{plot}");
        assert!(plot.contains("1.20 ▸"), "an interval beyond the scale is marked: {plot}");
    }

    #[test]
    fn the_page_is_the_one_of_the_committed_results() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (results, docs) = (here.join("results"), here.join("..").join(DOCS));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            write(&results, &docs).unwrap();
        }
        for page in pages(&results).unwrap() {
            let written = fs::read_to_string(docs.join(page.path)).unwrap_or_default();
            assert!(written == page.text, "docs/{} is not of the newest results: run `make docs`", page.path);
        }
    }
}
