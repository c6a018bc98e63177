//! A warm exchange, heads and chunks on both sides, allocates nothing once buffers have their size.

#![expect(clippy::unwrap_used, reason = "also in the helpers of tests")]

use headgate_http1::{
    Answer, Asked, BodyDecoder, Forward, Found, HeadReader, write_chunk, write_last_chunk, write_request,
    write_response,
};
use headgate_message::{Fields, Scheme, Version};

const REQUEST: &[u8] = b"POST /a/b?c=d HTTP/1.1\r\nHost: shop.Example:8080\r\nUser-Agent: x\r\nAccept: */*\r\n\
    Connection: keep-alive\r\nX-Id: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// What a core keeps between exchanges.
struct Warm {
    down: HeadReader,
    up: HeadReader,
    down_buf: Vec<u8>,
    up_buf: Vec<u8>,
    out: Vec<u8>,
    spent: Vec<Fields>,
}

impl Warm {
    fn exchange(&mut self) {
        self.out.clear();
        self.down_buf.extend_from_slice(REQUEST);
        let spent = &mut self.spent;
        let request = self.down.request(&mut self.down_buf, Scheme::Http, || spent.pop().unwrap_or_default());
        let request = request.unwrap().unwrap();
        write_request(&mut self.out, &request.head, request.framing, Forward::default());
        let mut body = BodyDecoder::new(request.framing);
        let mut at = 0;
        loop {
            let step = body.next(&self.down_buf[at..]).unwrap();
            match step.found {
                Found::Data(range) => write_chunk(&mut self.out, &self.down_buf[at..][range]),
                Found::End => break,
                other => panic!("{other:?}"),
            }
            at += step.used;
        }
        self.down_buf.clear();
        write_last_chunk(&mut self.out, None);

        self.up_buf.extend_from_slice(RESPONSE);
        let response = self.up.response(&mut self.up_buf, Asked::default(), || spent.pop().unwrap_or_default());
        let response = response.unwrap().unwrap();
        self.up_buf.clear();
        let answer = Answer {
            version: Version::Http11,
            to_head: false,
            keep_alive: request.keep_alive,
            upgrade: None,
            declared_length: None,
        };
        write_response(&mut self.out, &response.head, response.framing, answer);
        self.spent.push(request.head.fields);
        self.spent.push(response.head.fields);
    }
}

#[test]
fn a_warm_exchange_allocates_nothing() {
    let mut warm = Warm {
        down: HeadReader::default(),
        up: HeadReader::default(),
        down_buf: Vec::new(),
        up_buf: Vec::new(),
        out: Vec::new(),
        spent: Vec::new(),
    };
    (0..4).for_each(|_| warm.exchange());
    let seen = allocation_counter::measure(|| (0..100).for_each(|_| warm.exchange()));
    assert_eq!(seen.count_total, 0, "{seen:?}");
}
