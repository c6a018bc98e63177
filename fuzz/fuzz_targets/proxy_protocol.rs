//! A header of the PROXY protocol is the same in any pieces, takes no byte that is not its own, and what is written of it says the same again.
#![no_main]

use headgate_config::ProxyProtocol;
use headgate_proxy_protocol::{Ends, Header, TEXT_BYTES_MAX, read, write};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

const MOST: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, MOST);
    let first = (0..=bytes.len()).map(|seen| read(&bytes[..seen], MOST)).find(|read| *read != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), whole, "pieces matter");

    let Ok(Some(header)) = whole else { return };
    let own = &bytes[..header.length];
    match own[0] {
        b'P' => {
            assert!(own.len() <= TEXT_BYTES_MAX && own.ends_with(b"\r\n"));
            assert!(own[..own.len() - 2].iter().all(|b| (b' '..=b'~').contains(b)), "an end of line within");
        }
        _ => {
            let told = usize::from(u16::from_be_bytes([own[14], own[15]]));
            assert_eq!(own.len(), 16 + told, "another length than it tells");
        }
    }
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let again = write(version, header.ends.as_ref());
        let Ok(Some(Header { length, ends })) = read(&again, MOST) else { panic!("what we wrote is no header") };
        assert_eq!(length, again.len());
        assert_eq!(ends.map(meaning), header.ends.map(meaning), "another meaning");
    }
});

/// An address of IPv4 may be told as one of IPv6.
fn meaning(ends: Ends) -> [(IpAddr, u16); 2] {
    [ends.source, ends.destination].map(|end| (end.ip().to_canonical(), end.port()))
}
