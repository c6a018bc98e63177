//! Which arm of a split a request goes to: weights exact in the long run, one multiplication and no state. Dice come from outside.

/// Running sums of weights.
#[derive(Debug)]
pub(crate) enum Weights {
    /// What most rules have, in place.
    One(u64),
    /// Any number.
    Many(Box<[u64]>),
}

impl Weights {
    /// The sums of the weights of arms, in their order.
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let mut sum = 0;
        let sums: Box<[u64]> = weights.into_iter().map(|weight| running(&mut sum, weight)).collect();
        match *sums {
            [only] => Self::One(only),
            _ => Self::Many(sums),
        }
    }

    fn sums(&self) -> &[u64] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(sums) => sums,
        }
    }

    /// The sum of all.
    pub(crate) fn total(&self) -> u64 {
        self.sums().last().copied().unwrap_or(0)
    }

    /// The arm that `dice` falls on; `None` where the total is 0.
    pub(crate) fn choose(&self, dice: u64) -> Option<usize> {
        let at = below(dice, self.total())?;
        Some(self.sums().partition_point(|&end| end <= at))
    }

    /// The same among the arms that `allowed` takes, by their weights among themselves. An arm of weight 0 is never chosen.
    pub(crate) fn choose_among(&self, dice: u64, mut allowed: impl FnMut(usize) -> bool) -> Option<usize> {
        // Asked once an arm: what is warm can change between two questions.
        let mut total = 0;
        let mut chosen = None;
        for arm in 0..self.sums().len() {
            let weight = self.weight(arm);
            if weight == 0 || !allowed(arm) {
                continue;
            }
            // Reservoir sampling: the arm takes the place with the chance weight / total so far.
            total += weight;
            if below(mix(dice, arm as u64), total).is_some_and(|at| at < weight) {
                chosen = Some(arm);
            }
        }
        chosen
    }

    fn weight(&self, arm: usize) -> u64 {
        self.sums()[arm] - arm.checked_sub(1).map_or(0, |before| self.sums()[before])
    }
}

fn running(sum: &mut u64, weight: u32) -> u64 {
    *sum += u64::from(weight);
    *sum
}

/// A number below `total` from 64 uniform bits, by multiplying (Lemire 2019, "Fast Random Integer Generation in an Interval",
/// without the rejection): a value's chance is off by at most `total` / 2^64, which is less than one request in 2^40 for the
/// largest split that the API allows.
fn below(dice: u64, total: u64) -> Option<u64> {
    (total > 0).then(|| ((u128::from(dice) * u128::from(total)) >> 64) as u64)
}

/// Independent dice for each arm out of one (SplitMix64, Steele et al. 2014).
fn mix(dice: u64, arm: u64) -> u64 {
    let mut z = dice.wrapping_add((arm + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(weights: &Weights, seed: u64, allowed: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut counts = vec![0; weights.sums().len()];
        for _ in 0..10_000 {
            if let Some(arm) = weights.choose_among(dice.u64(..), &allowed) {
                counts[arm] += 1;
            }
        }
        counts
    }

    #[test]
    fn ninety_to_ten_over_ten_thousand() {
        let weights = Weights::new([90, 10]);
        for seed in 0..20 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let first = (0..10_000).filter(|_| weights.choose(dice.u64(..)) == Some(0)).count();
            assert!(first.abs_diff(9_000) <= 120, "{first} with seed {seed}");
            let first = count(&weights, seed, |_| true)[0];
            assert!(first.abs_diff(9_000) <= 120, "{first} with seed {seed}");
        }
    }

    #[test]
    fn every_value_of_the_dice_falls_on_its_arm() {
        let weights = Weights::new([1, 0, 2, 1]);
        let quarter = 1 << 62;
        for (dice, arm) in
            [(0, 0), (quarter - 1, 0), (quarter, 2), (3 * quarter - 1, 2), (3 * quarter, 3), (u64::MAX, 3)]
        {
            assert_eq!(weights.choose(dice), Some(arm), "{dice}");
        }
    }

    #[test]
    fn no_weight_no_arm() {
        for weights in [Weights::new([]), Weights::new([0, 0])] {
            assert_eq!(weights.choose(u64::MAX), None);
            assert_eq!(weights.choose_among(u64::MAX, |_| true), None);
        }
    }

    #[test]
    fn among_some_arms_the_weights_keep_their_proportion() {
        let weights = Weights::new([50, 30, 0, 20]);
        let counts = count(&weights, 1, |arm| arm != 0);
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!(counts[1].abs_diff(6_000) <= 200, "{counts:?}");
        assert_eq!(counts[1] + counts[3], 10_000);
        assert_eq!(count(&weights, 1, |arm| arm == 2), [0; 4], "an arm of weight 0 is never chosen");
        assert_eq!(count(&weights, 1, |_| false), [0; 4]);
    }
}
