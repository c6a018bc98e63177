//! The output of replicas, line by line. Bounded in every direction; a slow reader costs lines, and never stops a function.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
    time::timeout,
};

/// A longer line is told in pieces.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// How long one line may wait for the reader before lines are dropped.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Last lines kept for the reason of an exit.
const TAIL_LINES: usize = 5;
/// Characters kept of each of them.
const TAIL_CHARS: usize = 300;

/// One line that a replica wrote; printed as `function | text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who wrote it.
    pub function: Arc<str>,
    /// Where to.
    pub stream: Stream,
    /// Without its end; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", self.function, self.text)
    }
}

/// The last lines of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The lines joined by `; `, oldest first; empty if there was none.
    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    fn push(&self, text: &str) {
        let text: String = text.trim().chars().take(TAIL_CHARS).collect();
        if text.is_empty() {
            return;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// Reads `from` to its end, and tells every line to `sink`, as long as the sink takes them.
pub(super) async fn tell(
    mut from: impl AsyncRead + Unpin,
    function: Arc<str>,
    stream: Stream,
    sink: mpsc::Sender<Line>,
    tail: Tail,
) {
    let mut teller = Teller { function, stream, sink, dropped: 0 };
    let mut kept = Vec::new();
    let mut chunk = vec![0; LINE_BYTES_MAX];
    // an error of a pipe is its end
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        for piece in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            kept.extend_from_slice(piece);
            if kept.ends_with(b"\n") || kept.len() >= LINE_BYTES_MAX {
                teller.line(&kept, &tail).await;
                kept.clear();
            }
        }
    }
    if !kept.is_empty() {
        teller.line(&kept, &tail).await;
    }
}

struct Teller {
    function: Arc<str>,
    stream: Stream,
    sink: mpsc::Sender<Line>,
    dropped: u64,
}

impl Teller {
    /// Waits for the reader once; if it does not come, drops lines without waiting until it does, and then says how many.
    async fn line(&mut self, bytes: &[u8], tail: &Tail) {
        let text = String::from_utf8_lossy(bytes).trim_end_matches(['\r', '\n']).to_owned();
        tail.push(&text);
        if self.dropped > 0 {
            let notice = format!("({} lines were not shown: they came faster than they could be read)", self.dropped);
            if self.sink.try_send(self.of(notice)).is_err() {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        if !matches!(timeout(WAIT_MAX, self.sink.send(self.of(text))).await, Ok(Ok(()))) {
            self.dropped += 1;
        }
    }

    fn of(&self, text: String) -> Line {
        Line { function: self.function.clone(), stream: self.stream, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(bytes: &[u8]) -> Vec<String> {
        let (sink, mut lines) = mpsc::channel(100);
        tell(bytes, "hello-v1".into(), Stream::Stdout, sink, Tail::default()).await;
        let mut out = vec![];
        while let Some(line) = lines.recv().await {
            out.push(line.to_string());
        }
        out
    }

    #[tokio::test]
    async fn lines_are_whole_prefixed_and_lossy() {
        assert_eq!(
            told(b"one\r\n\ntwo \xff\nlast").await,
            ["hello-v1 | one", "hello-v1 | ", "hello-v1 | two \u{fffd}", "hello-v1 | last"]
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_told_in_pieces() {
        let pieces = told(&vec![b'x'; 3 * LINE_BYTES_MAX + 1]).await;
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|piece| piece.len() <= LINE_BYTES_MAX + "hello-v1 | ".len()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_never_comes_costs_lines_and_not_time() {
        let (sink, mut lines) = mpsc::channel(2);
        let tail = Tail::default();
        let bytes = "line\n".repeat(10_000);
        let started = tokio::time::Instant::now();
        tell(bytes.as_bytes(), "f".into(), Stream::Stderr, sink.clone(), tail.clone()).await;
        assert!(started.elapsed() <= 2 * WAIT_MAX);
        assert_eq!(lines.recv().await.unwrap().text, "line");
        assert_eq!(tail.text(), "line; line; line; line; line");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_comes_back_is_told_how_many_are_missing() {
        let (sink, mut lines) = mpsc::channel(1);
        let mut teller = Teller { function: "f".into(), stream: Stream::Stdout, sink, dropped: 0 };
        let tail = Tail::default();
        for _ in 0..4 {
            teller.line(b"a\n", &tail).await;
        }
        assert_eq!(lines.recv().await.unwrap().text, "a");
        let reader = tokio::spawn(async move { (lines.recv().await, lines.recv().await) });
        teller.line(b"b\n", &tail).await;
        let (notice, next) = reader.await.unwrap();
        assert!(notice.unwrap().text.starts_with("(3 lines were not shown"));
        assert_eq!(next.unwrap().text, "b");
    }
}
