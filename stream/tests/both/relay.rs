//! Between gateway and controller: counts bytes, cuts, and falls silent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Pass,
    Freeze,
    /// Ends the connections of before; those that come later pass.
    Cut(usize),
}

pub struct Relay {
    port: u16,
    order: watch::Sender<Order>,
    down: Arc<AtomicUsize>,
    cuts: AtomicUsize,
}

impl Relay {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (order, orders) = watch::channel(Order::Pass);
        let down = Arc::new(AtomicUsize::new(0));
        let counted = down.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pump(from_client, to_server, orders.clone(), None));
                tokio::spawn(pump(from_server, to_client, orders.clone(), Some(counted.clone())));
            }
        });
        Self { port, order, down, cuts: AtomicUsize::new(0) }
    }

    pub fn at(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Bytes from the controller so far.
    pub fn down_bytes(&self) -> usize {
        self.down.load(SeqCst)
    }

    pub fn cut(&self) {
        self.order.send_replace(Order::Cut(self.cuts.fetch_add(1, SeqCst)));
    }

    /// Connections stay open, and nothing passes any more.
    pub fn freeze(&self) {
        self.order.send_replace(Order::Freeze);
    }
}

async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut orders: watch::Receiver<Order>,
    counted: Option<Arc<AtomicUsize>>,
) {
    orders.mark_unchanged();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            Ok(()) = orders.changed() => if matches!(*orders.borrow_and_update(), Order::Cut(_)) { return },
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if *orders.borrow() == Order::Freeze => {}
                Ok(bytes) => {
                    if let Some(counted) = &counted {
                        counted.fetch_add(bytes, SeqCst);
                    }
                    if to.write_all(&buffer[..bytes]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}
