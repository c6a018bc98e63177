//! What a request and an answer are, for both protocols: heads, targets, fields, framing. Owned bytes and spans; no socket, no clock, no parser of whole messages.
//!
//! A head owns one buffer, the bytes that were read, and describes it by spans; edits append to it. So a head costs no
//! allocation of its own when buffers are pooled, and a parked request shrinks to its exact size.

mod fields;
mod framing;
mod head;
mod method;
mod packed;
mod target;

pub use fields::{Fields, Span, is_token, is_value};
pub use framing::{BadFraming, Framing};
pub use head::{Chunk, Part, RequestHead, ResponseHead, Version};
pub use method::{Method, Token};
pub use packed::PackedHead;
pub use target::{Authority, BadTarget, Target, canonical_path, check_query, split_authority};

pub use headgate_config::Scheme;
