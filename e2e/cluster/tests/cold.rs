//! A function that has been called once and has stopped again, and what its callers are told while nobody can start it.

use crate::{
    objects::cold_function,
    story::{Story, ask_once, told},
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long its requests may wait.
const WAIT: Duration = Duration::from_secs(3);

/// Where the function `cold` of a namespace is reached.
pub struct Cold {
    to: SocketAddr,
    host: String,
}

impl Cold {
    /// Applies the function, calls it, and waits until it has stopped.
    pub async fn begin(story: &Story, namespace: &str) -> Self {
        story.apply(&cold_function("cold", &story.image().await, WAIT)).await;
        let cold = Self { to: story.functions().await, host: format!("cold.{namespace}.functions.internal") };
        cold.is_served(story).await;
        story.until("the function has stopped", async || story.replicas(namespace, "cold").await == 0).await;
        cold
    }

    /// Calls it until it answers.
    pub async fn is_served(&self, story: &Story) {
        story.until_answered(self.to, &self.host, "200 cold").await;
    }

    /// Calls it once while nobody can start it: a reason comes within the time that requests may wait.
    pub async fn says_that_it_cannot_start(&self) {
        let began = Instant::now();
        let answer = ask_once(self.to, &self.host).await.expect("an answer");
        let waited = began.elapsed();
        println!("a function that cannot be started: {} after {waited:?}", answer.text().trim());
        assert!([503, 504].contains(&answer.status) && answer.failure().is_some(), "{}", told(&answer));
        assert!(waited < WAIT + Duration::from_secs(1), "{waited:?}");
        assert!(answer.field("retry-after").is_some(), "when to come again");
    }
}
