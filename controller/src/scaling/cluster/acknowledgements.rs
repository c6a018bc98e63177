//! Which state of which target a gateway's acknowledgement of a sequence number means. Bounded by the number of targets; never judges.

use super::{Input, Member};
use headgate_config::GatewayName;
use std::collections::BTreeMap;

/// The endpoint lists that were sent, by the number that their lane gave them.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    sent: BTreeMap<GatewayName, Sent>,
    /// The highest number that each Pod acknowledged on the stream that is open.
    heard: BTreeMap<Member, u64>,
}

/// Only the newest of a target counts: a Pod that applied a later one has left the earlier.
#[derive(Debug, Default)]
struct Sent {
    by_sequence: BTreeMap<u64, (String, u64)>,
    newest: BTreeMap<String, u64>,
}

impl Acknowledgements {
    /// A state of a target was sent to the Pods of a Gateway under a number. Of several lists of one state the last number counts.
    pub fn sent(&mut self, gateway: &GatewayName, sequence: u64, target: &str, version: u64) {
        let sent = self.sent.entry(gateway.clone()).or_default();
        if let Some(before) = sent.newest.insert(target.to_owned(), sequence) {
            sent.by_sequence.remove(&before);
        }
        sent.by_sequence.insert(sequence, (target.to_owned(), version));
    }

    /// A Pod has applied everything up to a number: what that means for the scaler.
    pub fn applied(&mut self, member: &Member, sequence: u64) -> Vec<Input> {
        let before = self.heard.entry(member.clone()).or_default();
        let from = std::mem::replace(before, sequence.max(*before));
        let Some(sent) = self.sent.get(&member.gateway).filter(|_| from < sequence) else { return Vec::new() };
        let news = sent.by_sequence.range(from + 1..=sequence);
        news.map(|(_, (target, version))| Input::Applied {
            member: member.clone(),
            target: target.clone(),
            version: *version,
        })
        .collect()
    }

    /// The stream of a Pod has ended: on the next one it begins anew.
    pub fn disconnected(&mut self, member: &Member) {
        self.heard.remove(member);
    }

    /// There is no such target any more.
    pub fn forget(&mut self, target: &str) {
        for sent in self.sent.values_mut() {
            if let Some(sequence) = sent.newest.remove(target) {
                sent.by_sequence.remove(&sequence);
            }
        }
    }

    /// There is no such Gateway any more.
    pub fn forget_gateway(&mut self, gateway: &GatewayName) {
        self.sent.remove(gateway);
        self.heard.retain(|member, _| member.gateway != *gateway);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_the_newest_state_of_each_target_up_to_it() {
        let gateway = GatewayName { namespace: "default".into(), name: "web".into() };
        let member = Member { gateway: gateway.clone(), pod: "web-1".into() };
        let mut all = Acknowledgements::default();
        let told = |inputs: Vec<Input>| -> Vec<(String, u64)> {
            let one = |input| match input {
                Input::Applied { target, version, .. } => (target, version),
                other => panic!("{other:?}"),
            };
            inputs.into_iter().map(one).collect()
        };
        all.sent(&gateway, 1, "a", 1);
        all.sent(&gateway, 2, "b", 7);
        all.sent(&gateway, 3, "a", 2);
        assert_eq!(
            told(all.applied(&member, 2)),
            [("b".to_owned(), 7)],
            "the first list of a was never acknowledged alone"
        );
        assert_eq!(told(all.applied(&member, 3)), [("a".to_owned(), 2)]);
        assert_eq!(told(all.applied(&member, 3)), []);
        all.disconnected(&member);
        assert_eq!(told(all.applied(&member, 3)).len(), 2, "a new stream begins anew");
        all.forget("a");
        all.disconnected(&member);
        assert_eq!(told(all.applied(&member, 9)), [("b".to_owned(), 7)]);
    }
}
