//! The PROXY protocol, versions 1 and 2: the header of a connection from bytes, and as bytes. It owns no socket, reads no clock and guesses nothing.
//!
//! Source: proxy-protocol.txt of HAProxy. What has two meanings is refused, as for HTTP.

mod binary;
mod checksum;
mod text;

use headgate_config::ProxyProtocol;
use std::{fmt, net::SocketAddr};

/// The longest header of version 1 in bytes, with its end of line (§2.1).
pub const TEXT_BYTES_MAX: usize = 107;
/// The longest header of version 2 in bytes that its format allows.
pub const BINARY_BYTES_MAX: usize = binary::FIXED_BYTES + u16::MAX as usize;

/// Both ends of a connection: who opened it, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who opened it.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes; what follows them belongs to the connection.
    pub length: usize,
    /// What it says. `None` where the ends of the socket itself hold: the proxy's own connection (LOCAL), or one of which it tells nothing
    /// that is an address of IP (UNKNOWN, UNSPEC, UNIX).
    pub ends: Option<Ends>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// They begin otherwise.
    Missing,
    /// It is longer than it may be.
    TooLong,
    /// A version that is not 1 or 2.
    Version,
    /// A command that is not LOCAL or PROXY.
    Command,
    /// A family or transport that is not one of the protocol.
    Family,
    /// Addresses or ports that are not those of its family.
    Addresses,
    /// An extension (TLV) that does not fit.
    Extension,
    /// A CRC32c that is not its own, or more than one.
    Checksum,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the connection begins without a header",
            Self::TooLong => "it is too long",
            Self::Version => "its version is neither 1 nor 2",
            Self::Command => "its command is neither LOCAL nor PROXY",
            Self::Family => "its family of addresses or its transport is unknown",
            Self::Addresses => "its addresses are not those of its family",
            Self::Extension => "an extension does not fit into it",
            Self::Checksum => "its checksum is wrong",
        })
    }
}

/// Reads the header that bytes begin with; `None` while more of it must come. One of version 2 has at most `most` bytes.
///
/// More bytes never change what was found, so that it does not matter in which pieces they come.
///
/// # Errors
/// Why no header begins so, whatever follows.
pub fn read(bytes: &[u8], most: usize) -> Result<Option<Header>, Defect> {
    // the two begin with different bytes
    if bytes.first() == Some(&text::START[0]) { text::read(bytes) } else { binary::read(bytes, most) }
}

/// The header of a connection between these ends; `None` for one of our own, of which there is nothing to tell.
pub fn write(version: ProxyProtocol, ends: Option<&Ends>) -> Vec<u8> {
    let ends = ends.map(Ends::alike);
    match version {
        ProxyProtocol::V1 => text::write(ends),
        ProxyProtocol::V2 => binary::write(ends),
    }
}

impl Ends {
    /// Both of one family, which a header has: IPv4 where both are, as what they are otherwise.
    fn alike(&self) -> Self {
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let (source, destination) = (canonical(self.source), canonical(self.destination));
        if source.is_ipv4() == destination.is_ipv4() {
            return Self { source, destination };
        }
        let mapped = |end: SocketAddr| match end {
            SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            SocketAddr::V6(_) => end,
        };
        Self { source: mapped(source), destination: mapped(destination) }
    }
}
