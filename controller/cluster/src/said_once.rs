//! Keeps a log readable while the same goes wrong a thousand times: each kind of trouble is said once a minute, with how often it was not said. Never a clock.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long the same is not said again.
const QUIET: Duration = Duration::from_secs(60);
/// The most kinds of trouble that are told apart.
const KINDS_MAX: usize = 256;

/// What was said when.
#[derive(Debug, Default)]
pub struct SaidOnce {
    said: HashMap<String, (Instant, u64)>,
}

impl SaidOnce {
    /// Whether this is to be said now, and how often it was not since it was said last.
    pub fn say(&mut self, what: String, now: Instant) -> Option<u64> {
        match self.said.get_mut(&what) {
            Some((at, untold)) if now.saturating_duration_since(*at) < QUIET => {
                *untold += 1;
                None
            }
            Some((at, untold)) => {
                *at = now;
                Some(std::mem::take(untold))
            }
            None => {
                if self.said.len() >= KINDS_MAX {
                    self.said.clear();
                }
                self.said.insert(what, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_with_how_often_it_happened() {
        let (mut log, now) = (SaidOnce::default(), Instant::now());
        assert_eq!(log.say("a".into(), now), Some(0));
        assert_eq!(log.say("a".into(), now), None);
        assert_eq!(log.say("b".into(), now), Some(0));
        assert_eq!(log.say("a".into(), now + QUIET), Some(1));
    }
}
