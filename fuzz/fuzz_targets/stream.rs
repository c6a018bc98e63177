//! Whatever a controller says, a gateway holds whole versions: each or none of one, the same whichever way it came and after a restart, compiled, and never with a key in what is kept.
#![no_main]

use headgate_config::{Snapshot, Version};
use headgate_fuzz::controller::{Controller, KEY, Word};
use headgate_routing::Table;
use headgate_stream::replay::{Replay, Replayed};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

const LINES_MAX: usize = 64;

fuzz_target!(|text: &[u8]| {
    let mut run = Run::default();
    let lines = text.split(|&b| b == b'\n').take(LINES_MAX);
    for line in lines {
        if let Some(word) = run.controller.say(line) {
            run.hear(word);
        }
    }
    run.is_as_before();
    if !holds_key(text) {
        assert!(!holds_key(&run.gateway.stored()), "a key is kept");
        assert!(!holds_key(format!("{:?}", run.gateway).as_bytes()), "a key is printed");
    }
});

#[derive(Default)]
struct Run {
    controller: Controller,
    gateway: Replay,
    live: Snapshot,
    /// Whether messages came of which the controller knows nothing.
    is_wild: bool,
    /// What was held and stored before the first part of a version that is not complete.
    before: Option<(Vec<u8>, Vec<u8>)>,
}

impl Run {
    fn hear(&mut self, word: Word) {
        if !matches!(word, Word::Staged(_)) {
            self.is_as_before();
        }
        match word {
            Word::Reconnect => self.end(),
            Word::Staged(message) => {
                let gateway = &self.gateway;
                self.before.get_or_insert_with(|| (gateway.pieces(), gateway.stored()));
                match self.gateway.hear(&message) {
                    Ok(Replayed::Nothing) => {}
                    Ok(other) => panic!("of a part comes {other:?}"),
                    Err(_) => self.end(),
                }
            }
            Word::Endpoints(message) => {
                let before = self.gateway.pieces();
                let heard = self.gateway.hear(&message);
                assert!(matches!(heard, Ok(Replayed::Endpoints(_))), "of endpoints comes {heard:?}");
                assert_eq!(self.gateway.pieces(), before, "endpoints change routes");
            }
            Word::Commit(message, is_right) => self.commit(&message, is_right),
            Word::Wild(message) => {
                self.is_wild = true;
                match self.gateway.hear(&message) {
                    Ok(Replayed::Version { snapshot, .. }) => self.show(snapshot),
                    Ok(_) => {}
                    Err(_) => self.end(),
                }
            }
        }
    }

    /// Parts of a version do not show.
    fn is_as_before(&mut self) {
        if let Some(before) = self.before.take() {
            assert_eq!((self.gateway.pieces(), self.gateway.stored()), before, "part of a version shows");
        }
    }

    fn end(&mut self) {
        self.gateway.reconnect();
        self.controller.settle(false);
    }

    fn commit(&mut self, message: &[u8], is_right: bool) {
        match self.gateway.hear(message) {
            Ok(Replayed::Version { snapshot, certificates, .. }) => {
                self.controller.settle(true);
                if !self.is_wild {
                    assert!(is_right, "taken, though it does not add up");
                    let names: BTreeSet<_> =
                        certificates.keys().map(|name| (name.namespace.clone(), name.secret.clone())).collect();
                    // two of one name are no version of any controller
                    if self.controller.certificates().len() == names.len() {
                        assert_eq!(names, self.controller.certificates(), "other certificates");
                    }
                    assert!(certificates.values().all(|one| one.key.reveal().starts_with(KEY)));
                    self.compare(&snapshot);
                }
                self.show(snapshot);
            }
            Ok(other) => panic!("of a commit comes {other:?}"),
            Err(why) => {
                assert!(self.is_wild || !is_right, "{why}, though it adds up");
                assert!(self.gateway.pieces().is_empty(), "what does not add up is held");
                self.controller.drifted();
                self.gateway.reconnect();
            }
        }
    }

    /// The version is that which comes of all its pieces at once, and that of the file.
    fn compare(&self, snapshot: &Snapshot) {
        let told = self.gateway.pieces();
        let held: BTreeSet<[u8; 16]> = told.as_chunks().0.iter().copied().collect();
        assert_eq!((&held, told.len()), (&self.controller.pieces(), 16 * held.len()), "other pieces");
        let Some(messages) = self.controller.whole() else { return };
        let mut other = Replay::default();
        let last = messages.iter().map(|message| other.hear(message)).last();
        let Some(Ok(Replayed::Version { snapshot: whole, .. })) = last else { panic!("the same at once is {last:?}") };
        assert_eq!(*snapshot, whole, "another version than at once");
        let stored = self.gateway.stored();
        let (restored, kept) = Replay::restored(stored.clone()).expect("what is stored is whole");
        assert_eq!(*snapshot, kept, "another version after a restart");
        assert_eq!(restored.stored().len(), stored.len(), "something is lost by a restart");
    }

    fn show(&mut self, snapshot: Snapshot) {
        let table: Table<()> = Table::compile(&snapshot, Version(1), None, |_| ()).table;
        assert!(table.rules().len() <= snapshot.rules.len());
        let change = self.live.change_to(&snapshot, Version(1), Version(2));
        self.live.apply(change);
        assert_eq!(self.live, snapshot, "the difference is another");
        if self.is_wild {
            let (_, kept) = Replay::restored(self.gateway.stored()).expect("what is stored is whole");
            assert!(kept.rules.len() <= snapshot.rules.len() && kept.backends.len() <= snapshot.backends.len());
        }
    }
}

fn holds_key(text: &[u8]) -> bool {
    text.windows(KEY.len()).any(|part| part == KEY.as_bytes())
}
