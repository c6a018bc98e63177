//! Weights as users see them: over requests, with arms that are cold or cannot be served.

use crate::given::*;
use headgate_config::{Action, Arm, ArmTarget, ColdArm, Rule, Split};
use headgate_routing::{CompiledRule, Outcome};
use std::sync::Arc;

fn compiled(rule: Rule) -> Arc<CompiledRule<headgate_config::BackendName>> {
    let table = table([rule], &["*"]);
    let Outcome::Found(found) = table.route(PORT, &get("a.io", "/")) else { panic!("no rule") };
    Arc::clone(found.rule)
}

#[test]
fn ninety_to_ten_over_ten_thousand_requests() {
    let canary = compiled(Rule { action: split([("v1", 90), ("v2", 10)]), ..rule("a") });
    let mut dice = fastrand::Rng::with_seed(7);
    let mut counts = [0_u32; 2];
    for _ in 0..10_000 {
        counts[canary.choose(dice.u64(..)).unwrap()] += 1;
    }
    assert!(counts[0].abs_diff(9_000) <= 120 && counts[1].abs_diff(1_000) <= 120, "{counts:?}");
    assert_eq!(canary.arms()[1].target(), Ok(&backend("v2")));
    assert_eq!(canary.arm_name(1), Some(&backend("v2")));
}

#[test]
fn a_weight_of_zero_gets_nothing_and_no_weight_at_all_is_no_arm() {
    let off = compiled(Rule { action: split([("v1", 0), ("v2", 1)]), ..rule("a") });
    assert!((0..64).all(|bit| off.choose(1 << bit) == Some(1)));
    assert_eq!(off.choose_among(1, |arm| arm == 0), None);
    for action in [split([("v1", 0)]), split([])] {
        let none = compiled(Rule { action, ..rule("a") });
        assert_eq!((none.total_weight(), none.choose(u64::MAX)), (0, None));
    }
}

#[test]
fn an_invalid_arm_keeps_its_share() {
    let arm = |target, weight| Arm { target, weight, filters: vec![] };
    let arms =
        vec![arm(ArmTarget::Backend(backend("v1")), 1), arm(ArmTarget::Invalid("no Service default/v2".into()), 1)];
    let half =
        compiled(Rule { action: Action::Forward(Split { arms: arms.into(), cold: ColdArm::Shift }), ..rule("a") });
    assert_eq!(half.cold(), ColdArm::Shift);
    assert_eq!(half.choose(0), Some(0));
    assert_eq!(half.choose(u64::MAX), Some(1));
    assert_eq!(half.arms()[1].target(), Err("no Service default/v2"));
    assert_eq!(half.arm_name(1), None);
}
