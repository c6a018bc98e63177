//! Tokens of sessions: at which endpoint of which backend a client is kept. Pure; never an address in clear, and never a choice beyond the endpoints that a backend has in service.
//!
//! A token is a list of pins, one for each backend that served the client, the newest first. A pin says of which backend it is, when
//! it was made, and a name of the endpoint: a SipHash-2-4 of its address and that time, under a key made of the name and the uid of
//! the Service. So all gateways of a Service understand it, after a restart too; who does not know the uid can neither read an address out
//! of it nor make one up; and the most that a made-up one could do is choose among endpoints that may be chosen anyway.

use arrayvec::ArrayVec;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use headgate_config::BackendName;
use siphasher::{
    sip::SipHasher24,
    sip128::{Hasher128, SipHasher24 as SipHasher24Of128},
};
use std::{
    hash::Hasher,
    net::{IpAddr, SocketAddr},
};

/// Backends of which one client's token has a pin; those of more forget the oldest.
const PINS_MAX: usize = 8;
/// Bytes of a pin, and characters of one that is written.
const PIN: (usize, usize) = (14, 19);
/// Clocks of gateways may differ by so much, in seconds: one is five minutes ahead, another as much behind.
const SKEW_S: u32 = 600;
/// Sets these hashes apart from others of the same names.
const DOMAIN: (u64, u64) = (u64::from_be_bytes(*b"headgate"), u64::from_be_bytes(*b"sessions"));

/// What names the endpoints of one backend in tokens. Never printed.
#[derive(Clone, Copy)]
pub struct Key {
    words: (u64, u64),
    arm: u16,
}

impl Key {
    /// The key of a backend.
    pub fn of(backend: &BackendName) -> Self {
        let mut hasher = SipHasher24Of128::new_with_keys(DOMAIN.0, DOMAIN.1);
        for part in [&backend.uid, &backend.namespace, &backend.service] {
            hasher.write(part.as_bytes());
            hasher.write(&[0]);
        }
        hasher.write(&backend.port.to_be_bytes());
        let hash = hasher.finish128();
        let words = (hash.h1, hash.h2);
        // another message than the name of any endpoint, which is longer
        let arm = keyed(words, b"arm") as u16;
        Self { words, arm }
    }

    /// The name of an endpoint in a pin that was made then.
    fn name(&self, endpoint: SocketAddr, began: u32) -> u64 {
        let mut text = [0; 22];
        let address = match endpoint.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        text[..16].copy_from_slice(&address.octets());
        text[16..18].copy_from_slice(&endpoint.port().to_be_bytes());
        text[18..].copy_from_slice(&began.to_be_bytes());
        keyed(self.words, &text)
    }
}

fn keyed((first, second): (u64, u64), text: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(first, second);
    hasher.write(text);
    hasher.finish()
}

/// Where a client is kept, of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pin {
    arm: u16,
    /// Seconds since 1970.
    began: u32,
    endpoint: u64,
}

/// How long a pin counts: what the rule says now, and the time. In seconds.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// `None` is without end.
    pub lifetime: Option<u32>,
    /// Since 1970.
    pub now: u32,
}

impl Term {
    /// Whether a pin counts, by what the rule says now. One that was made later than clocks may differ does not.
    fn holds(self, pin: Pin) -> bool {
        self.lifetime.is_none_or(|lifetime| match self.now.checked_sub(pin.began) {
            Some(age) => age < lifetime,
            None => pin.began - self.now <= SKEW_S,
        })
    }
}

/// What a request's token says: at most one pin of each backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(ArrayVec<Pin, PINS_MAX>);

impl Pins {
    /// Takes in what a token says; what is none is passed over.
    pub fn read(&mut self, token: &[u8]) {
        for pin in token.split(|byte| *byte == b'.').take(PINS_MAX).filter_map(Pin::read) {
            if self.0.iter().all(|known| known.arm != pin.arm) {
                // full: the oldest stand last
                let _ = self.0.try_push(pin);
            }
        }
    }

    /// Of a backend: which of these addresses the client is kept at.
    pub fn find(&self, key: &Key, term: Term, mut addresses: impl Iterator<Item = SocketAddr>) -> Option<usize> {
        let pin = self.of(key).filter(|pin| term.holds(*pin))?;
        addresses.position(|address| key.name(address, pin.began) == pin.endpoint)
    }

    /// The token that keeps the client at this endpoint of a backend, if that is not what it says already.
    pub fn moved(&self, key: &Key, term: Term, endpoint: SocketAddr) -> Option<String> {
        if self.find(key, term, std::iter::once(endpoint)).is_some() {
            return None;
        }
        let pin = Pin { arm: key.arm, began: term.now, endpoint: key.name(endpoint, term.now) };
        let others = self.0.iter().filter(|known| known.arm != key.arm && term.holds(**known));
        Some(write(std::iter::once(&pin).chain(others)))
    }

    /// The token again.
    pub fn token(&self) -> String {
        write(self.0.iter())
    }

    fn of(&self, key: &Key) -> Option<Pin> {
        self.0.iter().find(|pin| pin.arm == key.arm).copied()
    }
}

fn write<'p>(pins: impl Iterator<Item = &'p Pin>) -> String {
    let mut token = String::with_capacity((PIN.1 + 1) * PINS_MAX);
    for (at, pin) in pins.take(PINS_MAX).enumerate() {
        if at > 0 {
            token.push('.');
        }
        URL_SAFE_NO_PAD.encode_string(pin.bytes(), &mut token);
    }
    token
}

impl Pin {
    fn bytes(self) -> [u8; PIN.0] {
        let mut bytes = [0; PIN.0];
        bytes[..2].copy_from_slice(&self.arm.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.began.to_be_bytes());
        bytes[6..].copy_from_slice(&self.endpoint.to_be_bytes());
        bytes
    }

    fn read(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        let is_whole = text.len() == PIN.1 && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? == PIN.0;
        let (arm, rest) = bytes.split_first_chunk()?;
        let (began, rest) = rest.split_first_chunk()?;
        let pin = Self {
            arm: u16::from_be_bytes(*arm),
            began: u32::from_be_bytes(*began),
            endpoint: u64::from_be_bytes(*rest.first_chunk()?),
        };
        is_whole.then_some(pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVER: Term = Term { lifetime: None, now: 1_000 };

    fn key(service: &str, uid: &str) -> Key {
        Key::of(&BackendName { uid: uid.into(), ..BackendName::tcp("shop", service, 80) })
    }

    fn endpoint(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8080).into()
    }

    fn pins(tokens: &[&str]) -> Pins {
        let mut pins = Pins::default();
        tokens.iter().for_each(|token| pins.read(token.as_bytes()));
        pins
    }

    fn addresses() -> impl Iterator<Item = SocketAddr> {
        (1..=5).map(endpoint)
    }

    #[test]
    fn a_client_is_found_where_it_was_whatever_the_order_of_endpoints() {
        let key = key("cart", "u1");
        let token = pins(&[]).moved(&key, EVER, endpoint(3)).unwrap();
        assert_eq!(pins(&[&token]).find(&key, EVER, addresses()), Some(2));
        let turned = [5, 3, 1].into_iter().map(endpoint);
        assert_eq!(pins(&[&token]).find(&key, EVER, turned), Some(1));
        assert_eq!(pins(&[&token]).find(&key, EVER, [1, 2].into_iter().map(endpoint)), None, "it is gone");
        assert_eq!(pins(&[&token]).moved(&key, EVER, endpoint(3)), None, "nothing new to say");
        assert_eq!(pins(&[&token]).token(), token);
    }

    #[test]
    fn a_token_is_of_one_service_only_and_says_no_address() {
        // a time without the bytes of the address
        let token = pins(&[]).moved(&key("cart", "u1"), Term { now: u32::MAX, ..EVER }, endpoint(3)).unwrap();
        for other in [key("cart", "u2"), key("card", "u1"), key("cart", "")] {
            assert_eq!(pins(&[&token]).find(&other, EVER, addresses()), None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert!(!bytes.windows(2).any(|two| two == [0, 3] || two == 8080_u16.to_be_bytes()), "{bytes:?}");
    }

    #[test]
    fn a_split_keeps_a_place_in_each_of_its_backends() {
        let (a, b) = (key("a", "1"), key("b", "2"));
        let first = pins(&[]).moved(&a, EVER, endpoint(1)).unwrap();
        let both = pins(&[&first]).moved(&b, EVER, endpoint(2)).unwrap();
        assert_eq!(pins(&[&both]).find(&a, EVER, addresses()), Some(0));
        assert_eq!(pins(&[&both]).find(&b, EVER, addresses()), Some(1));
        let moved = pins(&[&both]).moved(&a, EVER, endpoint(5)).unwrap();
        assert_eq!(moved.len(), both.len(), "the old place is forgotten");
        assert_eq!(pins(&[&moved]).find(&a, EVER, addresses()), Some(4));
        assert_eq!(pins(&[&moved]).find(&b, EVER, addresses()), Some(1));
    }

    #[test]
    fn a_token_counts_as_long_as_the_rule_says_and_its_beginning_cannot_be_moved() {
        let key = key("cart", "u1");
        let at = |now, lifetime| Term { lifetime, now };
        let token = pins(&[]).moved(&key, at(1_000, Some(300)), endpoint(2)).unwrap();
        let found = |token: &str, term| pins(&[token]).find(&key, term, addresses());
        assert_eq!(found(&token, at(1_299, Some(300))), Some(1));
        assert_eq!(found(&token, at(1_300, Some(300))), None, "over");
        assert_eq!(found(&token, at(1_300, None)), Some(1), "the rule is without end now");
        assert_eq!(found(&token, at(1_030, Some(30))), None, "the rule is stricter now");
        let endless = pins(&[]).moved(&key, EVER, endpoint(2)).unwrap();
        assert_eq!(found(&endless, at(1_300, Some(300))), None, "the rule has an end now");
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        bytes[5] ^= 1;
        assert_eq!(found(&URL_SAFE_NO_PAD.encode(bytes), at(1_000, Some(300))), None, "made up");
    }

    #[test]
    fn a_token_of_a_gateway_whose_clock_is_ahead_or_behind_keeps_its_client() {
        let key = key("cart", "u1");
        let at = |now| Term { lifetime: Some(3_600), now };
        let found = |token: &str, term| pins(&[token]).find(&key, term, addresses());
        let (behind, ahead) = (10_000 - 300, 10_000 + 300);
        for (made, read) in [(behind, ahead), (ahead, behind)] {
            let token = pins(&[]).moved(&key, at(made), endpoint(2)).unwrap();
            assert_eq!(found(&token, at(read)), Some(1), "made at {made}, read at {read}");
            assert_eq!(pins(&[&token]).moved(&key, at(read), endpoint(2)), None, "nothing new to say");
        }
        let token = pins(&[]).moved(&key, at(20_000), endpoint(2)).unwrap();
        assert_eq!(found(&token, at(10_000)), None, "no clock is that wrong, and it would never end");
    }

    #[test]
    fn what_is_no_token_is_nothing_and_many_pins_are_few() {
        let own = pins(&[]).moved(&key("cart", "u1"), EVER, endpoint(1)).unwrap();
        for text in ["", ".", "....", "1234567890123456789012345", "ABCDEFGHIJKLMNOPQR!", &own[1..], "\u{fc}"] {
            assert_eq!(pins(&[text]), Pins::default(), "{text}");
        }
        assert_eq!(pins(&["old", &own]).find(&key("cart", "u1"), EVER, addresses()), Some(0), "among others");
        let mut token = String::new();
        for service in 0..20 {
            let key = key(&format!("s{service}"), "");
            token = pins(&[&token]).moved(&key, EVER, endpoint(1)).unwrap();
            assert_eq!(pins(&[&token]).find(&key, EVER, addresses()), Some(0), "the newest is kept");
        }
        assert_eq!(token.split('.').count(), PINS_MAX);
    }
}
