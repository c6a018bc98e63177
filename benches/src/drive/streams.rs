//! gRPC streams in both directions: each sends a message when the one before it came back. They are open before anything is counted, and end in order.

use crate::{
    http2::{self, STREAM_PATH},
    load,
};
use bytes::Bytes;
use std::{cell::Cell, io, net::SocketAddr, rc::Rc};

/// Streams on a connection.
const PER_CONNECTION: usize = 8;

/// Streams that wait to be told how much to send.
pub(super) struct Streams {
    runtime: tokio::runtime::LocalRuntime,
    streams: Vec<Stream>,
}

struct Stream {
    sending: h2::SendStream<Bytes>,
    coming: h2::RecvStream,
    message: Bytes,
}

impl Streams {
    /// Opens so many, each with its first message there and back: servers may send their head no sooner.
    pub fn open(to: SocketAddr, count: usize, host: &str) -> io::Result<Self> {
        let runtime = load::runtime()?;
        let streams = runtime.block_on(load::limited(async {
            let mut streams = Vec::with_capacity(count);
            while streams.len() < count {
                let sender = http2::connect(to).await?;
                for _ in 0..PER_CONNECTION.min(count - streams.len()) {
                    streams.push(Stream::open(sender.clone(), host).await?);
                }
            }
            Ok(streams)
        }))?;
        Ok(Self { runtime, streams })
    }

    /// Sends so many messages over all streams, and waits until all came back.
    pub fn ask(&mut self, count: u64) -> io::Result<()> {
        let left = Rc::new(Cell::new(count));
        let streams = std::mem::take(&mut self.streams);
        self.streams = self.runtime.block_on(load::limited(async {
            let asking: Vec<_> =
                streams.into_iter().map(|stream| tokio::task::spawn_local(stream.ask(left.clone()))).collect();
            let mut streams = Vec::with_capacity(asking.len());
            for one in asking {
                streams.push(one.await.map_err(io::Error::other)??);
            }
            Ok::<_, io::Error>(streams)
        }))?;
        Ok(())
    }

    /// Ends all of them.
    ///
    /// # Errors
    /// If the server does not say that all is well.
    pub fn end(self) -> io::Result<()> {
        let Self { runtime, streams } = self;
        runtime.block_on(load::limited(async {
            for stream in streams {
                stream.end().await?;
            }
            Ok(())
        }))
    }
}

impl Stream {
    async fn open(sender: http2::Sender, host: &str) -> io::Result<Self> {
        let request = http::Request::post(format!("http://{host}{STREAM_PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)?;
        let mut sender = sender.ready().await.map_err(io::Error::other)?;
        let (answer, mut sending) = sender.send_request(request, false).map_err(io::Error::other)?;
        let message = Bytes::from(http2::message());
        sending.send_data(message.clone(), false).map_err(io::Error::other)?;
        let (head, coming) = answer.await.map_err(io::Error::other)?.into_parts();
        if head.status != 200 {
            return Err(io::Error::other(format!("answered {}", head.status)));
        }
        let mut stream = Self { sending, coming, message };
        stream.came_back().await?;
        Ok(stream)
    }

    async fn ask(mut self, left: Rc<Cell<u64>>) -> io::Result<Self> {
        while let Some(next) = left.get().checked_sub(1) {
            left.set(next);
            self.sending.send_data(self.message.clone(), false).map_err(io::Error::other)?;
            self.came_back().await?;
        }
        Ok(self)
    }

    /// Reads one message, in whatever parts it comes.
    async fn came_back(&mut self) -> io::Result<()> {
        let mut left = self.message.len();
        while left > 0 {
            let Some(data) = self.coming.data().await else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            let data = data.map_err(io::Error::other)?;
            self.coming.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
            left = left.checked_sub(data.len()).ok_or_else(|| io::Error::other("more came back than was sent"))?;
        }
        Ok(())
    }

    async fn end(mut self) -> io::Result<()> {
        self.sending.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        while let Some(data) = self.coming.data().await {
            if !data.map_err(io::Error::other)?.is_empty() {
                return Err(io::Error::other("more came back than was sent"));
            }
        }
        let trailers = self.coming.trailers().await.map_err(io::Error::other)?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        if status.is_some_and(|status| status == "0") {
            return Ok(());
        }
        Err(io::Error::other(format!("a stream ended with {status:?}")))
    }
}
