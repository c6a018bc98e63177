//! Pieces of other versions of the program: what they say is read as far as it is known, and what is not is said.

use super::*;
use headgate_config::Endpoints;

/// As the first version wrote them, of each sort one at least. Never to be changed: controllers that write so are met for as long as gateways
/// are upgraded before them. What is added gets a default.
const FIRST: &str = include_str!("first.json");

#[test]
fn what_the_first_version_wrote_is_read_without_a_loss() {
    let all: Vec<Value> = serde_json::from_str(FIRST).unwrap();
    assert!(all.len() > 20);
    for one in &all {
        let (sort, raw) = one.as_object().and_then(|fields| fields.iter().next()).unwrap();
        if sort == "endpoints" {
            let endpoints = Endpoints::deserialize(raw).unwrap();
            assert_eq!(lost(raw, &json!(endpoints)), None, "{raw}");
            continue;
        }
        let kind = ["rule", "backend", "listener"].iter().position(|known| known == sort).unwrap() as u32 + 1;
        let Read { piece, problem } = read(&wire::Piece { kind, json: raw.to_string().into() });
        assert_eq!(problem, None, "{raw}");
        let written: Value = serde_json::from_slice(&piece.unwrap().write().json).unwrap();
        assert_eq!(lost(raw, &written), None, "{raw}");
    }
}

fn rule(change: impl FnOnce(&mut Value)) -> Read {
    let all: Vec<Value> = serde_json::from_str(FIRST).unwrap();
    let mut rule = all.iter().find(|one| one["rule"]["title"] == "first").unwrap()["rule"].clone();
    change(&mut rule);
    read(&wire::Piece { kind: RULE, json: rule.to_string().into() })
}

#[test]
fn a_filter_that_is_not_known_stays_where_it_is_and_is_named() {
    let of = |read: Read| match read.piece {
        Some(Piece::Rule(rule)) => (rule, read.problem.unwrap()),
        piece => panic!("{piece:?}"),
    };
    let unknown = |what: &str| Filter::Unsupported(what.into());
    let (read, problem) = of(rule(|rule| rule["filters"] = json!([{"bodyModifier": {}}, {"requestHeaders": {}}])));
    assert_eq!(read.filters[0], unknown("bodyModifier"));
    assert!(matches!(read.filters[1], Filter::RequestHeaders(_)) && matches!(read.action, Action::Forward(_)));
    assert!(problem.contains("HTTPRoute/shop/all/0") && problem.contains("bodyModifier"), "{problem}");

    let (read, _) = of(rule(|rule| rule["action"]["forward"]["arms"][1]["filters"][0] = json!("compress")));
    let Action::Forward(split) = &read.action else { panic!("{read:?}") };
    assert_eq!((&*split.arms[1].filters, &*split.arms[0].filters), (&[unknown("\"compress\"")][..], &[][..]));

    // a part of a filter that is passed over may be the part that matters
    let (read, _) = of(rule(|rule| rule["filters"][0]["session"]["onlyFrom"] = json!(["10.0.0.0/8"])));
    assert_eq!(*read.filters, [unknown("session with onlyFrom")]);
}
