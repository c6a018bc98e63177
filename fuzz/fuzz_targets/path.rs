//! A canonical path is canonical, means what was sent, and holds no dot segment for any reader that decodes once.
#![no_main]

use headgate_message::canonical_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    let Ok(canonical) = canonical_path(path) else { return };
    assert_eq!(canonical_path(&canonical).as_deref(), Ok(&*canonical), "not idempotent");
    assert!(canonical.starts_with(b"/") && !canonical.starts_with(b"//"));
    assert!(canonical.iter().all(|b| b.is_ascii_graphic() && !b"#?\\\"<>^`{|}".contains(b)));
    let meaning = decoded(path);
    assert_eq!(decoded(&canonical), meaning, "another meaning");
    for segment in meaning.split(|b| b"/\\".contains(b)) {
        let name = segment.split(|&b| b == b';').next().unwrap_or_default();
        assert!(name != b"." && name != b"..", "a dot segment in {}", canonical.escape_ascii());
    }
});

/// All escapes decoded, once.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let hex = path.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if path[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}
