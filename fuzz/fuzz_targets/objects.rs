//! No text in a directory makes the program fail: it is read, told about at places that exist, assembled the same each time, and compiled.
#![no_main]

use headgate_config::Version;
use headgate_controller::{
    assemble::{Ground, Known, assemble},
    sources::directory::load_text,
};
use headgate_routing::Table;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    let loaded = load_text(Path::new("fuzz.yaml"), text);
    let ground = Ground::standalone("localhost", 8080);
    let one = assemble(&loaded, &Known::default(), &ground, 0);
    let two = assemble(&loaded, &Known::default(), &ground, 0);
    assert_eq!(one.translation, two.translation, "equal objects, another outcome");
    // an editor shows one line more than there are line ends
    let lines_max = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
    for finding in loaded.findings.iter().chain(&one.findings) {
        assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
        assert!(finding.position.is_none_or(|position| position.line as usize <= lines_max), "{finding:?}");
    }
    let table: Table<()> = Table::compile(&one.translation.snapshot, Version(1), None, |_| ()).table;
    assert!(table.rules().len() <= one.translation.snapshot.rules.len());
});
