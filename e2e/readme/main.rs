//! (being written)
#[test]
fn nothing() {}
