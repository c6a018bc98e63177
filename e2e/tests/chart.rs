//! The chart: that what it says of limits is what the gateway says of them. It needs no cluster and no Helm.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use std::{fs, path::Path};

const DEFINITION: &str = "charts/headgate/crds/headgate.dev_gatewayparameters.yaml";
const BEGIN: &str = "# Made from docs/limits.md";
const END: &str = "# end";
/// A number, a size or a time; the gateway judges which.
const VALUE: &str = "^(none|[0-9]{1,12}([KMG]iB)?|([0-9]{1,5}(h|m|s|ms)){1,4})$";

/// Rows of docs/limits.md (which is made from the table in code): flag, default, text.
fn limits(text: &str) -> Vec<[&str; 3]> {
    text.lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let flag = cells.next().unwrap().trim_matches('`').trim_start_matches("--");
            [flag, cells.next().unwrap(), cells.next().unwrap()]
        })
        .collect()
}

#[test]
fn limits_of_gateway_parameters_are_those_of_the_gateway() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let limits = limits(&docs);
    assert!(limits.len() > 30, "{limits:?}");
    let text = fs::read_to_string(root.join(DEFINITION)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = |mark: &str| lines.iter().position(|line| line.trim_start().starts_with(mark)).unwrap();
    let (begin, end) = (at(BEGIN), at(END));
    let indent = &lines[begin][..lines[begin].find('#').unwrap()];
    let mut made: Vec<String> = lines[..=begin].iter().map(ToString::to_string).collect();
    for [flag, default, about] in limits {
        let about = about.replace('\'', "''");
        made.push(format!("{indent}{flag}:"));
        made.push(format!("{indent}  description: '{about} {default} if left out.'"));
        made.push(format!("{indent}  x-kubernetes-int-or-string: true"));
        made.push(format!("{indent}  pattern: {VALUE}"));
    }
    made.extend(lines[end..].iter().map(ToString::to_string));
    let made = made.join("\n") + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root.join(DEFINITION), &made).unwrap();
    }
    let now = fs::read_to_string(root.join(DEFINITION)).unwrap();
    assert!(now == made, "{DEFINITION} is old: UPDATE_DOCS=1 cargo test -p headgate-e2e --test chart");
}
