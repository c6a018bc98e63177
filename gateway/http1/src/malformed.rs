//! Why bytes are no message that this codec accepts: one table of names, statuses and texts. It never holds bytes of the message.

use headgate_message::{BadFraming, BadTarget};
use std::fmt;

/// A refusal. After one, nothing more can be read from the connection: answer with [`Malformed::status`] and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A line that does not end with CR LF, or a CR elsewhere (RFC 9112 §2.2).
    LineEnd,
    /// NUL or another control byte.
    Control,
    /// More than one empty line before a request, or any before an answer.
    EmptyLine,
    /// A request line that is not `method SP target SP version` (RFC 9112 §3).
    RequestLine,
    /// A method that is no token.
    Method,
    /// A method longer than 64 bytes.
    LongMethod,
    /// CONNECT, which this codec does not know.
    Connect,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A target above [`HeadLimits::target_bytes`](crate::HeadLimits::target_bytes).
    LongTarget,
    /// A head above [`HeadLimits::bytes`](crate::HeadLimits::bytes).
    LongHead,
    /// More fields than [`HeadLimits::fields`](crate::HeadLimits::fields).
    ManyFields,
    /// A field name that is empty, no token, or followed by a blank.
    FieldName,
    /// A field that continues on a second line (RFC 9112 §5.2), or a blank before the first.
    Folded,
    /// A name that some applications cannot tell from one that frames: `content_length`, `transfer_encoding`.
    Disguised,
    /// Host missing, given more than once, or no host (RFC 9112 §3.2).
    Host,
    /// An absolute target whose authority is not that of Host.
    HostMismatch,
    /// An absolute target of another scheme than its connection (RFC 9110 §7.4).
    Scheme,
    /// A target that is not canonical or could be.
    Target(BadTarget),
    /// Framing that two readers could understand differently.
    Framing(BadFraming),
    /// A Connection field that is no list of tokens, is too long, or names a field meant for everyone on the way.
    Connection,
    /// More than one Upgrade field, or one that names no protocol.
    Upgrade,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expect,
    /// A status line that is not `version SP status SP [reason]`, or a status below 100.
    StatusLine,
    /// A 101 that was not asked for, to a protocol that was not asked for, or with a body.
    Switch,
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    ChunkSize,
    /// A chunk extension above 256 bytes, or 16 KiB of them in one body.
    ChunkExtension,
    /// A chunk that is longer than its size.
    ChunkEnd,
    /// A trailer section above 8 KiB or 32 fields.
    LongTrailers,
    /// A trailer field that frames or routes (RFC 9110 §6.5.1).
    Trailer,
    /// The connection ended before the body did.
    Truncated,
}

struct Row(&'static str, u16, &'static str);

impl Malformed {
    /// The one name, for metrics and logs.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The status to answer a client with. From an upstream it is always a 502.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// What a person reads.
    pub const fn as_str(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> Row {
        match self {
            Self::LineEnd => Row("line_end", 400, "a line that does not end with CR LF, or a CR inside of one"),
            Self::Control => Row("control_byte", 400, "a control byte in the head"),
            Self::EmptyLine => Row("empty_line", 400, "an empty line where a message should start"),
            Self::RequestLine => Row("request_line", 400, "a request line that is not method, target and version"),
            Self::Method => Row("method", 400, "a method that is no token"),
            Self::LongMethod => Row("long_method", 501, "a method longer than 64 bytes"),
            Self::Connect => Row("connect", 501, "CONNECT is not supported"),
            Self::Version => Row("version", 505, "a version other than HTTP/1.0 and HTTP/1.1"),
            Self::LongTarget => Row("long_target", 414, "a request target that is too long"),
            Self::LongHead => Row("long_head", 431, "a head that is too long"),
            Self::ManyFields => Row("many_fields", 431, "too many fields"),
            Self::FieldName => Row("field_name", 400, "a field name that is no token directly before a colon"),
            Self::Folded => Row("folded", 400, "a line that starts with a blank"),
            Self::Disguised => Row("disguised", 400, "a framing field spelled with an underscore"),
            Self::Host => Row("host", 400, "not exactly one Host field with exactly one host"),
            Self::HostMismatch => Row("host_mismatch", 400, "a target for another host than Host"),
            Self::Scheme => Row("scheme", 421, "a target of another scheme than the connection"),
            Self::Target(why) => Row("target", 400, why.as_str()),
            Self::Framing(why) => Row("ambiguous_framing", 400, why.as_str()),
            Self::Connection => Row("connection", 400, "a Connection field that names what is not of one connection"),
            Self::Upgrade => Row("upgrade", 400, "an Upgrade field that is not one list of protocols"),
            Self::Expect => Row("expect", 417, "an expectation other than 100-continue"),
            Self::StatusLine => Row("status_line", 400, "a status line that is not version, status and reason"),
            Self::Switch => Row("switch", 400, "a switch of protocols that was not asked for"),
            Self::ChunkSize => Row("chunk_size", 400, "a chunk size that is not 1 to 16 hexadecimal digits"),
            Self::ChunkExtension => Row("chunk_extension", 400, "chunk extensions that are too long"),
            Self::ChunkEnd => Row("chunk_end", 400, "a chunk that is longer than its size"),
            Self::LongTrailers => Row("long_trailers", 431, "too many or too long trailers"),
            Self::Trailer => Row("trailer", 400, "a trailer that frames or routes"),
            Self::Truncated => Row("truncated", 400, "the connection ended before the body"),
        }
    }
}

impl From<BadTarget> for Malformed {
    fn from(why: BadTarget) -> Self {
        match why {
            BadTarget::Host | BadTarget::Port => Self::Host,
            other => Self::Target(other),
        }
    }
}

impl From<BadFraming> for Malformed {
    fn from(why: BadFraming) -> Self {
        Self::Framing(why)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Malformed {}
