//! Who a request comes from, as told to the backend: `X-Forwarded-*`, `Forwarded`, `X-Request-Id`. Never a word of it from a peer that is not trusted.

use arrayvec::ArrayString;
use headgate_config::Scheme;
use headgate_message::{Fields, RequestHead};
use std::{
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Networks whose peers may say who their clients are; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedHops(Vec<Network>);

/// The hop that a request came over.
pub struct Hop<'a> {
    /// The peer of the connection.
    pub peer: IpAddr,
    /// Whether the connection has TLS.
    pub scheme: Scheme,
    /// The port that clients use for the listener.
    pub port: u16,
    /// Whose word counts.
    pub trusted: &'a TrustedHops,
    /// Random numbers, for the request's id.
    pub dice: &'a dyn Fn() -> u64,
}

/// Who asks, once the hops are sorted out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The last address that a trusted hop vouches for; the peer itself where it is not trusted.
    pub client: IpAddr,
    /// The request's id, which is in the head as `x-request-id` too.
    pub request_id: RequestId,
}

/// 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Clone, PartialEq, Eq)]
enum Text {
    Made([u8; 32]),
    // Boxed: only behind a trusted hop.
    Given(Box<str>),
}

/// Replaces what the client said of its way here by what is known, once a request and before the filters.
///
/// Fields of an untrusted peer are dropped, in one pass, together with disguises (`x_forwarded_for`), which some backends read
/// as the same. A trusted peer's are kept: the lists (`x-forwarded-for`, and `forwarded` where it sent one) grow by its address, the
/// others stay. The head's scheme follows a trusted `x-forwarded-proto`. Trace fields pass untouched.
pub fn apply(head: &mut RequestHead, hop: &Hop<'_>) -> Caller {
    let peer = hop.peer.to_canonical();
    if hop.trusted.contains(peer) { from_trusted(head, hop, peer) } else { from_untrusted(head, hop, peer) }
}

fn from_untrusted(head: &mut RequestHead, hop: &Hop<'_>, peer: IpAddr) -> Caller {
    head.fields.remove_where(|name| kind(name) != Kind::Other);
    head.scheme = hop.scheme;
    push_peer(&mut head.fields, peer);
    push_proto(&mut head.fields, hop.scheme);
    push_host(head);
    push_port(&mut head.fields, hop.port);
    let request_id = RequestId::make(hop.dice);
    head.fields.push("x-request-id", request_id.as_bytes());
    Caller { client: peer, request_id }
}

fn from_trusted(head: &mut RequestHead, hop: &Hop<'_>, peer: IpAddr) -> Caller {
    let fields = &mut head.fields;
    fields.remove_where(|name| kind(name) == Kind::Internal);
    let peer_text = peer.to_string();
    let (client, hops) = match fields.joined("x-forwarded-for") {
        Some(before) => (client(&before, peer, hop.trusted), [&before[..], b", ", peer_text.as_bytes()].concat()),
        None => (peer, peer_text.into_bytes()),
    };
    fields.set("x-forwarded-for", &hops);
    head.scheme = told_scheme(fields).unwrap_or(hop.scheme);
    fields.remove("x-forwarded-proto");
    push_proto(fields, head.scheme);
    if let Some(before) = head.fields.joined("forwarded") {
        let element = forwarded_element(peer, hop.scheme, head.authority());
        let all = [&before[..], b", ", element.as_bytes()].concat();
        head.fields.set("forwarded", &all);
    }
    if !head.fields.has("x-forwarded-host") {
        push_host(head);
    }
    if !head.fields.has("x-forwarded-port") {
        // Where the hop says nothing of the port, the one of the scheme that it told is the better guess.
        let port = if head.scheme == hop.scheme { hop.port } else { head.scheme.default_port() };
        push_port(&mut head.fields, port);
    }
    let given = head.fields.get_str("x-request-id").and_then(RequestId::given);
    let request_id = given.unwrap_or_else(|| RequestId::make(hop.dice));
    head.fields.set("x-request-id", request_id.as_bytes());
    Caller { client, request_id }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not our affair.
    Other,
    /// Says who a request comes from; a trusted hop may.
    Forwarding,
    /// Nobody may: ours alone, or a disguise.
    Internal,
}

fn kind(name: &[u8]) -> Kind {
    // The first letter settles nearly all fields.
    if !matches!(name.first(), Some(b'x' | b'f')) {
        return Kind::Other;
    }
    let like = |text: &str| name.len() == text.len() && starts_like(name, text);
    let forwarding =
        starts_like(name, "x-forwarded-") || like("forwarded") || like("x-real-ip") || like("x-request-id");
    match () {
        () if starts_like(name, "x-headgate-") => Kind::Internal,
        () if !forwarding => Kind::Other,
        () if name.contains(&b'_') => Kind::Internal,
        () => Kind::Forwarding,
    }
}

/// Whether a name starts with a text, `_` taken for `-`: CGI and its heirs do not tell them apart.
fn starts_like(name: &[u8], text: &str) -> bool {
    name.len() >= text.len() && name.iter().zip(text.bytes()).all(|(&n, t)| n == t || (n == b'_' && t == b'-'))
}

/// The client, walking from the nearest hop outwards: the first address that is not itself trusted. What cannot be read ends the walk.
fn client(before: &[u8], peer: IpAddr, trusted: &TrustedHops) -> IpAddr {
    let mut client = peer;
    for text in before.rsplit(|&b| b == b',') {
        let parsed = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
        let Some(address) = parsed else { break };
        client = address.to_canonical();
        if !trusted.contains(client) {
            break;
        }
    }
    client
}

/// The scheme that the nearest hop tells: the last one of a list.
fn told_scheme(fields: &Fields) -> Option<Scheme> {
    let told = fields.all("x-forwarded-proto").last()?;
    let last = told.rsplit(|&b| b == b',').next()?.trim_ascii();
    match () {
        () if last.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        () if last.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        () => None,
    }
}

fn push_proto(fields: &mut Fields, scheme: Scheme) {
    fields.push("x-forwarded-proto", scheme.as_str().as_bytes());
}

fn push_host(head: &mut RequestHead) {
    head.fields.push_again("x-forwarded-host", head.authority.text);
}

fn push_port(fields: &mut Fields, port: u16) {
    fields.push("x-forwarded-port", itoa::Buffer::new().format(port).as_bytes());
}

fn push_peer(fields: &mut Fields, peer: IpAddr) {
    fields.push("x-forwarded-for", print(peer).as_bytes());
}

/// An address as text. Those of IPv4 by their parts: it is done for each request, and the formatter costs ten times that.
fn print(address: IpAddr) -> ArrayString<45> {
    let mut text = ArrayString::new();
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                text.push_str(itoa::Buffer::new().format(octet));
            }
        }
        IpAddr::V6(_) => write!(text, "{address}").expect("an address has at most 45 characters"),
    }
    text
}

/// One element of `Forwarded` (RFC 7239 §4): IPv6 in brackets, and what is no token quoted.
fn forwarded_element(peer: IpAddr, scheme: Scheme, authority: &str) -> String {
    let node = match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = if authority.contains([':', '[']) { format!("\"{authority}\"") } else { authority.to_owned() };
    format!("for={node};host={host};proto={}", scheme.as_str())
}

impl RequestId {
    /// A random id of 128 bits, in hexadecimal.
    pub fn make(dice: &dyn Fn() -> u64) -> Self {
        let mut text = [0; 32];
        for half in text.chunks_exact_mut(16) {
            let number = dice();
            for (at, digit) in half.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(number >> (60 - 4 * at) & 0xf) as usize];
            }
        }
        Self(Text::Made(text))
    }

    /// An id that somebody else made, if it is well-formed.
    pub fn given(text: &str) -> Option<Self> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        ((1..=128).contains(&text.len()) && text.bytes().all(fine)).then(|| Self(Text::Given(text.into())))
    }

    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Made(text) => text,
            Text::Given(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("all its characters are ASCII")
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl TrustedHops {
    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer is trusted.
    pub fn contains(&self, peer: IpAddr) -> bool {
        !self.is_empty() && self.0.iter().any(|network| network.contains(peer.to_canonical()))
    }
}

impl FromStr for TrustedHops {
    type Err = String;

    /// Reads networks with commas between them: `10.0.0.0/8, 192.0.2.7, fd00::/8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Network {
    fn contains(&self, peer: IpAddr) -> bool {
        match (self.address, peer) {
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == peer.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == peer.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no network: write for example 10.0.0.0/8, 192.0.2.7 or fd00::/8");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS } as u8;
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| bad()))?;
        if bits > most { Err(bad()) } else { Ok(Self { address, bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_message::{Authority, Method, Span, Target};

    fn request(fields: &[(&str, &str)]) -> RequestHead {
        let mut all = Fields::default();
        fields.iter().for_each(|(name, value)| all.push(name, value.as_bytes()));
        let mut head = RequestHead {
            method: Method::Get,
            scheme: Scheme::Http,
            authority: Authority { text: Span::default(), host: Span::default(), port: None },
            target: Target::default(),
            fields: all,
        };
        head.set_authority("a.io:8080").unwrap();
        head
    }

    fn over(head: &mut RequestHead, peer: &str, trusted: &str) -> Caller {
        let trusted = trusted.parse().unwrap();
        let peer = peer.parse().unwrap();
        let count = std::cell::Cell::new(0x0123_4567_89ab_cdee);
        let dice = || {
            count.set(count.get() + 1);
            count.get()
        };
        apply(head, &Hop { peer, scheme: Scheme::Http, port: 80, trusted: &trusted, dice: &dice })
    }

    fn printed(head: &RequestHead) -> Vec<String> {
        head.fields.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
    }

    const MADE: &str = "0123456789abcdef0123456789abcdf0";

    #[test]
    fn an_untrusted_peer_has_no_say() {
        let mut head = request(&[
            ("accept", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-user", "root"),
            ("x-forwarded-client-cert", "x"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-request-id", "evil"),
            ("x_request_id", "evil"),
            ("x-headgate-endpoint", "1"),
            ("x_headgate-endpoint", "1"),
            ("traceparent", "00-1-2-01"),
            ("x-forward", "kept"),
            ("x_mine", "kept"),
            ("from", "kept"),
        ]);
        let caller = over(&mut head, "::ffff:192.0.2.1", "");
        assert_eq!((caller.client.to_string(), caller.request_id.to_string()), ("192.0.2.1".into(), MADE.into()));
        assert_eq!(head.scheme, Scheme::Http);
        assert_eq!(
            printed(&head),
            [
                "accept: a",
                "traceparent: 00-1-2-01",
                "x-forward: kept",
                "x_mine: kept",
                "from: kept",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-proto: http",
                "x-forwarded-host: a.io:8080",
                "x-forwarded-port: 80",
                &format!("x-request-id: {MADE}"),
            ]
        );
    }

    #[test]
    fn a_trusted_hop_is_believed_and_added() {
        let mut head = request(&[
            ("x-forwarded-for", "6.6.6.6, 203.0.113.5"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "http, HTTPS"),
            ("x-forwarded-host", "public.io"),
            ("forwarded", "for=203.0.113.5"),
            ("x_forwarded_proto", "https"),
            ("x-headgate-endpoint", "1"),
            ("x-real-ip", "203.0.113.5"),
            ("x-request-id", "abc-1._"),
        ]);
        let caller = over(&mut head, "10.0.0.9", "10.0.0.0/8");
        assert_eq!(caller.client.to_string(), "203.0.113.5");
        assert_eq!(caller.request_id.as_str(), "abc-1._");
        assert_eq!(head.scheme, Scheme::Https);
        assert_eq!(
            printed(&head),
            [
                "x-forwarded-for: 6.6.6.6, 203.0.113.5, 10.0.0.2, 10.0.0.9",
                "x-forwarded-host: public.io",
                "forwarded: for=203.0.113.5, for=10.0.0.9;host=\"a.io:8080\";proto=http",
                "x-real-ip: 203.0.113.5",
                "x-request-id: abc-1._",
                "x-forwarded-proto: https",
                "x-forwarded-port: 443",
            ]
        );
    }

    #[test]
    fn a_trusted_hop_that_says_nothing_or_nonsense_is_completed() {
        let mut head = request(&[("x-request-id", "a b"), ("x-forwarded-proto", "gopher")]);
        let caller = over(&mut head, "fd00::1", "fd00::/8");
        assert_eq!((caller.client.to_string(), caller.request_id.as_str()), ("fd00::1".into(), MADE));
        let id = format!("x-request-id: {MADE}");
        let expected = ["x-forwarded-for: fd00::1", "x-forwarded-proto: http", "x-forwarded-host: a.io:8080"];
        for line in expected.into_iter().chain(["x-forwarded-port: 80", &id]) {
            assert!(printed(&head).iter().any(|l| l == line), "{line}");
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_a_trusted_hop_vouches_for() {
        let trusted: TrustedHops = "10.0.0.0/8".parse().unwrap();
        let peer = "10.0.0.9".parse().unwrap();
        for (before, found) in [
            ("1.2.3.4", "1.2.3.4"),
            ("9.9.9.9, 1.2.3.4", "1.2.3.4"),
            ("1.2.3.4, 10.1.1.1", "1.2.3.4"),
            ("10.1.1.1", "10.1.1.1"),
            ("unknown", "10.0.0.9"),
            ("1.2.3.4, unknown, 10.1.1.1", "10.1.1.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(client(before.as_bytes(), peer, &trusted).to_string(), found, "{before}");
        }
    }

    #[test]
    fn networks_are_read() {
        let trusted: TrustedHops = "10.0.0.0/8, 192.0.2.7,::/0".parse().unwrap();
        for (peer, fits) in
            [("10.255.0.1", true), ("11.0.0.1", false), ("192.0.2.7", true), ("192.0.2.8", false), ("::1", true)]
        {
            assert_eq!(trusted.contains(peer.parse().unwrap()), fits, "{peer}");
        }
        assert!("0.0.0.0/0".parse::<TrustedHops>().unwrap().contains("::ffff:1.2.3.4".parse().unwrap()));
        assert_eq!("".parse::<TrustedHops>(), Ok(TrustedHops::default()));
        for bad in ["10.0.0.0/33", "10.0.0/8", "a", "10.0.0.0/", "::1/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<TrustedHops>().unwrap_err().contains("write for example"), "{bad}");
        }
    }

    #[test]
    fn ids_of_others_are_well_formed_or_replaced() {
        for bad in ["", "a b", "a\"b", "a\u{e9}", &"a".repeat(129)] {
            assert!(RequestId::given(bad).is_none(), "{bad}");
        }
        assert_eq!(RequestId::given(&"a".repeat(128)).unwrap().as_str().len(), 128);
    }
}
