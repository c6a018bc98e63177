//! Runs the codec's body decoder over pieces and keeps all that it said.

use headgate_http1::{BodyDecoder, Found, Malformed};
use headgate_message::Framing;

/// A body as the decoder told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub data: Vec<u8>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub ended: bool,
    /// Bytes of all pieces up to the end.
    pub used: usize,
}

/// Decodes pieces up to the end of the body or of the pieces.
pub fn decode<'p>(framing: Framing, pieces: impl Iterator<Item = &'p [u8]>) -> Result<Body, Malformed> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Body::default();
    for mut input in pieces {
        loop {
            let step = decoder.next(input)?;
            body.used += step.used;
            match step.found {
                Found::Data(range) => {
                    assert!(!range.is_empty() && range.end == step.used, "data is not where the step ends");
                    body.data.extend_from_slice(&input[range]);
                }
                Found::Trailers(fields) => {
                    body.trailers = fields.iter().map(|(name, value)| (name.into(), value.into())).collect();
                }
                Found::End => {
                    body.ended = true;
                    return Ok(body);
                }
                Found::More => {
                    assert_eq!(step.used, input.len(), "bytes are left");
                    break;
                }
            }
            input = &input[step.used..];
        }
    }
    body.ended = decoder.is_done();
    Ok(body)
}
