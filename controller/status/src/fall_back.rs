//! What is said of an object whose newest version cannot be read, so that an older one still serves. Never hides what is wrong.

use headgate_translate::{
    conditions::{Condition, ConditionType, Reason, Status},
    schema::{Problem, Severity},
};

/// The status of an object of which the version before `generation` serves, since that one has `problems`. As it was, if none of
/// them is an error.
///
/// Source: Gateway API v1.7.0, RouteConditionPartiallyInvalid, approach 2 (Fall Back). Kinds without that condition say it in `Accepted`.
pub fn fall_back(mut status: Status, problems: &[Problem], generation: i64) -> Status {
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let Some(first) = errors.next() else { return status };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let message = format!("Fall Back: the last version that could be read serves; {first}{more}");
    match &mut status {
        Status::Route(route) => route.parents.iter_mut().for_each(|entry| {
            entry.conditions.retain(|condition| condition.kind != ConditionType::PartiallyInvalid);
            let kind = ConditionType::PartiallyInvalid;
            entry.conditions.push(Condition::wrong(kind, Reason::UnsupportedValue, message.clone(), generation));
        }),
        Status::Policy(policy) => {
            policy.ancestors.iter_mut().for_each(|entry| mark(&mut entry.conditions, &message, generation));
        }
        Status::Class(class) => mark(&mut class.conditions, &message, generation),
        Status::Gateway(gateway) => mark(&mut gateway.conditions, &message, generation),
        Status::ListenerSet(set) => mark(&mut set.conditions, &message, generation),
        // it has no conditions; an Event says it
        Status::Ingress(_) => {}
    }
    status
}

fn mark(conditions: &mut [Condition], message: &str, generation: i64) {
    for condition in conditions.iter_mut().filter(|condition| condition.kind == ConditionType::Accepted) {
        condition.reason = Reason::UnsupportedValue;
        condition.message = message.to_owned();
        condition.observed_generation = generation;
    }
}
