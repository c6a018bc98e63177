//! The wall clock, looked at once a second per core, and as HTTP writes it. Never the clock of a deadline.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What was read of the wall clock counts that long.
const READ_COUNTS: Duration = Duration::from_secs(1);

thread_local! {
    static READ: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// A moment that has just been, in milliseconds since 1970.
pub fn unix_ms(moment: Instant) -> u64 {
    if let Some((read_at, read_ms)) = READ.get()
        && let Some(since) = moment.checked_duration_since(read_at)
        && since < READ_COUNTS
    {
        return read_ms + since.as_millis() as u64;
    }
    let now = Instant::now();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    READ.set(Some((now, now_ms)));
    now_ms.saturating_sub(now.saturating_duration_since(moment).as_millis() as u64)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_by_the_wall_clock_whichever_was_asked_for_before() {
        let now = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        for ms in [0, 400, 999, 1000, 5000, 30] {
            let (before, after) = (now - Duration::from_millis(ms), now + Duration::from_millis(ms));
            assert!(unix_ms(before).abs_diff(wall - ms) < 100, "{ms} before");
            assert!(unix_ms(after).abs_diff(wall + ms) < 100 || ms > 999, "{ms} after");
        }
    }
}
