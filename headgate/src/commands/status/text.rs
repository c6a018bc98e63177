//! The status of a cluster as people read it: what is wrong comes last, where a terminal ends. It repeats and decides nothing.

use super::gather::{Controller, Status};
use crate::output::table;
use headgate_controller::report::{FunctionRow, GatewayRow, Refusal};
use std::fmt::Write;

/// All of it.
pub fn text(status: &Status, colours: bool) -> String {
    let report = &status.report;
    let classes = report.classes.iter().map(|class| vec![class.name.clone(), class.accepted.clone()]);
    let sections = [
        table(&["GATEWAYCLASS", "ACCEPTED"], &classes.collect::<Vec<_>>()),
        table(
            &["CONTROLLER", "READY", "LEADS", "VERSION", "WATCHES", "STATUSES"],
            &rows(&status.controllers, controller),
        ),
        table(
            &["GATEWAY", "PROGRAMMED", "ADDRESS", "LISTENERS", "ROUTES", "PODS", "SERVE"],
            &rows(&report.gateways, gateway),
        ),
        table(&["FUNCTION", "STATE", "REPLICAS", "URL"], &rows(&report.functions, function)),
    ];
    let mut out = String::new();
    for section in sections.iter().filter(|section| !section.is_empty()) {
        let _ = writeln!(out, "{section}");
    }
    report.refused.iter().for_each(|one| refusal(&mut out, one));
    for problem in &status.problems {
        let _ = writeln!(out, "{problem}");
    }
    if !report.refused.is_empty() || !status.problems.is_empty() {
        out.push('\n');
    }
    for line in &status.unknown {
        let _ = writeln!(out, "unknown: {line}");
    }
    for line in &status.notes {
        let _ = writeln!(out, "note: {line}");
    }
    let (verdict, colour) = verdict(status);
    let _ = match colours {
        true => writeln!(out, "\x1b[1;{colour}m{verdict}\x1b[0m"),
        false => writeln!(out, "{verdict}"),
    };
    out
}

fn rows<T>(of: &[T], cells: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    of.iter().map(cells).collect()
}

/// One line, and the colour of it.
fn verdict(status: &Status) -> (String, u8) {
    let unready = status.report.gateways.iter().filter(|gateway| gateway.ready == 0 && gateway.wanted > 0).count();
    let parts = [
        counted(status.report.refused.len(), "is refused or not ready", "are refused or not ready"),
        counted(unready, "Gateway has no Pod that is ready", "Gateways have no Pod that is ready"),
        counted(status.problems.len(), "other problem", "other problems"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match (parts.is_empty() && status.is_fine(), status.unknown.is_empty()) {
        (true, true) => ("all is well".into(), 32),
        (true, false) => ("nothing is known to be wrong, but not everything could be read".into(), 33),
        (false, _) if parts.is_empty() => ("something is not ready".into(), 31),
        (false, _) => (parts.join(", "), 31),
    }
}

fn counted(many: usize, one: &str, more: &str) -> Option<String> {
    match many {
        0 => None,
        1 => Some(format!("1 {one}")),
        many => Some(format!("{many} {more}")),
    }
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn controller(one: &Controller) -> Vec<String> {
    let mut cells =
        vec![format!("{}/{}", one.namespace, one.name), yes(one.ready), yes(one.leads), one.version.clone()];
    let Some(health) = &one.health else {
        cells.extend(["unknown".to_owned(), "unknown".to_owned()]);
        return cells;
    };
    let failing = health.watches.iter().filter(|watch| watch.state == "failing").count();
    cells.push(match (failing, health.synced) {
        (0, true) => "synced".to_owned(),
        (0, false) => "being read".to_owned(),
        (failing, _) => format!("{failing} of {} fail", health.watches.len()),
    });
    let statuses = health.statuses;
    let failed = if statuses.failed > 0 { format!(", {} failed", statuses.failed) } else { String::new() };
    let pending = if statuses.pending > 0 { format!(", {} pending", statuses.pending) } else { String::new() };
    cells.push(format!("{} written{failed}{pending}", statuses.written));
    cells
}

fn gateway(row: &GatewayRow) -> Vec<String> {
    let address = row.addresses.first().cloned().unwrap_or_else(|| "none".into());
    let more = row.addresses.len().saturating_sub(1);
    vec![
        format!("{}/{}", row.namespace, row.name),
        row.programmed.clone(),
        if more > 0 { format!("{address} +{more}") } else { address },
        format!("{} of {}", row.listeners_programmed, row.listeners),
        row.routes.to_string(),
        format!("{} of {} ready", row.ready, row.wanted),
        row.versions(),
    ]
}

fn function(row: &FunctionRow) -> Vec<String> {
    vec![
        format!("{}/{}", row.namespace, row.name),
        if row.state.is_empty() { "unknown".into() } else { row.state.clone() },
        if row.wanted == 0 { "0 (starts on demand)".into() } else { format!("{} of {} ready", row.ready, row.wanted) },
        row.addresses.first().cloned().unwrap_or_default(),
    ]
}

/// Two lines: what and where; why, with what to do.
fn refusal(out: &mut String, one: &Refusal) {
    let at = if one.at.is_empty() { String::new() } else { format!(" ({})", one.at) };
    let condition = if one.condition.is_empty() { String::new() } else { format!("{}: ", one.condition) };
    let _ = writeln!(out, "{}{at}: {condition}{}", one.object, one.reason);
    if !one.message.is_empty() {
        let _ = writeln!(out, "  {}", one.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Health, Statuses, Watch};
    use headgate_controller::report::{ClassRow, PodRow, Report};

    fn status() -> Status {
        let pod = |version| PodRow { name: "p".into(), ready: true, version: Some(version), newest: Some(2) };
        let gateway = GatewayRow {
            namespace: "shop".into(),
            name: "web".into(),
            class: "headgate".into(),
            programmed: "True".into(),
            addresses: vec!["10.99.0.1".into(), "10.99.0.2".into()],
            listeners: 2,
            listeners_programmed: 1,
            routes: 3,
            wanted: 2,
            ready: 2,
            pods: vec![pod(2), pod(1)],
        };
        let function = FunctionRow {
            namespace: "shop".into(),
            name: "f".into(),
            state: "Running".into(),
            ..FunctionRow::default()
        };
        let watch = Watch { kind: "Service".into(), state: "failing".into(), ..Watch::default() };
        let health = Health {
            program: "0.1.0".into(),
            synced: true,
            watches: vec![watch, Watch::default()],
            statuses: Statuses { written: 7, failed: 1, ..Statuses::default() },
            ..Health::default()
        };
        let controller = |name: &str, health| Controller {
            namespace: "sys".into(),
            name: name.into(),
            ready: true,
            leads: name == "c1",
            version: "0.1.0".into(),
            health,
        };
        Status {
            controllers: vec![controller("c1", Some(health)), controller("c2", None)],
            report: Report {
                classes: vec![ClassRow { name: "headgate".into(), accepted: "True".into() }],
                gateways: vec![gateway],
                functions: vec![function],
                refused: Vec::new(),
            },
            ..Status::default()
        }
    }

    #[test]
    fn what_is_there_stands_in_columns_and_all_is_well() {
        let expected = "\
GATEWAYCLASS   ACCEPTED
headgate       True

CONTROLLER   READY   LEADS   VERSION   WATCHES       STATUSES
sys/c1       yes     yes     0.1.0     1 of 2 fail   7 written, 1 failed
sys/c2       yes     no      0.1.0     unknown       unknown

GATEWAY    PROGRAMMED   ADDRESS        LISTENERS   ROUTES   PODS           SERVE
shop/web   True         10.99.0.1 +1   1 of 2      3        2 of 2 ready   1 of 2 current

FUNCTION   STATE     REPLICAS               URL
shop/f     Running   0 (starts on demand)

all is well
";
        assert_eq!(text(&status(), false), expected);
    }

    #[test]
    fn what_is_wrong_comes_last_and_is_counted() {
        let mut status = status();
        status.report.refused = vec![Refusal {
            object: "HTTPRoute shop/lost".into(),
            namespace: "shop".into(),
            at: "Gateway shop/web".into(),
            condition: "ResolvedRefs".into(),
            reason: "BackendNotFound".into(),
            message: "Service shop/gone does not exist; name a Service and one of its ports".into(),
        }];
        status.problems = vec!["no controller leads in sys: statuses are not written".into()];
        status.notes = vec!["controllers cannot be asked: not allowed".into()];
        let told = text(&status, false);
        let expected = "\
HTTPRoute shop/lost (Gateway shop/web): ResolvedRefs: BackendNotFound
  Service shop/gone does not exist; name a Service and one of its ports
no controller leads in sys: statuses are not written

note: controllers cannot be asked: not allowed
1 is refused or not ready, 1 other problem
";
        assert!(told.ends_with(expected), "{told}");
        assert!(text(&status, true).ends_with("\x1b[1;31m1 is refused or not ready, 1 other problem\x1b[0m\n"));
    }

    #[test]
    fn what_cannot_be_read_is_no_all_clear() {
        let mut status = status();
        status.unknown = vec!["not allowed to list pods".into()];
        assert!(text(&status, false).ends_with(
            "unknown: not allowed to list pods\nnothing is known to be wrong, but not everything could be read\n"
        ));
    }
}
