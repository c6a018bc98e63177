//! Reads the access log while it is written, and counts it: each line has to be one JSON object, with no reason but those of docs/failures.md. It keeps no line that is right.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    thread::JoinHandle,
};

/// The reasons that are documented.
const FAILURES: &str = include_str!("../../docs/failures.md");

/// What stands in a log.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    /// Its lines.
    pub lines: u64,
    /// Lines of requests; the rest is of connections that never came to one.
    pub requests: u64,
    /// Lines of each `User-Agent`.
    pub by_agent: BTreeMap<String, u64>,
    /// Lines of each rule.
    pub by_rule: BTreeMap<String, u64>,
    /// Lines with each reason.
    pub by_failure: BTreeMap<String, u64>,
    /// What is wrong, and with which line.
    pub wrong: Vec<String>,
}

/// Reads a named pipe to its end, which comes with the end of its writer.
pub fn read(pipe: &Path) -> JoinHandle<Tally> {
    let pipe = pipe.to_owned();
    std::thread::spawn(move || tally(File::open(pipe).unwrap()))
}

fn tally(log: impl Read) -> Tally {
    let documented = documented();
    let mut tally = Tally::default();
    for line in BufReader::with_capacity(1 << 20, log).split(b'\n') {
        tally.add(&line.unwrap(), &documented);
    }
    tally
}

impl Tally {
    fn add(&mut self, line: &[u8], documented: &BTreeSet<&str>) {
        self.lines += 1;
        let read: Option<Value> = serde_json::from_slice(line).ok().filter(Value::is_object);
        let Some(object) = read else { return self.find("no JSON object", line) };
        let text = |key: &str| object[key].as_str();
        let is_request = object["status"].is_u64();
        self.requests += u64::from(is_request);
        if text("time").is_none() || !is_request && (text("failure").is_none() || !object["port"].is_u64()) {
            self.find("no time, or neither an answer nor a reason", line);
        }
        let mut count = |counts: fn(&mut Self) -> &mut BTreeMap<String, u64>, key: &str| {
            if let Some(name) = text(key) {
                let counts = counts(self);
                match counts.get_mut(name) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(name.to_owned(), 1)),
                }
            }
        };
        count(|tally| &mut tally.by_agent, "user_agent");
        count(|tally| &mut tally.by_rule, "rule");
        count(|tally| &mut tally.by_failure, "failure");
        if text("failure").is_some_and(|failure| !documented.contains(failure)) {
            self.find("a reason that is not documented", line);
        }
    }

    fn find(&mut self, what: &str, line: &[u8]) {
        const MOST: usize = 20;
        if self.wrong.len() < MOST {
            self.wrong.push(format!("{what}: {}", String::from_utf8_lossy(line)));
        }
    }
}

/// The first column of the table.
fn documented() -> BTreeSet<&'static str> {
    FAILURES.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_wrong_ones_are_shown() {
        let log = concat!(
            "{\"time\":\"t\",\"user_agent\":\"soak-kept\",\"status\":200,\"rule\":\"a\"}\n",
            "{\"time\":\"t\",\"status\":502,\"failure\":\"connect_refused\",\"rule\":\"a\"}\n",
            "{\"time\":\"t\",\"status\":502,\"failure\":\"bad_luck\"}\n",
            "{\"time\":\"t\",\"status\":200}{}\n",
            "{\"time\":\"t\",\"port\":443,\"failure\":\"not_tls\"}\n",
            "{\"time\":\"t\",\"port\":443}\n",
        );
        let tally = tally(log.as_bytes());
        assert_eq!((tally.lines, tally.requests, tally.by_agent["soak-kept"], tally.by_rule["a"]), (6, 3, 1, 2));
        assert_eq!((tally.by_failure["connect_refused"], tally.by_failure["not_tls"]), (1, 1));
        let wrong: Vec<&str> = tally.wrong.iter().filter_map(|wrong| wrong.split([',', ':']).next()).collect();
        assert_eq!(wrong, ["a reason that is not documented", "no JSON object", "no time"]);
    }
}
