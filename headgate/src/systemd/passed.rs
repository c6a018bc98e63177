//! The sockets that a service manager passes (sd_listen_fds(3)). Each is taken once, is not inherited by functions, and what is no listening socket of IP is told and closed.

use headgate_gateway::Opened;
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use std::io;

/// More descriptors than a process has are a mistake.
const PASSED_MAX: usize = 4096;

/// A socket that was passed.
pub struct Passed {
    /// What the manager calls it; may be empty.
    pub name: String,
    /// The socket.
    pub socket: Opened,
}

/// Takes all that were passed to this process. Call it before there is a second thread: it changes the environment.
pub fn take() -> Vec<Passed> {
    let told = |name: &str| std::env::var(name).unwrap_or_default();
    // without it nobody knows whose they are: `ListenFd` would take them
    if told("LISTEN_PID").is_empty() || told("LISTEN_FDS").parse().is_ok_and(|count: usize| count > PASSED_MAX) {
        return Vec::new();
    }
    let names = told("LISTEN_FDNAMES");
    let mut names = names.split(':').map(str::to_owned);
    let mut descriptors = ListenFd::from_env();
    let mut passed = Vec::new();
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default();
        match socket(&mut descriptors, index) {
            Ok(socket) => passed.push(Passed { name, socket }),
            Err(error) => {
                tracing::warn!(number = index + 3, name, %error, "a descriptor that was passed is of no use: it is closed");
                close(&mut descriptors, index);
            }
        }
    }
    passed
}

fn socket(descriptors: &mut ListenFd, index: usize) -> io::Result<Opened> {
    let unfit = || io::Error::new(io::ErrorKind::InvalidInput, "neither a listening socket of TCP nor one of UDP");
    let socket = match descriptors.take_tcp_listener(index) {
        Ok(Some(socket)) if socket_acceptconn(&socket)? => Opened::Tcp(socket),
        Ok(_) => return Err(unfit()),
        Err(_) => descriptors.take_udp_socket(index).ok().flatten().map(Opened::Udp).ok_or_else(unfit)?,
    };
    Ok(socket)
}

/// What was taken is closed already.
fn close(descriptors: &mut ListenFd, index: usize) {
    if let Ok(Some(descriptor)) = descriptors.take_raw_fd(index) {
        let _ = nix::unistd::close(descriptor);
    }
}
