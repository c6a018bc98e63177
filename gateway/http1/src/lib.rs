//! A strict HTTP/1.1 codec for both sides of a proxy: bytes in, events and bytes out. It has no socket, reads no clock, and never repairs what it reads.
//!
//! What is ambiguous to any reader on the way is refused ([`Malformed`]), so that the message that goes out is the message that
//! was understood. `httparse` splits heads; this crate checks what it leaves open, sorts out what concerns one connection
//! only, and decides framing (`headgate_message::Framing`).
//!
//! A head takes the buffer it was read into, and gets its list of spans from a spent head, so that a warm exchange allocates
//! nothing.
//!
//! - [`HeadReader`] reads heads of requests and of answers, in any pieces.
//! - [`BodyDecoder`] finds the data in the bytes after a head.
//! - [`write_request`], [`write_response`], [`write_interim`], [`write_chunk_head`] and its siblings write.

mod body;
mod limits;
mod line;
mod malformed;
mod reason;
mod request;
mod response;
mod scan;
mod sort;
mod write;

pub use body::{BodyDecoder, Found, Step, keep_trailers_only};
pub use limits::HeadLimits;
pub use malformed::Malformed;
pub use reason::reason_phrase;
pub use request::Request;
pub use response::{Asked, Response};
pub use scan::HeadReader;
pub use sort::Upgrade;
pub use write::{
    Answer, BodyForm, CONTINUE, Forward, Written, write_chunk, write_chunk_head, write_chunk_tail, write_interim,
    write_last_chunk, write_request, write_response,
};
