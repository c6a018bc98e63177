//! The time as HTTP writes it, made once a second per core. Never the clock of a deadline.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

thread_local! {
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Lends `Date` as it is now (IMF-fixdate, RFC 9110 §5.6.7).
pub fn with_http_date<R>(lend: impl FnOnce(&str) -> R) -> R {
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    DATE.with_borrow_mut(|(at, text)| {
        if *at != seconds || text.is_empty() {
            *at = seconds;
            *text = httpdate::fmt_http_date(now);
        }
        lend(text)
    })
}
