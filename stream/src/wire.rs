//! The messages of the stream and their gRPC coding, written by hand: no protoc. Unknown fields and messages are skipped; never prints a key.
//!
//! The method is `/headgate.v1.Controller/Follow`; what an older peer could not bear needs a `v2`. What it can bear needs nothing:
//! protobuf skips unknown fields, and configuration travels as the JSON of `headgate-config`.

use bytes::Bytes;
use prost::Message;
use std::marker::PhantomData;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// The path of the one method.
pub const METHOD: &str = "/headgate.v1.Controller/Follow";
/// The service of the method.
pub const SERVICE: &str = "headgate.v1.Controller";
/// What this program speaks: raised when something is added.
pub const PROTOCOL: u32 = 1;
/// A message is closed once it has this many bytes, so that a large version comes in parts.
pub const PART_BYTES: usize = 256 * 1024;
/// One rule, backend, listener or certificate.
pub const PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A larger message is refused by who receives it.
pub const MESSAGE_BYTES_MAX: usize = PIECE_BYTES_MAX + 2 * PART_BYTES;

/// Controller to gateway.
#[derive(Clone, PartialEq, Message)]
pub struct Down {
    #[prost(oneof = "DownSay", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub say: Option<DownSay>,
}

/// What a controller says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum DownSay {
    #[prost(message, tag = "1")]
    Hello(DownHello),
    #[prost(message, tag = "2")]
    Part(Part),
    #[prost(message, tag = "3")]
    Keys(Keys),
    #[prost(message, tag = "4")]
    Commit(Commit),
    #[prost(message, tag = "5")]
    Endpoints(EndpointsPart),
    #[prost(message, tag = "6")]
    Beat(Beat),
    #[prost(message, tag = "7")]
    Role(Role),
}

/// The first word of a controller.
#[derive(Clone, PartialEq, Message)]
pub struct DownHello {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(string, tag = "2")]
    pub controller: String,
    /// Tells a controller from itself before a restart.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(string, tag = "4")]
    pub program: String,
    #[prost(bool, tag = "5")]
    pub leading: bool,
}

/// Part of a difference: kept until the `Commit`.
#[derive(Clone, PartialEq, Message)]
pub struct Part {
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<Piece>,
    /// Digests of what is gone, joined.
    #[prost(bytes = "bytes", tag = "2")]
    pub removes: Bytes,
}

/// A rule, backend or listener.
#[derive(Clone, PartialEq, Message)]
pub struct Piece {
    /// 1 rule, 2 backend, 3 listener; others are reported.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub json: Bytes,
}

/// Certificates with their keys, kept until the `Commit`.
#[derive(Clone, PartialEq, Message)]
pub struct Keys {
    #[prost(message, repeated, tag = "1")]
    pub certificates: Vec<Keyed>,
    /// Digests of what is gone, joined.
    #[prost(bytes = "bytes", tag = "2")]
    pub removes: Bytes,
}

/// What a gateway keeps for its next start: routes and endpoints. Never a key.
#[derive(Clone, PartialEq, Message)]
pub struct Stored {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(message, repeated, tag = "2")]
    pub pieces: Vec<Piece>,
    /// JSON, one backend each.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub endpoints: Vec<Bytes>,
    /// Pieces that are gone, each by its digest.
    #[prost(bytes = "bytes", tag = "4")]
    pub removes: Bytes,
    /// Whether what was kept up to here is whole.
    #[prost(bool, tag = "5")]
    pub last: bool,
}

/// A certificate with its key. Its `Debug` says only whose.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Keyed {
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(string, tag = "2")]
    pub secret: String,
    #[prost(string, tag = "3")]
    pub chain: String,
    #[prost(string, tag = "4")]
    pub key: String,
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyed({}/{})", self.namespace, self.secret)
    }
}

/// Everything since the last one becomes live at once.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Commit {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Pieces that the gateway holds now: what differs here drifted, and everything is asked for again.
    #[prost(uint64, tag = "2")]
    pub pieces: u64,
    /// Certificates that the gateway holds now.
    #[prost(uint64, tag = "3")]
    pub certificates: u64,
}

/// Endpoints of some backends: live at once.
#[derive(Clone, PartialEq, Message)]
pub struct EndpointsPart {
    /// Everything up to here has been sent with this one.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// JSON, one backend each.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub list: Vec<Bytes>,
}

/// The sender lives.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Beat {}

/// Whether this controller leads now: gateways prefer to follow the one that does.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Role {
    #[prost(bool, tag = "1")]
    pub leading: bool,
}

/// Gateway to controller.
#[derive(Clone, PartialEq, Message)]
pub struct Up {
    #[prost(oneof = "UpSay", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub say: Option<UpSay>,
}

/// What a gateway says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum UpSay {
    #[prost(message, tag = "1")]
    Hello(UpHello),
    #[prost(message, tag = "2")]
    Holding(Holding),
    #[prost(message, tag = "3")]
    Unfollow(Unfollow),
    #[prost(message, tag = "4")]
    Ack(Ack),
    #[prost(message, tag = "5")]
    EndpointsAck(EndpointsAck),
    #[prost(message, tag = "6")]
    Demand(DemandList),
    #[prost(message, tag = "7")]
    Beat(Beat),
}

/// The first word of a gateway.
#[derive(Clone, PartialEq, Message)]
pub struct UpHello {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub pod: String,
    #[prost(string, tag = "5")]
    pub program: String,
}

/// What the gateway holds, by content; after the last part of it the controller sends what differs, and goes on.
#[derive(Clone, PartialEq, Message)]
pub struct Holding {
    /// Digests, joined.
    #[prost(bytes = "bytes", tag = "1")]
    pub pieces: Bytes,
    /// Digests, joined.
    #[prost(bytes = "bytes", tag = "2")]
    pub certificates: Bytes,
    /// Digests, joined.
    #[prost(bytes = "bytes", tag = "3")]
    pub endpoints: Bytes,
    #[prost(bool, tag = "4")]
    pub last: bool,
}

/// The gateway follows another controller from now on; its counts still come.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Unfollow {}

/// A version is live.
#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// What is wrong in it, one sentence each; all else serves.
    #[prost(string, repeated, tag = "2")]
    pub problems: Vec<String>,
}

/// Endpoints are live up to here.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct EndpointsAck {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
}

/// Counts of scale targets.
#[derive(Clone, PartialEq, Message)]
pub struct DemandList {
    /// JSON, one target each.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub list: Vec<Bytes>,
    /// Whether these are all of them; otherwise those that changed.
    #[prost(bool, tag = "2")]
    pub whole: bool,
}

impl From<DownSay> for Down {
    fn from(say: DownSay) -> Self {
        Self { say: Some(say) }
    }
}

impl From<UpSay> for Up {
    fn from(say: UpSay) -> Self {
        Self { say: Some(say) }
    }
}

/// Protobuf for the messages that are sent and those that are received.
pub struct Prost<Sent, Received>(PhantomData<(Sent, Received)>);

impl<Sent, Received> Default for Prost<Sent, Received> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Sent: Message + 'static, Received: Message + Default + 'static> Codec for Prost<Sent, Received> {
    type Encode = Sent;
    type Decode = Received;
    type Encoder = Prost<Sent, Received>;
    type Decoder = Prost<Sent, Received>;

    fn encoder(&mut self) -> Self::Encoder {
        Self::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::default()
    }
}

impl<Sent: Message, Received> Encoder for Prost<Sent, Received> {
    type Item = Sent;
    type Error = Status;

    fn encode(&mut self, item: Sent, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<Sent, Received: Message + Default> Decoder for Prost<Sent, Received> {
    type Item = Received;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        Received::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        let keyed = Keyed { secret: "tls".into(), key: "PRIVATE".into(), ..Keyed::default() };
        let keys = Down::from(DownSay::Keys(Keys { certificates: vec![keyed], removes: Bytes::new() }));
        let printed = format!("{keys:?} {keys:#?}");
        assert!(printed.contains("tls") && !printed.contains("PRIVATE"), "{printed}");
    }

    #[test]
    fn a_message_of_a_later_version_is_no_message_and_no_error() {
        // field 99, length-delimited, and an empty body
        let later = [0x9a, 0x06, 0x00];
        assert_eq!(Down::decode(later.as_slice()).unwrap().say, None);
    }
}
