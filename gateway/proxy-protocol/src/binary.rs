//! Version 2, binary. It reads past extensions (TLV) within their bounds, and keeps none.

use crate::{Defect, Ends, Header, checksum::crc32c};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(crate) const FIXED_BYTES: usize = 16;

const VERSION: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;
const STREAM_V4: u8 = 0x11;
const STREAM_V6: u8 = 0x21;
const CRC32C: u8 = 0x03;

/// Source: §2.2.
pub(crate) fn read(bytes: &[u8], most: usize) -> Result<Option<Header>, Defect> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(Defect::Missing);
    }
    let Some(&command) = bytes.get(12) else { return Ok(None) };
    if command & 0xf0 != VERSION {
        return Err(Defect::Version);
    }
    let is_local = match command & 0x0f {
        LOCAL => true,
        PROXY => false,
        _ => return Err(Defect::Command),
    };
    let Some(&told) = bytes.get(13) else { return Ok(None) };
    // of LOCAL even the family is ignored
    let family = if is_local { Family::Untold } else { Family::of(told)? };
    let Some(length) = bytes.get(14..FIXED_BYTES) else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > most {
        return Err(Defect::TooLong);
    }
    if length < FIXED_BYTES + family.bytes() {
        return Err(Defect::Addresses);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    if family != Family::Untold {
        check_extensions(header, FIXED_BYTES + family.bytes())?;
    }
    Ok(Some(Header { length, ends: family.ends(&header[FIXED_BYTES..]) }))
}

/// Of which family addresses are, of whatever transport.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Unspecified: whatever follows says nothing.
    Untold,
    V4,
    V6,
    Unix,
}

impl Family {
    fn of(byte: u8) -> Result<Self, Defect> {
        match byte {
            0x00 => Ok(Self::Untold),
            STREAM_V4 | 0x12 => Ok(Self::V4),
            STREAM_V6 | 0x22 => Ok(Self::V6),
            0x31 | 0x32 => Ok(Self::Unix),
            _ => Err(Defect::Family),
        }
    }

    /// What its addresses take.
    const fn bytes(self) -> usize {
        match self {
            Self::Untold => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    /// The ends, where they are addresses of IP; `block` has at least its bytes.
    fn ends(self, block: &[u8]) -> Option<Ends> {
        match self {
            Self::Untold | Self::Unix => None,
            Self::V4 => ends::<4>(block),
            Self::V6 => ends::<16>(block),
        }
    }
}

/// Both addresses of so many bytes, then both ports.
fn ends<const N: usize>(block: &[u8]) -> Option<Ends>
where
    std::net::IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let (to, _) = rest.split_first_chunk::<2>()?;
    let end = |address: [u8; N], port: [u8; 2]| SocketAddr::new(address.into(), u16::from_be_bytes(port));
    Some(Ends { source: end(*source, *from), destination: end(*destination, *to) })
}

/// Every extension must fit, and a checksum must be right. Source: §2.2.3.
fn check_extensions(header: &[u8], start: usize) -> Result<(), Defect> {
    let mut at = start;
    let mut sum_at = None;
    while at < header.len() {
        let [kind, high, low, ..] = header[at..] else { return Err(Defect::Extension) };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        if at > header.len() {
            return Err(Defect::Extension);
        }
        if kind == CRC32C && (at - value != 4 || sum_at.replace(value).is_some()) {
            return Err(Defect::Checksum);
        }
    }
    let Some(sum_at) = sum_at else { return Ok(()) };
    let (before, rest) = header.split_at(sum_at);
    let (told, after) = rest.split_at(4);
    // summed with zeros in its place
    let sum = crc32c([before, &[0; 4], after]);
    if told == sum.to_be_bytes() { Ok(()) } else { Err(Defect::Checksum) }
}

pub(crate) fn write(ends: Option<Ends>) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let Some(Ends { source, destination }) = ends else {
        out.extend([VERSION | LOCAL, 0, 0, 0]);
        return out;
    };
    let (family, bytes) = if source.is_ipv4() { (STREAM_V4, Family::V4) } else { (STREAM_V6, Family::V6) };
    out.extend([VERSION | PROXY, family]);
    out.extend((bytes.bytes() as u16).to_be_bytes());
    for end in [source, destination] {
        match end {
            SocketAddr::V4(v4) => out.extend(Ipv4Addr::octets(v4.ip())),
            SocketAddr::V6(v6) => out.extend(Ipv6Addr::octets(v6.ip())),
        }
    }
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 4096;

    /// A header with this second half of the fixed part, and this block.
    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = (block.len() as u16).to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, block].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 187];

    fn with_sum(extensions: &[u8]) -> Vec<u8> {
        let block = [&V4, extensions, &[CRC32C, 0, 4, 0, 0, 0, 0]].concat();
        let mut header = header(0x21, 0x11, &block);
        let sum = crc32c([&header[..]]);
        let at = header.len() - 4;
        header[at..].copy_from_slice(&sum.to_be_bytes());
        header
    }

    #[test]
    fn addresses_of_each_family_are_read() {
        let v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], [0xfd; 16]].concat();
        let v6 = [&v6[..], &[0, 1, 0, 2]].concat();
        let told = |source: &str, destination: &str| {
            Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
        };
        let of_v4 = told("192.0.2.7:56324", "198.51.100.1:443");
        let of_v6 = told("[2001:db8::7]:1", "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:2");
        for (command, family, block, expected) in [
            (0x21, 0x11, &V4[..], of_v4),
            (0x21, 0x12, &V4, of_v4),
            (0x21, 0x21, &v6, of_v6),
            (0x21, 0x22, &v6, of_v6),
            (0x21, 0x31, &[b'/'; 216], None),
            (0x21, 0x32, &[0; 216], None),
            // whatever an unspecified family or the proxy's own connection is sent with
            (0x21, 0x00, &[], None),
            (0x21, 0x00, &[1, 2], None),
            (0x20, 0x00, &[], None),
            (0x20, 0x11, &V4, None),
            (0x20, 0xff, &[9; 40], None),
        ] {
            let bytes = header(command, family, block);
            let expected = Header { length: bytes.len(), ends: expected };
            assert_eq!(read(&[&bytes, &b"GET /"[..]].concat(), MOST), Ok(Some(expected)), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused_as_soon_as_it_is_seen() {
        assert_eq!(read(b"\r\n\r\n\0\r\nQUIT\r", MOST), Err(Defect::Missing));
        assert_eq!(read(b"\x16", MOST), Err(Defect::Missing));
        let fixed = |command, family, length: u16| [SIGNATURE, &[command, family][..], &length.to_be_bytes()].concat();
        for (bytes, defect) in [
            (&fixed(0x11, 0x11, 12)[..13], Defect::Version),
            (&fixed(0x31, 0x11, 12)[..13], Defect::Version),
            (&fixed(0x22, 0x11, 12)[..13], Defect::Command),
            (&fixed(0x2f, 0x11, 12)[..13], Defect::Command),
            (&fixed(0x21, 0x10, 12)[..14], Defect::Family),
            (&fixed(0x21, 0x01, 12)[..14], Defect::Family),
            (&fixed(0x21, 0x41, 12)[..14], Defect::Family),
            (&fixed(0x21, 0x13, 12)[..14], Defect::Family),
            (&fixed(0x21, 0x11, 11), Defect::Addresses),
            (&fixed(0x21, 0x21, 35), Defect::Addresses),
            (&fixed(0x21, 0x31, 215), Defect::Addresses),
            (&fixed(0x21, 0x11, 4081), Defect::TooLong),
            (&fixed(0x20, 0x00, u16::MAX), Defect::TooLong),
        ] {
            assert_eq!(read(bytes, MOST), Err(defect), "{bytes:x?}");
            assert_eq!(read(&bytes[..bytes.len() - 1], MOST), Ok(None), "{bytes:x?}");
        }
        assert_eq!(read(&fixed(0x21, 0x11, 4080), MOST), Ok(None));
        assert_eq!(read(&fixed(0x21, 0x11, u16::MAX), crate::BINARY_BYTES_MAX), Ok(None));
    }

    #[test]
    fn extensions_are_read_past_within_their_bounds() {
        let with = |extensions: &[u8]| read(&header(0x21, 0x11, &[&V4, extensions].concat()), MOST);
        // ALPN, authority, NOOP, one that nobody knows
        for fine in [&b"\x01\0\x02h2"[..], b"\x02\0\x01a\x04\0\0", b"\xee\0\x03\x03\0\x04", b"\x04\0\0\x04\0\0"] {
            assert!(with(fine).is_ok_and(|header| header.is_some()), "{fine:x?}");
        }
        for cut in [&b"\x01"[..], b"\x01\0", b"\x01\0\x01", b"\x01\xff\xff", b"\x04\0\0\x01\0\x02h"] {
            assert_eq!(with(cut), Err(Defect::Extension), "{cut:x?}");
        }
    }

    #[test]
    fn a_checksum_must_be_right_and_alone() {
        for extensions in [&b""[..], b"\x01\0\x02h2"] {
            let right = with_sum(extensions);
            assert!(read(&right, MOST).is_ok_and(|header| header.is_some()));
            for at in FIXED_BYTES..right.len() {
                let mut wrong = right.clone();
                wrong[at] ^= 0x40;
                assert!(!matches!(read(&wrong, MOST), Ok(Some(_))) || wrong[right.len() - 7] != CRC32C, "byte {at}");
            }
        }
        let with = |extensions: &[u8]| read(&header(0x21, 0x11, &[&V4, extensions].concat()), MOST);
        assert_eq!(with(b"\x03\0\x04\0\0\0\0"), Err(Defect::Checksum));
        assert_eq!(with(b"\x03\0\x03\0\0\0"), Err(Defect::Checksum));
        assert_eq!(with(b"\x03\0\x05\0\0\0\0\0"), Err(Defect::Checksum));
        assert_eq!(read(&with_sum(b"\x03\0\x04\0\0\0\0"), MOST), Err(Defect::Checksum));
    }
}
