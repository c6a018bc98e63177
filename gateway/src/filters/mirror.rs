//! Which requests are mirrored: a share of them, by dice. The copy itself is sent by the proxy, and never waited for.

use headgate_config::Fraction;

/// Whether this request is of the share.
pub(super) fn falls(share: Fraction, dice: &dyn Fn() -> u64) -> bool {
    // The common case, all requests, costs no throw.
    share.numerator >= share.denominator || dice() % u64::from(share.denominator) < u64::from(share.numerator)
}

/// Refuses a share of nothing.
pub(super) fn vet(share: Fraction) -> Result<Fraction, String> {
    match share.denominator {
        0 => Err("the denominator of a mirror's fraction is 0: write at least 1".to_owned()),
        _ => Ok(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_met() {
        let dice = std::cell::RefCell::new(fastrand::Rng::with_seed(7));
        let throw = || dice.borrow_mut().u64(..);
        let count =
            |numerator, denominator| (0..10_000).filter(|_| falls(Fraction { numerator, denominator }, &throw)).count();
        assert_eq!(count(0, 100), 0);
        assert_eq!(count(100, 100), 10_000);
        assert_eq!(count(2, 1), 10_000);
        let fifth = count(20, 100);
        assert!((1_880..2_120).contains(&fifth), "{fifth}");
        assert!(vet(Fraction { numerator: 1, denominator: 0 }).is_err());
    }
}
