//! A client that sends exactly the bytes of a test, over TCP or TLS, and reads answers with the strict reader. It adds nothing of its own.

use crate::{
    Answer,
    message::{NoMessage, Reader},
    within,
};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    reader: Reader,
}

impl Wire {
    /// Connects over TCP.
    pub async fn open(to: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(to)).await.unwrap_or_else(|e| panic!("{to}: {e}"));
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Uses a stream that is open already.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), reader: Reader::new() }
    }

    /// Sends bytes; an end of the connection shows at the next read only.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        let _ = within("sending", sent).await;
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer(false).await.unwrap_or_else(|why| panic!("no answer: {why}"))
    }

    /// The next answer, to a HEAD.
    pub async fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).await.unwrap_or_else(|why| panic!("no answer: {why}"))
    }

    /// The next answer, or why there is none.
    pub async fn try_answer(&mut self, to_head: bool) -> Result<Answer, String> {
        let answer = within("an answer", self.reader.answer(&mut self.stream, to_head)).await;
        answer.map_err(|why| match why {
            NoMessage::Closed => "the connection was closed".to_owned(),
            NoMessage::Broken(why) => format!("it broke off: {why}"),
            NoMessage::Malformed(why) => format!("malformed: {why}"),
        })
    }

    /// The head of the next answer; its body is taken by [`Wire::bytes`].
    pub async fn head(&mut self) -> Answer {
        within("a head", self.reader.answer_head(&mut self.stream))
            .await
            .unwrap_or_else(|why| panic!("no head: {why:?}"))
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    /// Whatever comes until the other end closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = self.reader.rest().to_vec();
        self.reader.at = self.reader.buffer.len();
        // a reset is an end too
        let _ = within("the end of the connection", self.stream.read_to_end(&mut rest)).await;
        rest
    }

    /// The next bytes, exactly so many.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = self.reader.rest().to_vec();
        let more = bytes.split_off(bytes.len().min(count));
        self.reader.at = self.reader.buffer.len() - more.len();
        let have = bytes.len();
        bytes.resize(count, 0);
        within("bytes", self.stream.read_exact(&mut bytes[have..])).await.unwrap();
        bytes
    }

    /// The stream, which another protocol takes over.
    pub fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.reader.rest().is_empty(), "bytes came that nobody asked for");
        self.stream
    }

    /// One GET on a connection of its own.
    pub async fn get(to: SocketAddr, host: &str, target: &str) -> Answer {
        Self::open(to).await.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    /// One POST on a connection of its own.
    pub async fn post(to: SocketAddr, host: &str, target: &str, body: &[u8]) -> Answer {
        let mut wire = Self::open(to).await;
        let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        wire.ask(bytes).await
    }
}
