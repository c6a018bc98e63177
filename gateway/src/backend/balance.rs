//! Which endpoint: the less loaded of two drawn at random. Pure: the dice are an argument; never a lock, never a write.

/// Chooses among `0..count`: of two different indices drawn with `dice` (64 random bits) that `may` be taken, the one with less
/// `load`; if neither may, the least loaded of all that may, searched from a random start. `None` where none may.
///
/// Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).
pub fn choose(count: usize, dice: u64, load: impl Fn(usize) -> u32, may: impl Fn(usize) -> bool) -> Option<usize> {
    let (first, second) = draw_two(count, dice)?;
    match (may(first), may(second)) {
        (true, true) if load(second) < load(first) => Some(second),
        (true, _) => Some(first),
        (false, true) => Some(second),
        (false, false) => (first..count).chain(0..first).filter(|&index| may(index)).min_by_key(|&index| load(index)),
    }
}

/// Two different indices below `count`; the same one twice where there is only one.
fn draw_two(count: usize, dice: u64) -> Option<(usize, usize)> {
    let below = |bits: u64, bound: usize| (((bits & 0xffff_ffff) * bound as u64) >> 32) as usize;
    match count {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let first = below(dice, count);
            let second = below(dice >> 32, count - 1);
            Some((first, if second >= first { second + 1 } else { second }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_the_less_loaded_and_only_what_may() {
        struct Case {
            what: &'static str,
            loads: &'static [u32],
            barred: &'static [usize],
            allowed: &'static [usize],
        }
        let cases = [
            Case { what: "none", loads: &[], barred: &[], allowed: &[] },
            Case { what: "one", loads: &[9], barred: &[], allowed: &[0] },
            Case { what: "one, barred", loads: &[9], barred: &[0], allowed: &[] },
            Case { what: "two: always the less loaded", loads: &[3, 1], barred: &[], allowed: &[1] },
            Case { what: "two, equal: either", loads: &[1, 1], barred: &[], allowed: &[0, 1] },
            Case { what: "the most loaded of three never", loads: &[0, 5, 1], barred: &[], allowed: &[0, 2] },
            Case { what: "only one may", loads: &[0, 0, 0, 7], barred: &[0, 1, 2], allowed: &[3] },
        ];
        let mut dice = fastrand::Rng::with_seed(1);
        for case in cases {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..500 {
                let chosen = choose(case.loads.len(), dice.u64(..), |i| case.loads[i], |i| !case.barred.contains(&i));
                seen.extend(chosen);
                assert_eq!(chosen.is_none(), case.allowed.is_empty(), "{}", case.what);
            }
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), case.allowed, "{}", case.what);
        }
    }

    #[test]
    fn spreads_evenly() {
        let mut loads = [0u32; 10];
        let mut dice = fastrand::Rng::with_seed(2);
        for _ in 0..10_000 {
            let at = choose(10, dice.u64(..), |i| loads[i], |_| true).unwrap();
            loads[at] += 1;
        }
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 5, "{loads:?}");
    }
}
