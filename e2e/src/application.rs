//! The application behind functions of tests, and what it remembers: a file with a line for each request, in the order of their arrival.

use crate::{
    message::{NoMessage, Reader},
    pattern,
};
use std::{
    env, fs,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

/// One request as the application got it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The field `x-order`: what the client numbered it.
    pub order: usize,
    /// How many requests this process was at, with this one.
    pub at_once: usize,
    /// The process.
    pub process: u32,
    /// Bytes of its body.
    pub length: usize,
    /// Whether each of them is what the client sent.
    pub intact: bool,
}

/// What applications have told a file.
pub fn arrivals(file: &Path) -> Vec<Arrival> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let number = |text: &str| text.parse::<usize>().unwrap();
    let read = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [order, at_once, process, length, intact] = words[..] else { panic!("{line:?}") };
        Arrival {
            order: number(order),
            at_once: number(at_once),
            process: number(process) as u32,
            length: number(length),
            intact: intact == "true",
        }
    };
    text.lines().map(read).collect()
}

/// The program: listens on `PORT`, `LISTEN_AFTER_MS` after its start, and not before the file `LISTEN_WHEN` is there; leaves with the first connection unless the file `STAY_WHEN` is there; answers `HOLD_MS` after a request is complete; tells `LOG`.
/// `/bytes/1000` is answered with so many bytes of the pattern.
pub fn application() {
    let wanted = |name: &str| Duration::from_millis(env::var(name).map_or(0, |text| text.parse().unwrap()));
    std::thread::sleep(wanted("LISTEN_AFTER_MS"));
    while env::var("LISTEN_WHEN").is_ok_and(|file| !Path::new(&file).exists()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let port: u16 = env::var("PORT").unwrap().parse().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        if env::var("STAY_WHEN").is_ok_and(|file| !Path::new(&file).exists()) {
            listener.accept().await.unwrap();
            std::process::exit(7);
        }
        let at_once = Arc::new(AtomicUsize::new(0));
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket, at_once.clone(), wanted("HOLD_MS")));
        }
    });
}

async fn serve(mut socket: TcpStream, at_once: Arc<AtomicUsize>, hold: Duration) {
    socket.set_nodelay(true).unwrap();
    let mut reader = Reader::new();
    loop {
        let mut request = match reader.request_head(&mut socket).await {
            Ok(request) => request,
            Err(NoMessage::Malformed(why)) => panic!("no HTTP: {why}"),
            Err(_) => return,
        };
        let now = at_once.fetch_add(1, SeqCst) + 1;
        let complete = reader.request_body(&mut socket, &mut request).await.is_ok();
        let intact = complete && request.body == pattern(request.body.len());
        let order = request.field("x-order").unwrap_or("0");
        tell(&format!("{order} {now} {} {} {intact}\n", std::process::id(), request.body.len()));
        tokio::time::sleep(hold).await;
        at_once.fetch_sub(1, SeqCst);
        let body = match request.target.strip_prefix("/bytes/") {
            Some(count) => pattern(count.parse().unwrap()),
            None => format!("{order} {} {intact}", request.body.len()).into_bytes(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if socket.write_all(head.as_bytes()).await.is_err() || socket.write_all(&body).await.is_err() {
            return;
        }
    }
}

/// One write, so that lines of several processes stay whole.
fn tell(line: &str) {
    let Ok(path) = env::var("LOG") else { return };
    fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}
