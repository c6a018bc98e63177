//! One request and what a right answer to it is. Bodies are patterns, so that a byte that is lost, doubled or of somebody else shows.

use crate::ledger::{End, Lane};
use headgate_e2e::{Request, Script, pattern};
use std::{borrow::Cow, sync::LazyLock};

/// The longest body.
pub const BYTES_MAX: usize = 10_000_000;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(BYTES_MAX));

/// The first bytes of the pattern.
pub fn bytes(count: usize) -> &'static [u8] {
    &PATTERN[..count]
}

/// A GET of so many bytes, or a POST with a number of its own.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose it is.
    pub lane: Lane,
    /// The host.
    pub host: Cow<'static, str>,
    /// The number of a POST; 0 is a GET.
    pub number: usize,
    /// Bytes that are sent with a POST, or asked for with a GET.
    pub length: usize,
}

impl Ask {
    fn is_post(&self) -> bool {
        self.number > 0
    }

    fn method(&self) -> &'static str {
        if self.is_post() { "POST" } else { "GET" }
    }

    fn target(&self) -> String {
        if self.is_post() { "/".into() } else { format!("/bytes/{}", self.length) }
    }

    /// The body that is sent.
    pub fn body(&self) -> &'static [u8] {
        bytes(if self.is_post() { self.length } else { 0 })
    }

    /// Its head as HTTP/1.1 has it.
    pub fn head(&self) -> String {
        let length = if self.is_post() { format!("Content-Length: {}\r\n", self.length) } else { String::new() };
        format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: soak-{}\r\nX-Order: {}\r\n{length}\r\n",
            self.method(),
            self.target(),
            self.host,
            self.lane.name(),
            self.number
        )
    }

    /// Its head as HTTP/2 has it.
    pub fn head_http2(&self, scheme: &str) -> http::Request<()> {
        http::Request::builder()
            .method(self.method())
            .uri(format!("{scheme}://{}{}", self.host, self.target()))
            .header("user-agent", format!("soak-{}", self.lane.name()))
            .header("x-order", self.number)
            .body(())
            .unwrap()
    }

    /// What an answer is; `failure` is the reason that the gateway gave.
    pub fn judge(&self, status: u16, failure: Option<&str>, body: &[u8]) -> End {
        match failure {
            Some(failure) => End::Refused(failure.to_owned()),
            None if status == 200 && self.is_right(body) => End::Good,
            None => End::Wrong(format!(
                "{} of {} bytes to {}: {status} with {} bytes: {:?}",
                self.method(),
                self.length,
                self.host,
                body.len(),
                String::from_utf8_lossy(&body[..body.len().min(60)])
            )),
        }
    }

    /// Applications answer a POST with its number, its length and whether it was intact, or (HTTP/2) with itself.
    fn is_right(&self, body: &[u8]) -> bool {
        let told = self.is_post().then(|| format!("{} {} true", self.number, self.length).into_bytes());
        told.as_deref() == Some(body) || body == bytes(self.length)
    }
}

/// What applications of HTTP/1.1 answer, as the application of functions does.
pub fn answer(request: &Request) -> Script {
    match request.target.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
        Some(count) => Script::ok(bytes(count)),
        None => {
            let intact = request.body == bytes(request.body.len());
            Script::ok(format!("{} {} {intact}", request.field("x-order").unwrap_or("0"), request.body.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_body_is_never_a_right_answer() {
        let get = Ask { lane: Lane::Toxic, host: "a".into(), number: 0, length: 100 };
        assert_eq!(get.judge(200, None, bytes(100)), End::Good);
        assert!(matches!(get.judge(200, None, bytes(99)), End::Wrong(_)));
        assert!(matches!(get.judge(502, None, bytes(100)), End::Wrong(_)));
        assert_eq!(get.judge(502, Some("upstream_reset"), b"why"), End::Refused("upstream_reset".into()));
        let post = Ask { number: 7, ..get };
        assert_eq!(post.judge(200, None, b"7 100 true"), End::Good);
        assert!(matches!(post.judge(200, None, b"8 100 true"), End::Wrong(_)));
    }
}
