//! How many replicas one target should have, from what was seen of it: Knative's KPA, with bursts answered at once. Never reads a clock.
//!
//! Source: Knative Pod Autoscaler, "KPA-specific configuration": stable and panic windows, scale rates, scale to zero.

use std::{collections::VecDeque, fmt, time::Duration, time::Instant};

/// How much of a target value is used in steady state.
const UTILISATION: f64 = 0.7;
/// Requests at once per replica where nothing is configured.
const CONCURRENCY_DEFAULT: f64 = 100.0;
/// Panic when the panic window asks for this many times what is ready.
const PANIC_THRESHOLD: f64 = 2.0;
/// The panic window is this part of the stable one.
const PANIC_PART: u32 = 10;
/// At most this many times what is ready at once.
const UP_RATE_MAX: f64 = 1000.0;
/// At least this part of what is ready at once.
const DOWN_RATE_MAX: f64 = 2.0;
/// A mean is a sum of many floats: what is above a whole number by less than this is that number.
const ROUNDING: f64 = 1e-3;
/// Parts of a stable window that are remembered apart.
const BUCKETS: u32 = 60;
/// Between two evaluations while something changes, at least and at most.
const TICK_MIN: Duration = Duration::from_millis(20);
const TICK_MAX: Duration = Duration::from_secs(2);

/// What a person set for a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Replicas that always run.
    pub min: u32,
    /// Replicas that may run; less than `min` counts as `min`.
    pub max: u32,
    /// Requests at once that a replica bears (`containerConcurrency`); 0 is no bound.
    pub concurrency: u32,
    /// What is counted.
    pub metric: Metric,
    /// The stable window; the panic window is a tenth of it. Also how long a target must be idle to go to its minimum.
    pub window: Duration,
    /// How much longer the last replica stays.
    pub zero_grace: Duration,
}

/// What replicas are counted by, and how much of it one replica should have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Requests at once; `None` is `containerConcurrency`, or 100.
    Concurrency(Option<f64>),
    /// Requests a second.
    Rate(f64),
}

/// What was seen of a target since the last evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// Requests that are being answered now.
    pub in_flight: u32,
    /// Requests that wait now.
    pub queued: u32,
    /// In flight and queued, as the mean over the time since the last observation; `None` where only the moment is known.
    pub mean: Option<f64>,
    /// Requests that came since the last observation.
    pub arrivals: u64,
    /// Replicas that serve.
    pub ready: u32,
    /// Replicas that serve or start.
    pub live: u32,
}

/// How many there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Within the bounds.
    pub replicas: u32,
    /// Which rule decided.
    pub reason: Reason,
    /// When to ask again if nothing is observed before; `None`: only something new can change it.
    pub next_evaluation: Option<Instant>,
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing came for a whole window.
    Idle,
    /// The configured minimum.
    Minimum,
    /// The configured maximum.
    Maximum,
    /// A request came.
    Demand,
    /// More requests at once than the replicas bear.
    Burst,
    /// The panic window.
    Panic,
    /// The stable window.
    Stable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "no request for a whole window",
            Self::Minimum => "minReplicas",
            Self::Maximum => "maxReplicas",
            Self::Demand => "a request came",
            Self::Burst => "more requests at once than replicas bear",
            Self::Panic => "load rose quickly",
            Self::Stable => "mean load",
        })
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min: 0,
            max: 10,
            concurrency: 0,
            metric: Metric::Concurrency(None),
            window: Duration::from_secs(60),
            zero_grace: Duration::ZERO,
        }
    }
}

impl Bounds {
    /// What one replica should have in steady state. Never below one request at once: otherwise a single caller of a replica
    /// that bears one would start two.
    fn target(&self) -> f64 {
        match self.metric {
            Metric::Concurrency(_) => (self.capacity() * UTILISATION).max(1.0),
            Metric::Rate(rate) => (rate * UTILISATION).max(0.01),
        }
    }

    /// Requests at once that one replica is thought to bear.
    fn capacity(&self) -> f64 {
        let bound = f64::from(self.concurrency);
        match self.metric {
            Metric::Concurrency(Some(target)) if self.concurrency == 0 || target < bound => target,
            _ if self.concurrency > 0 => bound,
            _ => CONCURRENCY_DEFAULT,
        }
    }

    /// Replicas that so many requests at once need now. Without a bound only those count that nobody serves yet.
    fn burst(&self, seen: &Observation) -> f64 {
        let demand = f64::from(seen.in_flight) + f64::from(seen.queued);
        match (self.concurrency, self.metric) {
            (1.., _) => (demand / f64::from(self.concurrency)).ceil(),
            (0, Metric::Concurrency(_)) if seen.queued > 0 => (demand / self.capacity()).ceil(),
            _ => demand.min(1.0),
        }
    }
}

/// The memory of one target.
#[derive(Clone, Debug, Default)]
pub struct Autoscaler {
    history: History,
    active_at: Option<Instant>,
    panic: Option<Panic>,
}

#[derive(Clone, Copy, Debug)]
struct Panic {
    since: Instant,
    replicas: f64,
}

impl Autoscaler {
    /// Counts the target as active now, without a request: a replica that was asked for is not stopped before it could serve.
    pub fn keep_awake(&mut self, now: Instant) {
        self.active_at = Some(now);
    }

    /// Remembers what was seen, and says how many replicas there should be. `now` never goes back.
    pub fn evaluate(&mut self, now: Instant, seen: &Observation, bounds: &Bounds) -> Desired {
        self.history.record(now, seen, bounds.window);
        let demand = seen.in_flight > 0 || seen.queued > 0;
        let stirred = demand || seen.arrivals > 0;
        if stirred {
            self.active_at = Some(now);
        }
        let (wanted, reason) = match self.idle(now, bounds) {
            Some(replicas) => (replicas.min(seen.live), Reason::Idle),
            None => self.by_load(now, seen, bounds),
        };
        // nothing grows in silence: a mean of the past is no reason to start something now
        let wanted = if stirred { wanted.max(1) } else { wanted.min(seen.live) };
        let replicas = wanted.min(bounds.max).max(bounds.min);
        let reason = match () {
            () if replicas > wanted => Reason::Minimum,
            () if replicas < wanted => Reason::Maximum,
            () if stirred && seen.live == 0 && replicas == 1 => Reason::Demand,
            () => reason,
        };
        Desired { replicas, reason, next_evaluation: self.next_evaluation(now, stirred, replicas, bounds) }
    }

    /// What an idle target keeps, if it is idle.
    fn idle(&mut self, now: Instant, bounds: &Bounds) -> Option<u32> {
        let idle_for = self.active_at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        if idle_for < bounds.window {
            return None;
        }
        self.panic = None;
        Some(u32::from(idle_for - bounds.window < bounds.zero_grace))
    }

    fn by_load(&mut self, now: Instant, seen: &Observation, bounds: &Bounds) -> (u32, Reason) {
        let (target, ready) = (bounds.target(), f64::from(seen.ready.max(1)));
        let burst = bounds.burst(seen);
        let wants = |window| (self.history.mean(now, window, bounds.metric) / target - ROUNDING).ceil().max(0.0);
        let (stable, panic) = (wants(bounds.window), wants(bounds.window / PANIC_PART).max(burst));
        self.panic_if(now, panic / ready >= PANIC_THRESHOLD, bounds.window);
        let limit = |wanted: f64| wanted.max((ready / DOWN_RATE_MAX).floor()).min((ready * UP_RATE_MAX).ceil());
        let (mut wanted, mut reason) = (limit(stable), Reason::Stable);
        if let Some(state) = &mut self.panic {
            state.replicas = state.replicas.max(limit(stable)).max(limit(panic));
            (wanted, reason) = (state.replicas, Reason::Panic);
        }
        if burst >= wanted {
            (wanted, reason) = (burst, Reason::Burst);
        }
        // not idle for a whole window, so the last replica stays
        ((wanted as u32).max(seen.live.min(1)), reason)
    }

    /// Panic begins or goes on over the threshold, and ends a stable window after it was last crossed.
    fn panic_if(&mut self, now: Instant, over: bool, window: Duration) {
        let replicas = self.panic.map_or(0.0, |panic| panic.replicas);
        match self.panic {
            _ if over => self.panic = Some(Panic { since: now, replicas }),
            Some(panic) if now.saturating_duration_since(panic.since) > window => self.panic = None,
            _ => {}
        }
    }

    fn next_evaluation(&self, now: Instant, stirred: bool, replicas: u32, bounds: &Bounds) -> Option<Instant> {
        let tick = now + (bounds.window / (BUCKETS / 2)).clamp(TICK_MIN, TICK_MAX);
        if stirred || replicas > bounds.min.max(1) {
            return Some(tick);
        }
        let idle_at = self.active_at? + bounds.window + bounds.zero_grace;
        (replicas > bounds.min).then_some(if idle_at > now { idle_at } else { tick })
    }
}

/// Load over the last stable window, in parts of a sixtieth of it.
#[derive(Clone, Debug, Default)]
struct History {
    buckets: VecDeque<Bucket>,
    last: Option<(Instant, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    start: Instant,
    end: Instant,
    /// Requests at once, times seconds.
    busy: f64,
    arrivals: f64,
}

impl History {
    fn record(&mut self, now: Instant, seen: &Observation, window: Duration) {
        let gauge = f64::from(seen.in_flight) + f64::from(seen.queued);
        if let Some((at, before)) = self.last {
            let part = window / BUCKETS;
            let from = now.checked_sub(window).map_or(at, |oldest| at.max(oldest));
            let seconds = now.saturating_duration_since(at).as_secs_f64();
            let rate = if seconds > 0.0 { seen.arrivals as f64 / seconds } else { 0.0 };
            self.extend(from, now, part.max(Duration::from_millis(1)), seen.mean.unwrap_or(before), rate);
            while self.buckets.front().is_some_and(|bucket| bucket.end + window <= now) {
                self.buckets.pop_front();
            }
        }
        self.last = Some((now, gauge));
    }

    /// Adds a stretch of time with one value, cut into buckets.
    fn extend(&mut self, mut from: Instant, to: Instant, part: Duration, busy: f64, rate: f64) {
        while from < to {
            if self.buckets.back().is_none_or(|bucket| from >= bucket.start + part) {
                self.buckets.push_back(Bucket { start: from, end: from, busy: 0.0, arrivals: 0.0 });
            }
            let Some(bucket) = self.buckets.back_mut() else { return };
            let end = to.min(bucket.start + part);
            let seconds = (end - from).as_secs_f64();
            bucket.busy += busy * seconds;
            bucket.arrivals += rate * seconds;
            bucket.end = end;
            from = end;
        }
    }

    /// The mean over the window, or over what is known of it; the moment where nothing is.
    fn mean(&self, now: Instant, window: Duration, metric: Metric) -> f64 {
        let (mut sum, mut covered) = (0.0, 0.0);
        for bucket in self.buckets.iter().rev() {
            let seconds = (bucket.end - bucket.start).as_secs_f64();
            let outside = now.saturating_duration_since(bucket.start).saturating_sub(window).as_secs_f64();
            if outside >= seconds {
                break;
            }
            let part = (seconds - outside) / seconds;
            sum += part * if matches!(metric, Metric::Rate(_)) { bucket.arrivals } else { bucket.busy };
            covered += part * seconds;
        }
        match (metric, self.last) {
            _ if covered > 0.0 => sum / covered,
            (Metric::Concurrency(_), Some((_, gauge))) => gauge,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(max: u32, concurrency: u32) -> Bounds {
        Bounds { max, concurrency, ..Bounds::default() }
    }

    fn seen(in_flight: u32, queued: u32, ready: u32) -> Observation {
        Observation { in_flight, queued, ready, live: ready, ..Observation::default() }
    }

    /// Feeds one observation a second with the same load; replicas follow at once.
    fn hold(
        scaler: &mut Autoscaler,
        now: &mut Instant,
        seconds: u32,
        load: u32,
        ready: &mut u32,
        bounds: &Bounds,
    ) -> Desired {
        let mut desired = scaler.evaluate(*now, &seen(load, 0, *ready), bounds);
        for _ in 0..seconds {
            *now += Duration::from_secs(1);
            *ready = desired.replicas;
            desired = scaler.evaluate(*now, &seen(load, 0, *ready), bounds);
        }
        *ready = desired.replicas;
        desired
    }

    #[test]
    fn a_request_wakes_one_and_a_burst_wakes_what_it_needs() {
        for (queued, concurrency, max, replicas, reason) in [
            (1, 0, 10, 1, Reason::Demand),
            (1, 1, 10, 1, Reason::Demand),
            (100, 1, 10, 10, Reason::Maximum),
            (25, 10, 10, 4, Reason::Panic),
            (500, 0, 10, 8, Reason::Panic),
            (60, 0, 10, 1, Reason::Demand),
        ] {
            let desired =
                Autoscaler::default().evaluate(Instant::now(), &seen(0, queued, 0), &bounds(max, concurrency));
            assert_eq!((desired.replicas, desired.reason), (replicas, reason), "{queued} queued, {concurrency} each");
        }
    }

    #[test]
    fn stable_load_keeps_seventy_percent_in_use() {
        // KPA: containerConcurrency 10 at 70 % is 7 a replica
        for (load, concurrency, expected) in
            [(7, 10, 1), (8, 10, 2), (70, 10, 10), (700, 100, 10), (71, 0, 2), (3, 1, 3)]
        {
            let (mut now, mut ready, mut scaler) = (Instant::now(), 1, Autoscaler::default());
            let desired = hold(&mut scaler, &mut now, 130, load, &mut ready, &bounds(100, concurrency));
            assert_eq!(desired.replicas, expected, "{load} at {concurrency}");
        }
    }

    #[test]
    fn panic_never_scales_down_and_ends_a_window_after_the_surge() {
        let limits = bounds(100, 10);
        let (mut now, mut ready, mut scaler) = (Instant::now(), 1, Autoscaler::default());
        assert_eq!(hold(&mut scaler, &mut now, 10, 70, &mut ready, &limits).replicas, 10);
        // the surge goes; for the rest of the window what it started stays
        let during = hold(&mut scaler, &mut now, 40, 7, &mut ready, &limits);
        assert_eq!((during.replicas, during.reason), (10, Reason::Panic));
        let after = hold(&mut scaler, &mut now, 90, 7, &mut ready, &limits);
        assert_eq!((after.replicas, after.reason), (1, Reason::Burst));
    }

    #[test]
    fn scaling_down_halves_at_most() {
        let limits = bounds(100, 0);
        let mut scaler = Autoscaler::default();
        let now = Instant::now();
        for second in 0..70 {
            scaler.evaluate(now + Duration::from_secs(second), &seen(1, 0, 40), &limits);
        }
        let desired = scaler.evaluate(now + Duration::from_secs(70), &seen(1, 0, 40), &limits);
        assert_eq!((desired.replicas, desired.reason), (20, Reason::Stable));
    }

    #[test]
    fn rate_counts_requests_a_second() {
        let limits = Bounds { metric: Metric::Rate(10.0), ..bounds(100, 0) };
        let (now, mut scaler) = (Instant::now(), Autoscaler::default());
        let mut desired = 0;
        for second in 0..130 {
            let load = Observation { arrivals: 35, ready: desired, live: desired, ..Observation::default() };
            desired = scaler.evaluate(now + Duration::from_secs(second), &load, &limits).replicas;
        }
        assert_eq!(desired, 5);
    }

    #[test]
    fn idle_goes_to_zero_after_window_and_grace_and_short_requests_count() {
        let limits = Bounds { zero_grace: Duration::from_secs(30), ..bounds(10, 0) };
        let (start, mut scaler) = (Instant::now(), Autoscaler::default());
        scaler.evaluate(start, &seen(1, 0, 1), &limits);
        // a request so short that no moment shows it
        let short = Observation { arrivals: 1, ..seen(0, 0, 1) };
        let mut desired = scaler.evaluate(start + Duration::from_secs(50), &short, &limits);
        let mut now = start + Duration::from_secs(50);
        while desired.replicas > 0 {
            now = desired.next_evaluation.expect("something is still to be decided");
            desired = scaler.evaluate(now, &seen(0, 0, 1), &limits);
        }
        assert_eq!((desired.reason, desired.next_evaluation), (Reason::Idle, None));
        assert_eq!(now, start + Duration::from_secs(50 + 60 + 30));
    }

    #[test]
    fn minimum_runs_without_a_request_and_asks_for_nothing() {
        let limits = Bounds { min: 2, ..bounds(10, 0) };
        let desired = Autoscaler::default().evaluate(Instant::now(), &seen(0, 0, 0), &limits);
        assert_eq!(desired, Desired { replicas: 2, reason: Reason::Minimum, next_evaluation: None });
    }

    #[test]
    fn silence_starts_nothing() {
        let (now, mut scaler) = (Instant::now(), Autoscaler::default());
        scaler.evaluate(now, &seen(50, 0, 1), &bounds(10, 10));
        // all replicas died, and nobody asks
        let desired = scaler.evaluate(now + Duration::from_secs(1), &seen(0, 0, 0), &bounds(10, 10));
        assert_eq!(desired.replicas, 0);
    }

    #[test]
    fn seeded_loads_stay_within_bounds_and_idle_ends_at_the_minimum() {
        for seed in 0..1_000 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let limits = Bounds {
                min: dice.u32(0..3),
                max: dice.u32(3..20),
                concurrency: dice.u32(0..4) * 5,
                metric: if dice.bool() { Metric::Concurrency(None) } else { Metric::Rate(20.0) },
                window: Duration::from_secs(dice.u64(6..90)),
                zero_grace: Duration::from_secs(dice.u64(0..30)),
            };
            let (mut now, mut live, mut scaler) = (Instant::now(), 0, Autoscaler::default());
            for _ in 0..200 {
                now += Duration::from_millis(dice.u64(0..3_000));
                let (in_flight, queued) = if dice.bool() { (0, 0) } else { (dice.u32(0..200), dice.u32(0..50)) };
                let arrivals = if dice.bool() { 0 } else { dice.u64(0..100) };
                let ready = dice.u32(0..=live);
                let load = Observation { in_flight, queued, arrivals, ready, live, mean: None };
                let desired = scaler.evaluate(now, &load, &limits);
                assert!((limits.min..=limits.max).contains(&desired.replicas), "seed {seed}: {desired:?}");
                let stirred = in_flight + queued > 0 || arrivals > 0;
                assert!(!stirred || desired.replicas >= 1, "seed {seed}: {desired:?}");
                assert!(stirred || desired.replicas <= live.max(limits.min), "seed {seed}: {desired:?}");
                assert!(desired.next_evaluation.is_none_or(|at| at > now), "seed {seed}: {desired:?}");
                live = desired.replicas;
            }
            let stopped = now;
            loop {
                let desired = scaler.evaluate(now, &seen(0, 0, live), &limits);
                live = desired.replicas;
                let Some(at) = desired.next_evaluation else { break };
                now = at;
            }
            assert_eq!(live, limits.min, "seed {seed}");
            assert!(now - stopped <= limits.window + limits.zero_grace + 2 * TICK_MAX, "seed {seed}");
        }
    }
}
