//! A new connection for each request; the server is told to close it.

use crate::load::{self, Answer};
use std::{cell::Cell, io, net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

pub(super) fn ask(to: SocketAddr, clients: usize, requests: u64, heads: &[Vec<u8>]) -> io::Result<()> {
    let heads: Rc<[Vec<u8>]> = heads.iter().map(|head| closing(head)).collect();
    let left = Rc::new(Cell::new(requests));
    load::runtime()?.block_on(load::limited(async {
        let asking = (0..clients).map(|client| tokio::task::spawn_local(one(to, client, left.clone(), heads.clone())));
        let asking: Vec<_> = asking.collect();
        for client in asking {
            client.await.map_err(io::Error::other)??;
        }
        Ok(())
    }))
}

/// The same head with `connection: close`.
pub(super) fn closing(head: &[u8]) -> Vec<u8> {
    [&head[..head.len() - 2], b"connection: close\r\n\r\n"].concat()
}

async fn one(to: SocketAddr, client: usize, left: Rc<Cell<u64>>, heads: Rc<[Vec<u8>]>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut source = 0;
    while let Some(next) = left.get().checked_sub(1) {
        left.set(next);
        let socket = TcpSocket::new_v4()?;
        socket.bind(super::next_source(client, &mut source))?;
        let mut stream = socket.connect(to).await?;
        stream.write_all(&heads[next as usize % heads.len()]).await?;
        let mut filled = 0;
        loop {
            match stream.read(&mut buffer[filled..]).await? {
                0 => break,
                count => filled += count,
            }
        }
        match Answer::read(&buffer[..filled])? {
            Some(answer) if answer.status == 200 => {}
            Some(answer) => return Err(io::Error::other(format!("answered {}", answer.status))),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    Ok(())
}
