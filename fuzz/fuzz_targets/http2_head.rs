//! Whatever an HTTP/2 client sends, the HTTP/1.1 application gets nothing, or one request to a second, strict parser that means the same; others are served all the same. Through a whole gateway in this process: what turns HTTP/2 into HTTP/1.1 is `h2`, the mapping of heads, the relay and the pool together, and a seam of it would leave out what smuggling lives of.
#![no_main]

use headgate_fuzz::http2::{meaning::judge, rig::Rig, script::Script};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local!(static RIG: RefCell<Rig> = RefCell::new(Rig::start()));

fuzz_target!(|text: &[u8]| {
    let script = Script::read(text);
    RIG.with_borrow_mut(|rig| judge(&script, &rig.send(&script)));
});
