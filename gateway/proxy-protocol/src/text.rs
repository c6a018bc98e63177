//! Version 1, one line of text. It accepts exactly the form that the protocol prescribes: single spaces, no leading zeros, an end of CR LF.

use crate::{Defect, Ends, Header, TEXT_BYTES_MAX};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// How a line begins.
pub(crate) const START: &[u8] = b"PROXY ";
const END: &[u8] = b"\r\n";

/// Source: §2.1.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Header>, Defect> {
    let seen = bytes.len().min(START.len());
    if bytes[..seen] != START[..seen] {
        return Err(Defect::Missing);
    }
    let line = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let Some(end) = line.iter().position(|&b| !matches!(b, b' '..=b'~')) else {
        return if line.len() < TEXT_BYTES_MAX { Ok(None) } else { Err(Defect::TooLong) };
    };
    match &line[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if line.len() < TEXT_BYTES_MAX => return Ok(None),
        [b'\r'] => return Err(Defect::TooLong),
        _ => return Err(Defect::Addresses),
    }
    let ends = ends(&line[START.len()..end])?;
    Ok(Some(Header { length: end + END.len(), ends }))
}

/// What follows `PROXY `.
fn ends(line: &[u8]) -> Result<Option<Ends>, Defect> {
    let text = std::str::from_utf8(line).map_err(|_| Defect::Addresses)?;
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut next = || words.next().ok_or(Defect::Addresses);
    let told = [next()?, next()?, next()?, next()?];
    if words.next().is_some() {
        return Err(Defect::Addresses);
    }
    match family {
        "TCP4" => of::<Ipv4Addr>(told).map(Some),
        "TCP6" => of::<Ipv6Addr>(told).map(Some),
        _ => Err(Defect::Family),
    }
}

fn of<A: FromStr + Into<IpAddr>>([source, destination, from, to]: [&str; 4]) -> Result<Ends, Defect> {
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| Defect::Addresses);
    Ok(Ends {
        source: SocketAddr::new(address(source)?, port(from)?),
        destination: SocketAddr::new(address(destination)?, port(to)?),
    })
}

/// Digits without a sign or a leading zero.
fn port(text: &str) -> Result<u16, Defect> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain).ok_or(Defect::Addresses)
}

pub(crate) fn write(ends: Option<Ends>) -> Vec<u8> {
    let Some(Ends { source, destination }) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Header>, Defect> {
        super::read(text.as_bytes())
    }

    fn told(source: &str, destination: &str) -> Option<Ends> {
        Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    /// The lines of §2.1 and §5 of the protocol.
    #[test]
    fn the_examples_of_the_protocol_are_read() {
        let longest = "ffff:f...f:ffff".replace("f...f", "ffff:ffff:ffff:ffff:ffff:ffff");
        let v6 = format!("[{longest}]:65535");
        for (line, expected) in [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                told("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            (&format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n"), told(&v6, &v6)),
            ("PROXY UNKNOWN\r\n", None),
            (&format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n"), None),
            ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", told("192.168.0.1:56324", "192.168.0.11:443")),
            ("PROXY TCP6 2001:DB8::1 ::1 1 0\r\n", told("[2001:db8::1]:1", "[::1]:0")),
        ] {
            let header = Header { length: line.len(), ends: expected };
            assert_eq!(
                read(&format!("{line}GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n")),
                Ok(Some(header)),
                "{line}"
            );
        }
        assert_eq!(format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n").len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn a_line_that_is_not_exactly_so_is_refused() {
        for (line, defect) in [
            ("GET / HTTP/1.1\r\n", Defect::Missing),
            ("PROXY\r\n", Defect::Missing),
            ("PROXY\tTCP4 1.1.1.1 2.2.2.2 1 2\r\n", Defect::Missing),
            ("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Defect::Missing),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r \n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\0\r\n", Defect::Addresses),
            ("PROXY UNKNOWN\nGET / HTTP/1.1\r\n", Defect::Addresses),
            ("PROXY UNKNOWNS\r\n", Defect::Addresses),
            ("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Defect::Addresses),
            ("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2\r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", Defect::Addresses),
            ("PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", Defect::Addresses),
            ("PROXY TCP4 ::1 2.2.2.2 1 2\r\n", Defect::Addresses),
            ("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", Defect::Addresses),
            ("PROXY TCP6 [::1] ::2 1 2\r\n", Defect::Addresses),
            ("PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n", Defect::Addresses),
            ("PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", Defect::Family),
        ] {
            assert_eq!(read(line), Err(defect), "{line:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_its_107th_byte() {
        let line = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(&line[..TEXT_BYTES_MAX - 1]), Ok(None));
        assert_eq!(read(&line[..TEXT_BYTES_MAX]), Err(Defect::TooLong));
        let line = format!("{}\r", &line[..TEXT_BYTES_MAX - 1]);
        assert_eq!(read(&line), Err(Defect::TooLong));
        assert_eq!(read(&format!("{line}\n")), Err(Defect::TooLong));
    }
}
