//! What the end-to-end tests are told with: the program as users start it, clients that see every byte, and applications that remember. Never a part of the program.
//!
//! A test waits for a condition, each wait has a limit ([`within`]), and what the program printed is shown when one is passed.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "this crate is a test, and a panic is its verdict")]

mod application;
mod frames;
mod http2;
mod manifests;
mod message;
mod origin;
mod program;
mod proxied;
mod tap;
mod tls;
mod toxic;
mod wire;

pub use application::{Arrival, application, arrivals};
pub use frames::{Frame, Frames, Outcome, block, frame};
pub use http2::{GrpcCall, H2, H2Answer, grpc_frame, grpc_messages};
pub use manifests::{Function, backend, marked_route, route, rules};
pub use message::{Answer, Fields, Request, field};
pub use origin::{H2Origin, Origin, Script, Taken};
pub use program::{Headgate, binary, free_port};
pub use proxied::{Door, Visit, block_v2, header_v1, header_v2};
pub use tls::{Authority, Shown, secret};
pub use toxic::{Flow, Poison, Proxy, Toxic};
pub use wire::Wire;

use std::{future::Future, time::Duration};

/// No step of a test takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of a step, or a panic that says what did not happen.
pub async fn within<T>(what: &str, step: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Asks again, every few milliseconds, until `holds` does.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Bytes of which each says where it stands: a lost, doubled or swapped piece shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| at.wrapping_mul(0x9e37_79b1).rotate_right(11) as u8).collect()
}
