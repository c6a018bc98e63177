//! `echo`: the example function, and the application of our tests. It answers whatever it is asked, and keeps nothing.

mod answer;
mod ask;
mod grpc;
mod stats;
mod websocket;

use crate::{exit, output::Format};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

/// How long a stopping process waits for what still runs.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// Run the example function: a server that answers what it was asked
///
/// Speaks HTTP/1.1, HTTP/2 without TLS, WebSocket and gRPC on one port. With --text it answers that text, otherwise the request:
/// method, path, headers and body, as JSON where `Accept: application/json` asks for it.
///
/// A request can ask for more in its query: ?status=503, ?delay=200ms, ?bytes=1048576 (length of the answer), ?close=1.
/// gRPC: /echo.Echo/Unary, ServerStream (x-count messages, else 3), ClientStream (one message of all), Bidi.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # as a function in a manifest
  command: [headgate]
  args: [echo, --text, hello-v1]

  # by hand
  PORT=9001 headgate echo
  curl 'http://127.0.0.1:9001/a?delay=200ms&status=503' -H 'Accept: application/json'

  # a function that starts slowly, and one that cannot start
  headgate echo --start-delay 1s
  headgate echo --crash")]
pub struct Args {
    /// The port to listen on
    #[arg(long, env = "PORT", hide_env_values = true, default_value_t = 8080)]
    port: u16,
    /// The address to listen on; every address in a cluster, otherwise 127.0.0.1
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Answer this text and a line break
    #[arg(long)]
    text: Option<String>,
    /// Format of echoed requests where Accept does not say: text or json
    #[arg(short, long, value_enum, default_value_t, hide_possible_values = true)]
    output: Format,
    /// Listen only after this time, as a slow application would
    #[arg(long, value_name = "TIME", value_parser = headgate_gateway::limits::parse_duration, default_value = "0")]
    start_delay: Duration,
    /// Print a message and exit with 1 at once, as a broken application would
    #[arg(long)]
    crash: bool,
    /// Count requests, most at once and their ids in order; /__stats shows them as JSON
    #[arg(long)]
    concurrency_limit_check: bool,
    /// Do not stop at SIGTERM, as a stubborn application would
    #[arg(long)]
    ignore_sigterm: bool,
    /// Exit at SIGTERM at once, whatever runs, as many runtimes do
    #[arg(long, conflicts_with = "ignore_sigterm")]
    exit_at_sigterm: bool,
}

/// What all connections share.
struct Echo {
    text: Option<String>,
    prefers_json: bool,
    stats: Option<stats::Stats>,
    stopping: watch::Receiver<bool>,
    /// Everything that must end before the process does has a copy.
    alive: mpsc::Sender<()>,
}

/// Serves until SIGTERM or Ctrl-C, and then until running requests have ended, unless it is not to wait for them.
pub fn run(args: Args) -> ExitCode {
    if args.crash {
        return exit::fail(exit::PROBLEMS, "crashed at start, as --crash asks", "");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(exit::PROBLEMS, &error.to_string(), ""),
    }
}

async fn serve(args: Args) -> io::Result<()> {
    let mut stop = Stop::new(args.ignore_sigterm)?;
    tokio::select! {
        () = tokio::time::sleep(args.start_delay) => {}
        () = stop.asked() => return Ok(()),
    }
    let listener = listen(args.address, args.port).await?;
    eprintln!("echo listens on {}", listener.local_addr()?);
    let (tell, stopping) = watch::channel(false);
    let (alive, mut all_ended) = mpsc::channel(1);
    let echo = Echo {
        text: args.text.map(|text| text + "\n"),
        prefers_json: args.output == Format::Json,
        stats: args.concurrency_limit_check.then(stats::Stats::default),
        stopping,
        alive,
    };
    let echo = Arc::new(echo);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(tokio::spawn(connection(echo.clone(), socket))),
                // no descriptors left, or a client that was gone before: neither ends the server
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            () = stop.asked() => break,
        }
    }
    if args.exit_at_sigterm {
        return Ok(());
    }
    drop(listener);
    drop(echo);
    // nobody may be there to be told
    let _ = tell.send(true);
    let _ = tokio::time::timeout(DRAIN_LIMIT, all_ended.recv()).await;
    Ok(())
}

/// In a cluster other machines connect; on a laptop they should not.
async fn listen(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let all = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let addresses = match address {
        Some(address) => vec![address],
        None if in_cluster => all.to_vec(),
        None => vec![Ipv4Addr::LOCALHOST.into()],
    };
    let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    TcpListener::bind(&addresses[..])
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))
}

async fn connection(echo: Arc<Echo>, socket: TcpStream) {
    let _alive = echo.alive.clone();
    let mut stopping = echo.stopping.clone();
    // answers are small and awaited
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| answer::answer(echo.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(socket), service));
    // how a connection ends concerns its client only
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Waits until the process stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // the other end goes only with the process
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The signals that end the process.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    ignores_terminate: bool,
}

impl Stop {
    fn new(ignores_terminate: bool) -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, ignores_terminate })
    }

    async fn asked(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => if !self.ignores_terminate { return },
                _ = self.interrupt.recv() => return,
            }
        }
    }
}
