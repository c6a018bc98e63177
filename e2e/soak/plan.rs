//! What happens when: a schedule that its seed alone decides. It does nothing itself.

use fastrand::Rng;
use headgate_e2e::{Flow, Poison, Toxic};
use std::time::Duration;

/// Something that happens to the gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A proxy is poisoned for a while.
    Poison {
        /// Which proxy.
        proxy: usize,
        /// With what.
        poison: Poison,
        /// How long.
        time: Duration,
    },
    /// The weights of the split are saved anew.
    Weights(u32, u32),
    /// A file of the routes is nonsense for a while.
    Nonsense(Duration),
    /// A new certificate for the listener.
    Certificate,
    /// An endpoint of a Service is replaced by another, and its process ends.
    Replaced(usize),
    /// A process of the victim is killed (SIGKILL).
    Kill,
    /// So many requests at once to the split.
    Burst(usize),
    /// So many requests at once to the function that starts from zero.
    Cold(usize),
    /// A function with a route of its own is added, asked, and removed.
    Passing,
}

impl Event {
    /// Its kind, for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Poison { .. } => "toxics",
            Self::Weights(..) => "weights saved",
            Self::Nonsense(_) => "files with an error",
            Self::Certificate => "certificates",
            Self::Replaced(_) => "endpoints replaced",
            Self::Kill => "processes killed",
            Self::Burst(_) => "bursts",
            Self::Cold(_) => "bursts at the cold function",
            Self::Passing => "functions that came and went",
        }
    }
}

/// From one event to the next, on average.
const BETWEEN: Duration = Duration::from_millis(1_500);

/// The events of a run of so long with so many proxies and Services, by the time since its begin.
pub fn events(seed: u64, time: Duration, proxies: usize, services: usize) -> Vec<(Duration, Event)> {
    let mut dice = Rng::with_seed(seed);
    let mut at = Duration::ZERO;
    let mut events = Vec::new();
    loop {
        at += BETWEEN.mul_f64(0.5 + dice.f64());
        if at >= time {
            return events;
        }
        events.push((at, event(&mut dice, proxies, services)));
    }
}

fn event(dice: &mut Rng, proxies: usize, services: usize) -> Event {
    let seconds = |dice: &mut Rng, most: u64| Duration::from_millis(dice.u64(500..most * 1_000));
    match dice.u32(0..100) {
        0..40 => {
            let flow = [Flow::Up, Flow::Down, Flow::Both][dice.usize(0..3)];
            let poison = Poison { toxic: toxic(dice), flow };
            Event::Poison { proxy: dice.usize(0..proxies), poison, time: seconds(dice, 8) }
        }
        40..55 => Event::Weights(dice.u32(1..100), dice.u32(1..100)),
        55..60 => Event::Nonsense(seconds(dice, 3)),
        60..63 => Event::Certificate,
        63..68 => Event::Replaced(dice.usize(0..services)),
        68..76 => Event::Kill,
        76..82 => Event::Burst(dice.usize(50..300)),
        82..94 => Event::Cold(dice.usize(1..60)),
        _ => Event::Passing,
    }
}

fn toxic(dice: &mut Rng) -> Toxic {
    let ms = |dice: &mut Rng, most: u64| Duration::from_millis(dice.u64(1..most));
    match dice.u32(0..8) {
        0 => Toxic::Latency(ms(dice, 1_000)),
        1 => Toxic::Bandwidth(dice.usize(1_000..1_000_000)),
        2 => Toxic::SlowClose(ms(dice, 2_000)),
        3 => Toxic::Slices(dice.usize(1..2_000), ms(dice, 20)),
        4 => Toxic::Limit(dice.usize(0..100_000)),
        5 => Toxic::Reset(dice.usize(0..100_000)),
        6 => Toxic::Hole,
        _ => Toxic::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_schedule() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(events(7, hour, 3, 2), events(7, hour, 3, 2));
        assert_ne!(events(7, hour, 3, 2), events(8, hour, 3, 2));
        assert_eq!(events(7, hour / 2, 3, 2)[..], events(7, hour, 3, 2)[..events(7, hour / 2, 3, 2).len()]);
    }

    #[test]
    fn ten_minutes_have_everything() {
        for seed in 0..20 {
            let events = events(seed, Duration::from_secs(600), 3, 2);
            let kinds: BTreeSet<&str> = events.iter().map(|(_, event)| event.kind()).collect();
            assert_eq!(kinds.len(), 9, "seed {seed}: {kinds:?}");
        }
    }
}
