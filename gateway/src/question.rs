//! What a person asks about a request: URL, method and headers as for curl, read as the request would be. It never sends one.

use headgate_config::{Scheme, Transport};
use headgate_http1::{HeadLimits, HeadReader};
use headgate_message::{Fields, RequestHead};
use headgate_routing::{Explanation, Table};

/// Ports below 1024 are opened this much higher where the right to open them is missing.
const UNPRIVILEGED_OFFSET: u16 = 8000;

/// The question as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The URL; `http://` can be left out. `tls://`, `tcp://` and `udp://` ask for what is not read.
    pub url: String,
    /// The method; GET, or POST with a body.
    pub method: Option<String>,
    /// Headers as `Name: value`; a Host among them takes the place of the URL's.
    pub headers: Vec<String>,
    /// The length of a body, in bytes.
    pub body_bytes: Option<u64>,
}

/// The question as the gateway understands it.
#[derive(Debug)]
pub struct Asked {
    head: RequestHead,
    /// Where the client connects.
    port: u16,
    /// Whether the URL says so.
    is_port_given: bool,
    transport: Transport,
}

impl Question {
    /// Of the query of an admin URL: `url`, `method`, `header` (repeated) and `body` (its length), percent-encoded.
    ///
    /// # Errors
    /// A sentence, if there is another parameter or no URL.
    pub fn of_query(query: &str) -> Result<Self, String> {
        let mut question = Self::default();
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let value = decoded(value).ok_or_else(|| format!("{name} is not percent-encoded UTF-8"))?;
            match name {
                "url" => question.url = value,
                "method" => question.method = Some(value),
                "header" => question.headers.push(value),
                "body" => question.body_bytes = Some(value.parse().map_err(|_| "body is no number of bytes")?),
                _ => return Err("write /explain?url=http://host/path&method=GET&header=Name:%20value".to_owned()),
            }
        }
        Ok(question)
    }

    /// Reads it with the parser that reads requests.
    ///
    /// # Errors
    /// A sentence, if it is no question, or a request that the gateway refuses.
    pub fn read(&self) -> Result<Asked, String> {
        let Way { scheme, transport, needs_port, rest } = self.way()?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let port = port_of(authority)?;
        if needs_port && port.is_none() {
            return Err(format!("{:?} has no port: write one behind the host, as in tcp://localhost:9000", self.url));
        }
        let mut bytes = self.head(authority, target)?.into_bytes();
        let limits = HeadLimits { bytes: usize::MAX, ..HeadLimits::default() };
        let request = HeadReader::new(limits)
            .request(&mut bytes, scheme, Fields::default)
            .map_err(|why| format!("the gateway refuses this request with {}: {why}", why.status()))?
            .ok_or("this is no whole request")?;
        let is_port_given = port.is_some();
        let port = port.unwrap_or(scheme.default_port());
        Ok(Asked { head: request.head, port, is_port_given, transport })
    }

    fn way(&self) -> Result<Way<'_>, String> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let way = |scheme, transport, needs_port| Ok(Way { scheme, transport, needs_port, rest });
        match scheme.to_ascii_lowercase().as_str() {
            "http" => way(Scheme::Http, Transport::Tcp, false),
            "https" | "tls" => way(Scheme::Https, Transport::Tcp, false),
            "tcp" => way(Scheme::Http, Transport::Tcp, true),
            "udp" => way(Scheme::Http, Transport::Udp, true),
            _ => Err(format!(
                "{scheme:?} is no scheme that a gateway serves: write http:// or https://, or tls://, tcp:// or udp://"
            )),
        }
    }

    /// The head that a client would send.
    fn head(&self, authority: &str, target: &str) -> Result<String, String> {
        let lines = || self.method.iter().chain(&self.headers).map(String::as_str).chain([authority, target]);
        if lines().any(|line| line.contains(['\r', '\n'])) {
            return Err("a line break is in the URL, the method or a header: leave it out".to_owned());
        }
        let method = self.method.as_deref().unwrap_or(if self.body_bytes.is_some() { "POST" } else { "GET" });
        let slash = if target.starts_with('/') { "" } else { "/" };
        let mut head = format!("{method} {slash}{target} HTTP/1.1\r\n");
        let is_host =
            |header: &&String| header.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("host"));
        if self.headers.iter().find(is_host).is_none() {
            head += &format!("Host: {authority}\r\n");
        }
        for header in &self.headers {
            if !header.contains(':') {
                return Err(format!("{header:?} is no header: write 'Name: value'"));
            }
            head += &format!("{header}\r\n");
        }
        if let Some(bytes) = self.body_bytes {
            head += &format!("Content-Length: {bytes}\r\n");
        }
        Ok(head + "\r\n")
    }
}

/// What a scheme says, and what follows it.
struct Way<'q> {
    scheme: Scheme,
    transport: Transport,
    needs_port: bool,
    rest: &'q str,
}

impl Asked {
    /// Explains it by a Table, on the listener port behind the port that the client connects to.
    pub fn explain<B>(&self, table: &Table<B>) -> Explanation {
        let is_open = |port: &u16| {
            let mut here = table.listeners().iter().filter(|listener| listener.port == *port);
            here.any(|listener| listener.protocol.transport() == self.transport)
        };
        let lower = self.port.checked_sub(UNPRIVILEGED_OFFSET).filter(|lower| *lower < 1024);
        let higher = self.port.checked_add(UNPRIVILEGED_OFFSET).filter(|_| !self.is_port_given);
        // a listener on port 0 is on whichever port was free
        let behind = [Some(self.port), lower, higher, Some(0)].into_iter().flatten().find(is_open);
        table.explain_on(self.transport, behind.unwrap_or(self.port), &self.head)
    }
}

/// The port of an authority, where it has one.
fn port_of(authority: &str) -> Result<Option<u16>, String> {
    let after_literal = authority.rfind(']').map_or(authority, |end| &authority[end + 1..]);
    match after_literal.rsplit_once(':') {
        None | Some((_, "")) => Ok(None),
        Some((_, port)) => port.parse().map(Some).map_err(|_| format!("{port:?} is no port: write 1 to 65535")),
    }
}

/// A percent-encoded text; `None` if it is none.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                out.push((digit()? * 16 + digit()?) as u8);
            }
            b'+' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Asked, String> {
        Question { url: url.to_owned(), ..Question::default() }.read()
    }

    #[test]
    fn urls_are_read_as_clients_send_them() {
        for (url, host, path, port) in [
            ("http://A.localhost:8080/x?y=1#z", "a.localhost", "/x", 8080),
            ("https://a.io", "a.io", "/", 443),
            ("a.io/b/%63", "a.io", "/b/c", 80),
            ("HTTP://a.io?q", "a.io", "/", 80),
            ("http://[::1]:81/", "[::1]", "/", 81),
            ("http://[::1]/", "[::1]", "/", 80),
            ("tls://a.io", "a.io", "/", 443),
            ("tcp://a.io:9000", "a.io", "/", 9000),
        ] {
            let asked = read(url).unwrap();
            assert_eq!((asked.head.host(), asked.head.path(), asked.port), (host, path, port), "{url}");
        }
        for (url, why) in [
            ("ftp://a.io/", "http:// or https://"),
            ("http://a.io:x/", "1 to 65535"),
            ("udp://a.io", "tcp://localhost:9000"),
            ("http:///x", "Host"),
            ("http://a.io/a b", "refuses"),
            ("http://a.io/%00", "refuses"),
            ("http://a.io/\r\nX: y", "line break"),
        ] {
            let error = read(url).unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn methods_headers_and_bodies_are_those_of_curl() {
        let question = Question {
            url: "127.0.0.1:8080/x".to_owned(),
            headers: vec!["host: b.io".to_owned(), "X-Role: admin".to_owned()],
            body_bytes: Some(3),
            ..Question::default()
        };
        let asked = question.read().unwrap();
        assert_eq!((asked.head.host(), asked.port, asked.head.method.as_str()), ("b.io", 8080, "POST"));
        assert_eq!(asked.head.fields.get("x-role"), Some(&b"admin"[..]));
        let nameless = Question { headers: vec!["X-Role".to_owned()], ..question };
        assert!(nameless.read().unwrap_err().contains("'Name: value'"));
    }

    #[test]
    fn queries_of_the_admin_port_say_the_same() {
        let question = Question::of_query("url=http%3A%2F%2Fa.io%2F%3Fx&method=PUT&header=A:%20b&header=c:+d&body=4");
        let expected = Question {
            url: "http://a.io/?x".to_owned(),
            method: Some("PUT".to_owned()),
            headers: vec!["A: b".to_owned(), "c: d".to_owned()],
            body_bytes: Some(4),
        };
        assert_eq!(question, Ok(expected));
        assert!(Question::of_query("link=x").unwrap_err().contains("/explain?url="));
        assert!(Question::of_query("url=%f").is_err());
    }
}
