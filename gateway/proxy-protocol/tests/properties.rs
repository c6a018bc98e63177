//! What holds of every header: what is written is read again, and pieces never matter. Seeded, so that what it finds can be found again.
#![allow(clippy::unwrap_used, reason = "a test, and a panic is its verdict")]

use fastrand::Rng;
use headgate_config::ProxyProtocol;
use headgate_proxy_protocol::{Defect, Ends, Header, read, write};
use std::net::{IpAddr, SocketAddr};

const ROUNDS: usize = 20_000;
const MOST: usize = 512;

fn address(rng: &mut Rng, is_v4: bool) -> SocketAddr {
    let ip: IpAddr = if is_v4 { rng.u32(..).to_be_bytes().into() } else { rng.u128(..).to_be_bytes().into() };
    SocketAddr::new(ip, rng.u16(..))
}

fn ends(rng: &mut Rng) -> Ends {
    let is_v4 = rng.bool();
    Ends { source: address(rng, is_v4), destination: address(rng, is_v4) }
}

/// The first answer that is not "more", as a reader gets it byte by byte.
fn by_byte(bytes: &[u8]) -> Result<Option<Header>, Defect> {
    (0..=bytes.len()).map(|seen| read(&bytes[..seen], MOST)).find(|read| *read != Ok(None)).unwrap_or(Ok(None))
}

/// Something that is nearly a header: one of ours, with bytes changed, cut out or put in.
fn nearly(rng: &mut Rng) -> Vec<u8> {
    let version = if rng.bool() { ProxyProtocol::V1 } else { ProxyProtocol::V2 };
    let ends = ends(rng);
    let mut bytes = write(version, Some(&ends).filter(|_| rng.u8(..) > 30));
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, *rng.choice(b"\r\n \0\x0109:").unwrap()),
        }
    }
    for _ in 0..rng.usize(..80) {
        bytes.push(rng.u8(..));
    }
    bytes
}

#[test]
fn what_is_written_is_read_again_and_not_a_byte_more() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..ROUNDS {
        let ends = ends(&mut rng);
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            for told in [Some(ends), None] {
                let mut bytes = write(version, told.as_ref());
                let header = Header { length: bytes.len(), ends: told };
                assert_eq!(by_byte(&bytes), Ok(Some(header)), "{version:?} {told:?}");
                bytes.extend([rng.u8(..), rng.u8(..)]);
                assert_eq!(read(&bytes, MOST), Ok(Some(header)), "{version:?} {told:?}");
            }
        }
    }
}

#[test]
fn pieces_never_matter() {
    let mut rng = Rng::with_seed(2);
    let (mut found, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        let bytes = nearly(&mut rng);
        let whole = read(&bytes, MOST);
        assert_eq!(by_byte(&bytes), whole, "{bytes:x?}");
        match whole {
            Ok(Some(header)) => {
                assert!(header.length <= bytes.len());
                assert_eq!(read(&bytes[..header.length], MOST), whole, "{bytes:x?}");
                found += 1;
            }
            Ok(None) => {}
            Err(_) => refused += 1,
        }
    }
    assert!(found > ROUNDS / 5 && refused > ROUNDS / 5, "{found} found, {refused} refused");
}

#[test]
fn ends_of_two_families_are_told_as_one() {
    let ends = Ends { source: "192.0.2.7:1".parse().unwrap(), destination: "[2001:db8::1]:2".parse().unwrap() };
    let told = Ends { source: "[::ffff:192.0.2.7]:1".parse().unwrap(), ..ends };
    let mapped = Ends { source: told.source, destination: "[::ffff:192.0.2.1]:2".parse().unwrap() };
    let plain = Ends { source: "192.0.2.7:1".parse().unwrap(), destination: "192.0.2.1:2".parse().unwrap() };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let again = |ends: &Ends| read(&write(version, Some(ends)), MOST).unwrap().unwrap().ends;
        assert_eq!(again(&ends), Some(told), "{version:?}");
        assert_eq!(again(&mapped), Some(plain), "{version:?}");
    }
}
