//! Reads the head of an answer. It never takes bytes for another protocol that nobody asked for.

use crate::{
    HeadLimits, HeadReader, Malformed, Upgrade, line,
    request::{collect, span_in},
    scan::{First, Scan, take_head},
    sort::{List, Sender, Sorted, sort, tokens},
};
use headgate_message::{Fields, Framing, ResponseHead, Version};
use std::{mem::MaybeUninit, ops::Range};

/// What an answer answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The method was HEAD: no body follows.
    pub head: bool,
    /// The protocols that the request would switch to, as [`write_request`](crate::write_request) sent them.
    pub upgrade: Option<&'a str>,
}

/// An answer's head, and what its connection has to know.
#[derive(Debug)]
pub struct Response {
    /// What goes on. If it is interim, another follows.
    pub head: ResponseHead,
    /// How the body that follows is delimited.
    pub framing: Framing,
    /// Of the server.
    pub version: Version,
    /// Whether the connection can carry another request once this answer has ended, and nothing but this answer came.
    pub keep_alive: bool,
    /// The protocol that starts after this head: only with a 101 that was asked for.
    pub upgraded: Option<Upgrade>,
    /// Content-Length as it was declared; what an answer to HEAD and a 304 say of the body that they do not have.
    pub declared_length: Option<u64>,
}

impl HeadReader {
    /// Reads an answer's head from all that was read and not used yet; `None` while it has not ended. Buffers as in
    /// [`HeadReader::request`].
    ///
    /// # Errors
    /// After one the connection can only be closed; the client gets a 502.
    pub fn response(
        &mut self,
        buf: &mut Vec<u8>,
        asked: Asked<'_>,
        spare: impl FnOnce() -> Fields,
    ) -> Result<Option<Response>, Malformed> {
        let Some(range) = self.scan.end(buf, First::StatusLine, &self.limits)? else { return Ok(None) };
        self.scan = Scan::default();
        let end = range.end;

        let mut list = List::new();
        let (status, version) = split(buf, range, &mut list)?;
        let sorted = sort(buf, &mut list)?;
        let options = sorted.options(buf, &mut list, Sender::Upstream)?;
        let bodiless = asked.head || matches!(status, 100..200 | 204 | 304);
        let framing = framing(buf, version, bodiless, &sorted)?;
        let declared_length =
            framing_as_if_whole(buf, version, &sorted)?.length().filter(|_| !sorted.lengths.is_empty());
        let upgraded = if status == 101 { Some(switch(buf, &sorted, version, asked)?) } else { None };

        // 204 and 1xx have no body. A server that declares one may send it, and its bytes would be the next answer.
        let declares_body = !sorted.encodings.is_empty() || declared_length.unwrap_or(0) > 0;
        let may_go_on = matches!(status, 100..200 | 204) && declares_body;
        Ok(Some(Response {
            head: ResponseHead { status, fields: take_head(buf, end, spare(), &list) },
            framing,
            version,
            keep_alive: options.persists(version) && !framing.is_until_close() && !may_go_on && upgraded.is_none(),
            upgraded,
            declared_length,
        }))
    }
}

fn split(buf: &[u8], range: Range<usize>, list: &mut List) -> Result<(u16, Version), Malformed> {
    let head = &buf[range];
    let mut space = [const { MaybeUninit::uninit() }; HeadLimits::FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, head, &mut space);
    if !parsed.is_ok_and(|status| status.is_complete()) {
        return Err(line::wrong_with(head, First::StatusLine).unwrap_or(Malformed::StatusLine));
    }
    let (Some(status @ 100..=999), Some(minor)) = (response.code, response.version) else {
        return Err(Malformed::StatusLine);
    };
    collect(response.headers, |part| span_in(buf, part), list)?;
    Ok((status, if minor == 0 { Version::Http10 } else { Version::Http11 }))
}

fn framing(buf: &[u8], version: Version, bodiless: bool, sorted: &Sorted) -> Result<Framing, Malformed> {
    let lengths = sorted.lengths.iter().map(|value| value.of(buf));
    let encodings = sorted.encodings.iter().map(|value| value.of(buf));
    Ok(Framing::of_response(version, bodiless, lengths, encodings)?)
}

fn framing_as_if_whole(buf: &[u8], version: Version, sorted: &Sorted) -> Result<Framing, Malformed> {
    framing(buf, version, false, sorted)
}

/// RFC 9110 §7.8: a server switches only to what the client offered, names it, and the new protocol's bytes follow the head.
fn switch(buf: &[u8], sorted: &Sorted, version: Version, asked: Asked<'_>) -> Result<Upgrade, Malformed> {
    let (Some(offered), Some(upgrade)) = (asked.upgrade, sorted.upgrade(buf)?) else { return Err(Malformed::Switch) };
    let framed = !sorted.encodings.is_empty() || !sorted.lengths.is_empty();
    let is_offered = |protocol: &[u8]| tokens(offered.as_bytes()).any(|offer| offer.eq_ignore_ascii_case(protocol));
    let fine = version == Version::Http11 && !framed && tokens(upgrade.0.of(buf)).all(is_offered);
    if fine { Ok(upgrade) } else { Err(Malformed::Switch) }
}
