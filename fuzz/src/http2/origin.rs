//! The application: it answers each request that a strict reader takes, and panics at whatever is none. No thread of its own.

use crate::strict::{Broken, Message, one_request};
use mio::{
    Interest, Registry, Token,
    net::{TcpListener, TcpStream},
};
use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
};

/// A status that the gateway never answers with by itself.
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A server on a port of this machine.
pub struct Origin {
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    last: usize,
    /// What was answered.
    pub seen: Vec<Message>,
}

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Origin {
    /// Its connections get tokens above that of the listener.
    pub fn start(registry: &Registry, token: Token) -> Self {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        registry.register(&mut listener, token, Interest::READABLE).expect("it is registered once");
        Self { listener, connections: HashMap::new(), last: token.0, seen: Vec::new() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Does all that can be done now.
    pub fn turn(&mut self, registry: &Registry) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            self.last += 1;
            registry.register(&mut stream, Token(self.last), Interest::READABLE).expect("it is registered once");
            self.connections.insert(Token(self.last), Connection { stream, bytes: Vec::new() });
        }
        let seen = &mut self.seen;
        self.connections.retain(|_, connection| connection.turn(seen));
    }
}

impl Connection {
    /// Whether it goes on.
    fn turn(&mut self, seen: &mut Vec<Message>) -> bool {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(read) => self.bytes.extend(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            match one_request(&self.bytes) {
                Err(Broken::Short) => {}
                Err(Broken::Wrong(why)) => panic!("{why}: {}", self.bytes.escape_ascii()),
                Ok(message) => {
                    seen.push(message);
                    self.bytes.clear();
                    // who asked may have left
                    let _ = self.stream.write_all(ANSWER);
                }
            }
        }
    }
}
