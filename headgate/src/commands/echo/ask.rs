//! What a request asks of the example function in its query. What cannot be read is told, never guessed.

use hyper::StatusCode;
use std::time::Duration;

/// What was asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The status of the answer.
    pub status: Option<StatusCode>,
    /// A pause before it.
    pub delay: Duration,
    /// Its length.
    pub bytes: Option<u64>,
    /// Whether the connection ends with it.
    pub close: bool,
    /// Its id, for the statistics.
    pub id: Option<String>,
}

impl Ask {
    /// Reads a query; parameters of other names are the caller's own.
    ///
    /// # Errors
    /// What to write instead.
    pub fn read(query: &str) -> Result<Self, String> {
        let mut ask = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "status" => {
                    let status = value.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
                    let status = status.filter(|status| !status.is_informational());
                    ask.status = Some(status.ok_or("?status= takes 200 to 999")?);
                }
                "delay" => ask.delay = headgate_gateway::limits::parse_duration(value)?,
                "bytes" => ask.bytes = Some(headgate_gateway::limits::parse_bytes(value)?),
                "close" => ask.close = value == "1",
                "id" => ask.id = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_told() {
        let ask = Ask::read("status=503&delay=200ms&bytes=1MiB&close=1&x=y&flag").unwrap();
        assert_eq!((ask.status.unwrap().as_u16(), ask.delay.as_millis()), (503, 200));
        assert_eq!((ask.bytes, ask.close), (Some(1 << 20), true));
        assert_eq!(Ask::read(""), Ok(Ask::default()));
        for wrong in ["status=x", "status=100", "delay=2", "bytes=x"] {
            assert!(Ask::read(wrong).is_err(), "{wrong}");
        }
    }
}
