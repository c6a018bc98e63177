//! A live route is edited under load: each answer is that of one version of the route as a whole, old or new. Never a mixture, an error or a lost connection.

use crate::{
    load::Load,
    objects::{backends, gateway, route, split},
    story::Story,
};

const EDITS: usize = 20;

/// Odd edits send to `b`, even ones to `a`: a filter of one version with the backend of another would show.
fn of(edit: usize) -> &'static str {
    if edit.is_multiple_of(2) { "a" } else { "b" }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_edits_under_load_mix_nothing_and_lose_nothing() {
    let Some(story) = Story::begin("e2e-edits").await else { return };
    story.apply(&(backends() + &gateway(2) + &route(&split(0, &[("a", 1)])))).await;
    let to = story.address("web").await;
    story.rolled_out("e2e-edits", "deployment/web-headgate").await;
    story.rolled_out("e2e-edits", "deployment/b").await;
    story.until_answered(to, "shop.example", "200 a edit 0").await;

    let load = Load::begin(to, "shop.example");
    for edit in 1..=EDITS {
        let rules = split(edit, &[(of(edit), 1)]);
        story.patch("httproute/shop", &format!(r#"{{"spec":{{"rules":{rules}}}}}"#)).await;
        let wanted = format!("200 {} edit {edit}", of(edit));
        story.until(&format!("edit {edit} is live"), async || load.counts().contains_key(&wanted)).await;
    }
    let counts = load.end().await;
    println!("{EDITS} edits under load: {counts:?}");
    let expected = (0..=EDITS).map(|edit| format!("200 {} edit {edit}", of(edit))).collect::<Vec<_>>();
    assert!(counts.keys().all(|outcome| expected.contains(outcome)), "{counts:?}");
    assert_eq!(counts.len(), expected.len(), "each edit was seen: {counts:?}");
}
