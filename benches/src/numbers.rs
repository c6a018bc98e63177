//! What is said of many measured values: percentiles, and a median with the interval that it may lie in. Random only by a given seed.

/// How often the pairs are drawn anew for the interval.
const DRAWS: usize = 4_000;

/// The value below which a share of the values lies (0.5 is the median); the nearest rank, so always a value that was measured.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median of the values.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// By the bootstrap: medians of values drawn with replacement, of which the middle 95 % are the interval.
    pub fn of(values: &[f64], seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut drawn = vec![0.0; values.len()];
        let medians: Vec<f64> = (0..DRAWS)
            .map(|_| {
                drawn.fill_with(|| dice.choice(values).copied().unwrap_or(f64::NAN));
                percentile(&drawn, 0.5)
            })
            .collect();
        Self { median: percentile(values, 0.5), low: percentile(&medians, 0.025), high: percentile(&medians, 0.975) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (share, value) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)] {
            assert_eq!(percentile(&values, share), value, "{share}");
        }
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn the_interval_holds_the_median_and_is_the_same_each_time() {
        let values: Vec<f64> = (0..40).map(|at| 1.0 + f64::from(at % 7) / 100.0).collect();
        let estimate = Estimate::of(&values, 1);
        assert!(estimate.low <= estimate.median && estimate.median <= estimate.high, "{estimate:?}");
        assert_eq!(estimate, Estimate::of(&values, 1));
    }
}
