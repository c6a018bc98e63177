//! What two processes say to each other while one follows the other. It is data, and never a secret.

use headgate_config::Transport;
use serde::{Deserialize, Serialize};

/// What this program speaks. Another number is refused: both serve on as they were.
pub const PROTOCOL: u32 = 1;

/// Sockets in one message: fewer than the kernel passes at once (253).
pub const SOCKETS_MAX: usize = 64;

/// One message, with descriptors beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase")]
pub enum Message {
    /// The new one wants to follow.
    Take {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Its version, for people.
        program: String,
    },
    /// The old one passes sockets: a descriptor for each, in order.
    Sockets {
        /// What they are.
        sockets: Vec<Described>,
        /// Whether another such message follows.
        more: bool,
    },
    /// The new one serves.
    Ready,
    /// The old one accepts no more.
    Done,
    /// Neither wants this.
    Refused {
        /// Why, for people.
        why: String,
    },
}

/// A socket that is passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "camelCase")]
pub enum Described {
    /// Of a listener.
    Listener {
        /// Whether connections or datagrams come there.
        is_tcp: bool,
        /// The port of the API.
        port: u16,
        /// Whether it is kept while no listener wants it.
        held: bool,
    },
    /// Of the admin port.
    Admin,
    /// The one over which a process is followed.
    Door,
}

impl Described {
    /// Of a listener.
    pub fn listener((transport, port): (Transport, u16), held: bool) -> Self {
        Self::Listener { is_tcp: transport.is_tcp(), port, held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two versions of this program speak: what one wrote, another one reads.
    #[test]
    fn messages_are_written_as_they_were() {
        let sockets = vec![Described::listener((Transport::Tcp, 80), true), Described::Admin, Described::Door];
        let written = [
            (
                Message::Take { protocol: 1, program: "0.1.0".into() },
                r#"{"say":"take","protocol":1,"program":"0.1.0"}"#,
            ),
            (
                Message::Sockets { sockets, more: false },
                r#"{"say":"sockets","sockets":[{"role":"listener","is_tcp":true,"port":80,"held":true},{"role":"admin"},{"role":"door"}],"more":false}"#,
            ),
            (Message::Ready, r#"{"say":"ready"}"#),
            (Message::Done, r#"{"say":"done"}"#),
            (Message::Refused { why: "no".into() }, r#"{"say":"refused","why":"no"}"#),
        ];
        for (message, text) in written {
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
            assert_eq!(serde_json::from_str::<Message>(text).unwrap(), message);
        }
    }
}
