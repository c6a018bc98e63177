//! Request methods. Case matters (RFC 9110 §9.1); never a repaired one.

use std::fmt;

/// A method; those that the request path asks about have a variant of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other(Box<Token>),
}

/// A method that is rare. In a box of its own, so that all others are small: there may be very many requests that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Method {
    /// The method that bytes spell, if they are a token of at most 64 bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            other if other.len() <= 64 && crate::fields::is_token(other) => {
                Self::Other(Box::new(Token(std::str::from_utf8(other).ok()?.into())))
            }
            _ => return None,
        })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(token) => &token.0,
        }
    }

    /// Whether doing it twice is the same as once (RFC 9110 §9.2.2); unknown methods are not.
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
