//! The last requests of a core, for `explain --request-id`. Bounded; never makes a core wait for a reader.

use super::{access_log::json_line, record::Record};
use std::{collections::VecDeque, sync::Mutex};

/// The last records, oldest first.
#[derive(Debug)]
pub(super) struct ExplainRing {
    records: Mutex<VecDeque<Record>>,
    count_max: usize,
}

impl ExplainRing {
    pub(super) fn new(count_max: usize) -> Self {
        Self { records: Mutex::new(VecDeque::with_capacity(count_max)), count_max }
    }

    /// Keeps a record in place of the oldest; a record that comes while somebody reads is not kept.
    pub(super) fn push(&self, record: Record) {
        let Ok(mut records) = self.records.try_lock() else { return };
        if records.len() >= self.count_max {
            records.pop_front();
        }
        if self.count_max > 0 {
            records.push_back(record);
        }
    }

    /// The newest record of an id, as its JSON line.
    pub(super) fn find(&self, request_id: &str) -> Option<String> {
        let records = self.records.lock().ok()?;
        let record = records.iter().rev().find(|record| record.request_id() == request_id)?;
        let mut line = Vec::new();
        json_line(record, &mut line);
        String::from_utf8(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;
    use headgate_message::Version;
    use std::time::Instant;

    #[test]
    fn the_oldest_record_goes_and_the_newest_of_an_id_is_found() {
        let ring = ExplainRing::new(3);
        for (id, path) in [("a", "/1"), ("b", "/2"), ("c", "/3"), ("b", "/4")] {
            let head = request("GET", "a.io", path);
            let peer = "192.0.2.1".parse().unwrap();
            let mut record = Record::begin(peer, 80, &head, Version::Http2, Instant::now());
            record.set_request_id(id.as_bytes());
            ring.push(record);
        }
        assert!(ring.find("a").is_none());
        assert!(ring.find("b").unwrap().contains("\"path\":\"/4\""));
        assert!(ring.find("c").unwrap().contains("\"protocol\":\"HTTP/2\""));
        ExplainRing::new(0).push(Record::headless("::1".parse().unwrap(), 80, Version::Http11, Instant::now()));
    }
}
