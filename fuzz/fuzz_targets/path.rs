//! A canonical path is canonical, means what was sent, and holds no dot segment for any reader that decodes once.
#![no_main]

use headgate_fuzz::escapes::decoded;
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
