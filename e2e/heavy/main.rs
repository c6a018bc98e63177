//! The stories in full size: minutes, not seconds. They show nothing that the small ones do not state.
#![allow(clippy::unwrap_used, reason = "a panic is the verdict of a test")]

#[path = "../stories/mod.rs"]
mod stories;

#[tokio::test]
async fn ten_thousand_at_a_queue_of_a_hundred() {
    stories::overflow(10_000).await;
}

#[tokio::test]
async fn a_thousand_reloads_under_load() {
    stories::reloads(1_000, 20_000).await;
}

#[tokio::test]
async fn ten_handovers_under_load() {
    stories::handovers(10, 200_000).await;
}

#[tokio::test]
async fn a_hundred_megabytes_each_way() {
    stories::transfer(100_000_000).await;
}
