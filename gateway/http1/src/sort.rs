//! Sorts the fields of a head: what goes on, what concerns this connection only, what frames. Never changes a value.

use crate::{HeadLimits, Malformed};
use arrayvec::ArrayVec;
use headgate_message::{Fields, Span, Version, is_token};

/// Name and value of each field, on the stack until the head is known to be right.
pub(crate) type List = ArrayVec<(Span, Span), { HeadLimits::FIELDS_MAX }>;

/// The values of a field of which two are a conflict already.
pub(crate) type Few = ArrayVec<Span, 2>;

/// Protocols that a message switches to, in order of preference: a span in the buffer of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade(pub(crate) Span);

impl Upgrade {
    /// The list as it came, in the text of the head that it came with.
    pub fn of(self, head: &Fields) -> &str {
        std::str::from_utf8(self.0.of(head.text())).unwrap_or_default()
    }
}

/// The values of the fields that were taken out of a list.
#[derive(Default)]
pub(crate) struct Sorted {
    pub hosts: Few,
    pub lengths: Few,
    pub encodings: Few,
    pub upgrades: Few,
    pub expect_continue: bool,
    pub te_trailers: bool,
    connections: ArrayVec<Span, 8>,
}

/// What the Connection field says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    close: bool,
    keep_alive: bool,
    pub upgrade: bool,
}

impl Options {
    /// RFC 9112 §9.3.
    pub fn persists(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version != Version::Http10)
    }
}

/// Who sent the head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Upstream,
}

/// Lower-cases all names in place and takes out of the list what does not go on.
pub(crate) fn sort(text: &mut [u8], list: &mut List) -> Result<Sorted, Malformed> {
    let mut sorted = Sorted::default();
    let mut wrong = None;
    list.retain(|&mut (name, value)| {
        let name = &mut text[name.range()];
        name.make_ascii_lowercase();
        match &*name {
            b"host" => note(&mut sorted.hosts, value),
            b"content-length" => note(&mut sorted.lengths, value),
            b"transfer-encoding" => note(&mut sorted.encodings, value),
            b"upgrade" => note(&mut sorted.upgrades, value),
            b"connection" => {
                if sorted.connections.try_push(value).is_err() {
                    wrong = wrong.or(Some(Malformed::Connection));
                }
            }
            b"expect" => {
                sorted.expect_continue = true;
                if !text[value.range()].eq_ignore_ascii_case(b"100-continue") {
                    wrong = wrong.or(Some(Malformed::Expect));
                }
            }
            b"te" => {
                let value = &text[value.range()];
                sorted.te_trailers |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
            b"keep-alive" | b"proxy-connection" | b"http2-settings" => {}
            // CGI and its heirs turn both spellings into one variable.
            b"content_length" | b"transfer_encoding" => wrong = wrong.or(Some(Malformed::Disguised)),
            _ => return true,
        }
        false
    });
    wrong.map_or(Ok(sorted), Err)
}

fn note(few: &mut Few, value: Span) {
    // A third changes nothing: two are a conflict.
    let _ = few.try_push(value);
}

impl Sorted {
    /// Reads the Connection field and takes what it names out of the list (RFC 9110 §7.6.1).
    ///
    /// A name that is meant for everyone on the way is an attack of a client, who wants a field dropped that a proxy before us
    /// added: refused. Careless servers do it too (`Connection: keep-alive, Transfer-Encoding`): there it is ignored.
    pub fn options(&self, text: &[u8], list: &mut List, sender: Sender) -> Result<Options, Malformed> {
        let mut options = Options::default();
        let mut named = ArrayVec::<&[u8], 16>::new();
        for token in self.connections.iter().flat_map(|value| tokens(value.of(text))) {
            match token {
                _ if token.eq_ignore_ascii_case(b"close") => options.close = true,
                _ if token.eq_ignore_ascii_case(b"keep-alive") => options.keep_alive = true,
                _ if token.eq_ignore_ascii_case(b"upgrade") => options.upgrade = true,
                _ if !is_token(token) => return Err(Malformed::Connection),
                _ if !is_end_to_end(token) => named.try_push(token).map_err(|_| Malformed::Connection)?,
                _ if sender == Sender::Client => return Err(Malformed::Connection),
                _ => {}
            }
        }
        if !named.is_empty() {
            list.retain(|(name, _)| !named.iter().any(|token| token.eq_ignore_ascii_case(name.of(text))));
        }
        Ok(options)
    }

    /// The one Upgrade field, if there is one; its value is a list of `protocol["/"version]` (RFC 9110 §7.8).
    pub fn upgrade(&self, text: &[u8]) -> Result<Option<Upgrade>, Malformed> {
        match self.upgrades[..] {
            [] => Ok(None),
            [value] if is_protocols(value.of(text)) => Ok(Some(Upgrade(value))),
            _ => Err(Malformed::Upgrade),
        }
    }
}

fn is_protocols(value: &[u8]) -> bool {
    tokens(value).next().is_some()
        && tokens(value).all(|protocol| {
            let mut parts = protocol.splitn(2, |&b| b == b'/');
            parts.next().is_some_and(is_token) && parts.next().is_none_or(is_token)
        })
}

/// The elements of a list, without empty ones (RFC 9110 §5.6.1.2).
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|token| !token.is_empty())
}

pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Names that no Connection field may take from the next hop: what frames, routes, authorises, describes the content, or is
/// added by proxies for those behind them.
fn is_end_to_end(token: &[u8]) -> bool {
    const NAMES: [&[u8]; 20] = [
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"location",
        b"origin",
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"grpc-timeout",
        b"proxy-status",
    ];
    const PREFIXES: [&[u8]; 3] = [b"x-forwarded-", b"x-headgate-", b"headgate-"];
    let starts = |prefix: &[u8]| token.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    NAMES.iter().any(|name| token.eq_ignore_ascii_case(name)) || PREFIXES.iter().any(|prefix| starts(prefix))
}

/// Fields that concern one connection or frame a message: writers make their own.
pub(crate) fn is_of_connection(name: &[u8]) -> bool {
    matches!(
        name,
        b"host"
            | b"content-length"
            | b"transfer-encoding"
            | b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"http2-settings"
            | b"te"
            | b"upgrade"
            | b"expect"
    )
}
