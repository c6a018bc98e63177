//! How many requests there were, how many at once, and in which order: for tests of queues. Counts only, never what a request says.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// Ids beyond these are not kept.
const IDS_MAX: usize = 100_000;

/// The counts.
#[derive(Clone, Debug, Default)]
pub struct Stats(Arc<Mutex<Counts>>);

/// What `/__stats` shows.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    /// All that came.
    requests: u64,
    /// Those that run.
    concurrent: u64,
    /// The most that ever ran at once.
    concurrent_max: u64,
    /// `?id=`, else `x-request-id`, of each in the order of coming; empty for those without.
    ids: Vec<String>,
}

impl Stats {
    /// Counts a request in; it is counted out when what is returned is dropped.
    pub fn enter(&self, id: &str) -> Entered {
        self.change(|counts| {
            counts.requests += 1;
            counts.concurrent += 1;
            counts.concurrent_max = counts.concurrent_max.max(counts.concurrent);
            if counts.ids.len() < IDS_MAX {
                counts.ids.push(id.to_owned());
            }
        });
        Entered(self.clone())
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let counts = self.change(|counts| counts.clone());
        crate::output::json(&counts)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that runs.
pub struct Entered(Stats);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.change(|counts| counts.concurrent -= 1);
    }
}

/// The body of an answer; its request runs until it is sent.
pub struct Counted {
    /// What is sent.
    pub body: UnsyncBoxBody<Bytes, hyper::Error>,
    /// The request, where requests are counted.
    pub entered: Option<Entered>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.entered = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
