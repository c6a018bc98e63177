//! Consecutive tables share what did not change, so that its counters survive and an edit is cheap.

use crate::given::*;
use headgate_config::{Backend, BackendName, Snapshot, Version};
use headgate_routing::{Compiled, Table};
use std::sync::Arc;

fn next(snapshot: &Snapshot, previous: &Table<BackendName>) -> Compiled<BackendName> {
    Table::compile(snapshot, Version(2), Some(previous), |backend| backend.name.clone())
}

#[test]
fn equal_rules_and_listeners_are_the_same_ones() {
    let all = listener("http", "*");
    let on = |name| rule(name).on(&all, &["*"]);
    let first = compile(&snapshot([all.clone()], [on("a"), on("b"), on("c").takes([regex("/(")])])).table;
    let changed = on("b").takes([prefix("/b")]);
    let second = next(&snapshot([all.clone()], [on("a"), changed, on("c").takes([regex("/(")]), on("d")]), &first);
    assert_eq!(second.reused, 2);
    let same = |at: usize| Arc::ptr_eq(nth(&first, at), nth(&second.table, at));
    assert_eq!([same(0), same(1), same(2)], [true, false, true]);
    assert!(Arc::ptr_eq(&first.listeners()[0], &second.table.listeners()[0]));
    assert_eq!(second.problems.len(), 1, "what is wrong in a rule that was taken over is still told");
    assert_eq!(second.table.version(), Version(2));
    assert_eq!(routed(&second.table, &get("a.io", "/b")), "b/0");
    assert!(second.table.rule(&on("d").name).is_some());
}

#[test]
fn a_rule_whose_backend_is_another_is_compiled_again() {
    let all = listener("http", "*");
    let mut known = snapshot([all.clone()], [rule("a").on(&all, &["*"]), rule("b").on(&all, &["b.io"])]);
    let handle = |of: u32| move |backend: &Arc<Backend>| (backend.name.service.to_string(), of);
    let first = Table::compile(&known, Version(1), None, handle(1)).table;
    let (name, b) = known.backends.iter().find(|(name, _)| name.service == "b").expect("a backend");
    let (name, changed) = (name.clone(), Backend { concurrency: 1, ..Backend::clone(b) });
    known.backends.insert(name, changed.into());
    let second = Table::compile(&known, Version(2), Some(&first), handle(2));
    assert_eq!(second.reused, 1);
    assert!(Arc::ptr_eq(nth(&first, 0), nth(&second.table, 0)));
    assert_eq!(nth(&second.table, 1).arms()[0].target(), Ok(&("b".to_owned(), 2)));
    known.backends.clear();
    let third = Table::compile(&known, Version(3), Some(&second.table), handle(3));
    assert_eq!((third.reused, third.problems.len()), (0, 2));
}
