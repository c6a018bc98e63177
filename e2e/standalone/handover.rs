//! One process follows another: no request is lost, what has begun ends where it began, and one that fails changes nothing.

use crate::{
    service::{datagrams, echo},
    stories::{self, let_listen, log, waiting},
};
use headgate_e2e::{Function, Headgate, Origin, Script, Wire, arrivals, backend, free_port, route, until, within};
use nix::sys::signal::Signal;
use std::{fs, net::TcpListener, os::unix::process::CommandExt, path::PathBuf, process::Command};
use tempfile::TempDir;
use tokio::net::UdpSocket;

const HOST: &str = "app.localhost";

fn same(command: Command) -> Command {
    command
}

/// Where processes follow each other.
fn line() -> (TempDir, String) {
    let line = tempfile::tempdir().unwrap();
    let path = line.path().join("next").display().to_string();
    (line, path)
}

async fn plain(path: &str) -> (Origin, Headgate) {
    let origin = Origin::start(|request| match request.field("upgrade") {
        Some(_) => Script::default()
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .tunnel(),
        None => Script::ok("here"),
    })
    .await;
    let files =
        [("app.yaml", backend("app", None, &[origin.address])), ("route.yaml", route("app", HOST, &[("app", 1)]))];
    let headgate = Headgate::run_with(&["--handover", path, "--drain-grace", "20s"], &files).await;
    (origin, headgate)
}

#[tokio::test]
async fn no_request_fails_while_processes_follow_each_other() {
    stories::handovers(2, 3_000).await;
}

#[tokio::test]
async fn what_was_upgraded_ends_in_the_process_where_it_began() {
    let (_line, path) = line();
    let (_origin, mut old) = plain(&path).await;
    let mut websocket = Wire::open(old.address).await;
    let upgrade = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(websocket.ask(upgrade).await.status, 101);
    let mut kept = Wire::open(old.address).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert!(kept.ask(&get).await.keeps_alive());

    let new = old.start_next(same, &["--handover", &path]);
    new.printed("follows process").await;
    let last = kept.ask(&get).await;
    assert_eq!((last.status, last.keeps_alive()), (200, false), "its client is sent to the new one");
    websocket.send("still here").await;
    assert_eq!(websocket.bytes(10).await, b"still here");
    assert_eq!(new.get(HOST, "/").await.status, 200);
    assert_eq!(new.metric("headgate_carried_open", "").await, 0.0, "the admin port is the new one's");
    drop(websocket);
    assert!(old.exit().await.success());
    assert_eq!(new.get(HOST, "/").await.status, 200);
    new.stop().await;
    assert!(!PathBuf::from(&path).exists(), "nothing is left");
}

/// One datagram after the other: the next one is sent when the last one came back, and none twice.
#[tokio::test]
async fn datagrams_find_the_new_process_and_none_is_lost() {
    let (_line, path) = line();
    let port = free_port();
    let flags = ["--handover", path.as_str()];
    let mut old = Headgate::run_with(&flags, &[("dns.yaml", datagrams(port, echo().await))]).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(("127.0.0.1", port)).await.unwrap();
    let ask = async |number: u32| {
        client.send(&number.to_be_bytes()).await.unwrap();
        let mut answer = [0; 16];
        let length = within("an answer", client.recv(&mut answer)).await.unwrap();
        assert_eq!(answer[..length], number.to_be_bytes());
    };
    let mut number = 0;
    let mut new = None;
    while number < 2_000 {
        ask(number).await;
        number += 1;
        if number == 500 {
            new = Some(old.start_next(same, &flags));
        }
        // the last ones are of the new process alone
        if number == 1_500 {
            let new = new.as_ref().unwrap();
            new.printed("follows process").await;
            until("the client in the new one", async || {
                ask(number).await;
                number += 1;
                new.metric("headgate_carried_open", "").await == 1.0
            })
            .await;
        }
    }
    assert!(old.exit().await.success());
    ask(number).await;
    new.unwrap().stop().await;
}

#[tokio::test]
async fn each_process_has_functions_of_its_own_and_a_cold_one_starts_where_it_is_waited_for() {
    let (_line, path) = line();
    let home = tempfile::tempdir().unwrap();
    let host = "busy.default.localhost";
    let files = [("busy.yaml", waiting(&home).to_string())];
    let flags = ["--handover", path.as_str(), "--drain-grace", "20s"];
    let mut old = Headgate::run_with(&flags, &files).await;
    let mut held = Wire::open(old.address).await;
    held.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Order: 1\r\n\r\n")).await;
    let app = env!("CARGO_BIN_EXE_app");
    until("its start", async || old.count(app) == 1).await;

    let new = old.start_next(same, &flags);
    new.printed("follows process").await;
    assert_eq!((old.count(app), new.count(app)), (1, 0), "nobody asked the new one");
    let mut asks_new = Wire::open(new.address).await;
    asks_new.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Order: 2\r\n\r\n")).await;
    until("a start in the new one", async || new.count(app) == 1).await;
    assert_eq!(old.count(app), 1);
    let_listen(&home);
    let (first, second) = (held.answer().await, asks_new.answer().await);
    assert_eq!((first.status, first.keeps_alive(), second.status), (200, false, 200));
    assert!(old.exit().await.success(), "with its function");
    let told = arrivals(&log(&home));
    let of =
        |order| told.iter().filter(|arrival| arrival.order == order).map(|arrival| arrival.process).collect::<Vec<_>>();
    assert_eq!((of(1).len(), of(2).len()), (1, 1), "each request reached one function, once");
    assert_ne!(of(1), of(2));
    assert_eq!(asks_new.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Order: 3\r\n\r\n")).await.status, 200);
    new.stop().await;
}

#[tokio::test]
async fn one_that_fails_before_it_serves_changes_nothing() {
    let (_line, path) = line();
    let (_origin, old) = plain(&path).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let mut kept = Wire::open(old.address).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    for _ in 0..2 {
        let mut new = old.start_next(same, &["--handover", &path, "--admin", &admin]);
        assert_eq!(new.exit().await.code(), Some(2));
        new.printed("--admin").await;
        old.printed("this one serves on").await;
        old.forget();
        let answer = kept.ask(&get).await;
        assert_eq!((answer.status, answer.keeps_alive()), (200, true));
        assert_eq!(old.get(HOST, "/").await.status, 200);
    }
    // one that is right is followed
    let mut old = old;
    let new = old.start_next(same, &["--handover", &path]);
    new.printed("follows process").await;
    drop(kept);
    assert!(old.exit().await.success());
    new.stop().await;
}

#[tokio::test]
async fn what_a_killed_process_left_is_no_obstacle_and_what_is_something_else_is_kept() {
    let (line, path) = line();
    let (_origin, mut old) = plain(&path).await;
    old.signal(Signal::SIGKILL);
    old.exit().await;
    let mut new = old.start_next(same, &["--handover", &path]);
    new.printed("ready in").await;
    assert_eq!(new.get(HOST, "/").await.status, 200);
    new.signal(Signal::SIGTERM);
    assert!(new.exit().await.success());

    let file = line.path().join("file");
    fs::write(&file, "mine").unwrap();
    let mut refused = new.start_next(same, &["--handover", file.to_str().unwrap()]);
    assert_eq!(refused.exit().await.code(), Some(2));
    refused.printed("something else is there").await;
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn another_user_follows_nobody() {
    use std::os::unix::fs::PermissionsExt;
    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        println!("not tried: only root can start a process of another user");
        return;
    }
    let (line, path) = line();
    let (_origin, old) = plain(&path).await;
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600, "the file system refuses already");
    // also where it does not
    for (path, mode) in [(line.path().to_str().unwrap(), 0o755), (old.home().to_str().unwrap(), 0o755), (&path, 0o666)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let admin = format!("127.0.0.1:{}", free_port());
    let flags = ["--handover", path.as_str(), "--admin", &admin, "--access-log", "none"];
    let as_nobody = |mut command: Command| {
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let mut other = old.start_next(as_nobody, &flags);
    assert_eq!(other.exit().await.code(), Some(2));
    other.printed("is of another user").await;
    assert_eq!(old.get(HOST, "/").await.status, 200);
    old.stop().await;
}

#[tokio::test]
async fn functions_of_the_old_one_are_gone_with_it() {
    let (_line, path) = line();
    let files = [("warm.yaml", Function::named("warm").to_string())];
    let flags = ["--handover", path.as_str()];
    let mut old = Headgate::run_with(&flags, &files).await;
    assert_eq!(old.get("warm.default.localhost", "/").await.text(), "warm\n");
    assert_eq!(old.count("echo"), 1);
    let new = old.start_next(same, &flags);
    new.printed("follows process").await;
    assert_eq!(new.get("warm.default.localhost", "/").await.text(), "warm\n");
    assert!(old.exit().await.success(), "exit() waits until no process is left");
    assert_eq!(new.count("echo"), 1);
    new.stop().await;
}
