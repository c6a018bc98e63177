//! Changes as people read them: rules as `routes` prints them, with a sign before each. It repeats and decides nothing.

use super::changes::{Change, Changes, GatewayChanges, Statement};
use crate::{commands::routes, output::table};
use serde_json::Value;
use std::fmt::Write;

/// All of them.
pub fn text(changes: &Changes, colours: bool) -> String {
    if changes.is_empty() {
        return "nothing would change\n".into();
    }
    let mut out = String::new();
    for gateway in &changes.gateways {
        of_gateway(&mut out, gateway, colours);
    }
    let sections =
        [("Newly refused:", '!', &changes.conditions.worse), ("Refused no more:", ' ', &changes.conditions.better)];
    for (title, sign, list) in sections.iter().filter(|(_, _, list)| !list.is_empty()) {
        let _ = writeln!(out, "{title}");
        list.iter().for_each(|one| statement(&mut out, *sign, one, colours));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

fn of_gateway(out: &mut String, gateway: &GatewayChanges, colours: bool) {
    let exists = gateway.exists.map(|exists| format!(" ({exists})")).unwrap_or_default();
    let _ = writeln!(out, "Gateway {}{exists}", gateway.gateway);
    for change in &gateway.listeners {
        let listener = change.after.as_ref().or(change.before.as_ref()).unwrap_or(&Value::Null);
        let text = |field: &str| plain(&listener[field]);
        let line =
            format!("{} listener {} {} {}", sign(change), named(&listener["name"]), text("protocol"), text("port"));
        coloured(out, &format!("{line}{}", differ(&change.fields)), colours);
    }
    let rows: Vec<Vec<String>> = gateway.rules.iter().map(row).collect();
    for line in table(&[" ", "HOST", "PORT", "PATH", "ALSO", "RULE", "TO"], &rows).lines() {
        coloured(out, line, colours);
    }
    for backend in &gateway.backends {
        coloured(out, &format!("~ backend {backend}: other settings"), colours);
    }
    out.push('\n');
}

fn sign(change: &Change) -> char {
    match (&change.before, &change.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    }
}

fn row(change: &Change) -> Vec<String> {
    let cells = |rule: &Option<Value>| rule.as_ref().and_then(routes::cells);
    let mut line = vec![sign(change).to_string()];
    let (old, new) = (cells(&change.before), cells(&change.after));
    let mut shown = new.clone().or(old.clone()).unwrap_or_default();
    if let (Some(old), Some(new), Some(to)) = (old.as_ref(), new.as_ref(), shown.last_mut()) {
        if old.last() != new.last() {
            *to = format!("{} -> {to}", old.last().map_or("", String::as_str));
        }
        let others: Vec<String> =
            change.fields.iter().filter(|field| !["arms", "invalid"].contains(&field.as_str())).cloned().collect();
        to.push_str(&differ(&others));
    }
    line.extend(shown);
    line
}

/// Which fields differ beyond what is shown.
fn differ(fields: &[String]) -> String {
    match fields {
        [] => String::new(),
        several => format!(" (other {})", several.join(", ")),
    }
}

fn statement(out: &mut String, sign: char, one: &Statement, colours: bool) {
    let at = if one.at.is_empty() { String::new() } else { format!(" ({})", one.at) };
    coloured(out, &format!("{sign} {}{at}: {}: {}", one.object, plain(&one.condition), one.reason), colours);
    if !one.message.is_empty() {
        let _ = writeln!(out, "    {}", one.message);
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The name of a listener within its Gateway.
fn named(name: &Value) -> String {
    let set = name["set"].as_str().filter(|set| !set.is_empty()).map(|set| format!("{set}/")).unwrap_or_default();
    format!("{set}{}", plain(&name["section"]))
}

fn coloured(out: &mut String, line: &str, colours: bool) {
    let colour = match line.chars().next() {
        Some('+') => 32,
        Some('-' | '!') => 31,
        Some('~') => 33,
        _ => 0,
    };
    let _ = match colours && colour > 0 {
        true => writeln!(out, "\x1b[{colour}m{line}\x1b[0m"),
        false => writeln!(out, "{line}"),
    };
}
