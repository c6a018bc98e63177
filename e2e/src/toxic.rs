//! A TCP proxy before an application that does to connections what networks and dying machines do. It never looks at what it passes on.

use crate::{free_port, within};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What is done to what passes; the kinds of toxiproxy, and `Gone`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Toxic {
    /// Each piece waits so long.
    Latency(Duration),
    /// So many bytes a second.
    Bandwidth(usize),
    /// The end of a direction is passed on so much later.
    SlowClose(Duration),
    /// Pieces of so many bytes, with a pause after each.
    Slices(usize, Duration),
    /// The connection is closed after so many bytes.
    Limit(usize),
    /// The connection is reset after so many bytes.
    Reset(usize),
    /// Nothing passes, and nobody says so.
    Hole,
    /// Nobody listens, and what was open is reset.
    Gone,
}

/// Which direction is poisoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the gateway to the application.
    Up,
    /// From the application to the gateway.
    Down,
    /// Each of them.
    Both,
}

/// A toxic in one direction or both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poison {
    /// What is done.
    pub toxic: Toxic,
    /// To which direction; `Gone` concerns the whole connection.
    pub flow: Flow,
}

impl Poison {
    /// A toxic for what the application sends.
    pub fn down(toxic: Toxic) -> Self {
        Self { toxic, flow: Flow::Down }
    }

    /// A toxic for what the application is sent.
    pub fn up(toxic: Toxic) -> Self {
        Self { toxic, flow: Flow::Up }
    }
}

type Poisoned = watch::Receiver<Option<Poison>>;

/// The proxy; it passes everything on until it is poisoned.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    poison: watch::Sender<Option<Poison>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Opens one before an application.
    pub async fn before(application: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = TcpListener::bind(address).await.unwrap();
        let (poison, poisoned) = watch::channel(None);
        let task = tokio::spawn(accept(listener, application, poisoned));
        Self { address, poison, task }
    }

    /// Poisons connections, those that are open too; `None` heals.
    pub fn poison(&self, poison: impl Into<Option<Poison>>) {
        self.poison.send_replace(poison.into());
    }

    /// Whether it is poisoned.
    pub fn is_poisoned(&self) -> bool {
        self.poison.borrow().is_some()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_gone(poison: &Option<Poison>) -> bool {
    poison.is_some_and(|poison| poison.toxic == Toxic::Gone)
}

/// Listens, but while nobody is there; until the proxy is dropped.
async fn accept(listener: TcpListener, application: SocketAddr, mut poisoned: Poisoned) {
    let address = listener.local_addr().unwrap();
    let mut open = Some(listener);
    loop {
        let gone = is_gone(&poisoned.borrow_and_update());
        if gone {
            open = None;
        } else if open.is_none() {
            open = Some(within("the port of a proxy", bind(address)).await);
        }
        let accepted = async {
            match &open {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => if let Ok((near, _)) = accepted {
                tokio::spawn(pass(near, application, poisoned.clone()));
            },
            changed = poisoned.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Listens again, once the port can be had.
async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// How a connection ends before both directions have.
enum Cut {
    Closed,
    Reset,
}

async fn pass(mut near: TcpStream, application: SocketAddr, mut poisoned: Poisoned) {
    let Ok(mut far) = TcpStream::connect(application).await else { return };
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let cut = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let up = pump(near_read, far_write, Flow::Up, poisoned.clone());
        let down = pump(far_read, near_write, Flow::Down, poisoned.clone());
        tokio::select! {
            passed = async { tokio::try_join!(up, down) } => passed.err(),
            gone = poisoned.wait_for(is_gone) => Some(if gone.is_ok() { Cut::Reset } else { Cut::Closed }),
        }
    };
    if let Some(Cut::Reset) = cut {
        let _ = near.set_zero_linger().and_then(|()| far.set_zero_linger());
    }
}

/// Passes one direction on until it ends, or the whole connection does.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, flow: Flow, mut poisoned: Poisoned) -> Result<(), Cut> {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let poison = *poisoned.borrow_and_update();
        let toxic = poison.filter(|poison| [flow, Flow::Both].contains(&poison.flow)).map(|poison| poison.toxic);
        if toxic == Some(Toxic::Hole) {
            poisoned.changed().await.map_err(|_| Cut::Closed)?;
            continue;
        }
        let count = tokio::select! {
            read = from.read(&mut buffer) => read.map_err(|_| Cut::Reset)?,
            changed = poisoned.changed() => {
                changed.map_err(|_| Cut::Closed)?;
                passed = 0;
                continue;
            }
        };
        if count == 0 {
            if let Some(Toxic::SlowClose(time)) = toxic {
                sleep(time).await;
            }
            return to.shutdown().await.map_err(|_| Cut::Reset);
        }
        pass_on(&buffer[..count], &mut to, toxic, passed).await?;
        passed += count;
    }
}

/// Passes a piece on, as the toxic has it; `passed` bytes went before it since the proxy was poisoned.
async fn pass_on(piece: &[u8], to: &mut WriteHalf<'_>, toxic: Option<Toxic>, passed: usize) -> Result<(), Cut> {
    /// Steps of a narrow line a second.
    const STEPS: usize = 50;
    let (most, end) = match toxic {
        Some(Toxic::Limit(most)) => (most, Cut::Closed),
        Some(Toxic::Reset(most)) => (most, Cut::Reset),
        _ => (usize::MAX, Cut::Closed),
    };
    let (size, pause) = match toxic {
        Some(Toxic::Bandwidth(a_second)) => (a_second.div_ceil(STEPS), Duration::from_secs(1) / STEPS as u32),
        Some(Toxic::Slices(size, pause)) => (size, pause),
        _ => (piece.len(), Duration::ZERO),
    };
    if let Some(Toxic::Latency(time)) = toxic {
        sleep(time).await;
    }
    for part in piece[..piece.len().min(most.saturating_sub(passed))].chunks(size.max(1)) {
        to.write_all(part).await.map_err(|_| Cut::Reset)?;
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    if passed + piece.len() >= most { Err(end) } else { Ok(()) }
}
