//! What the service manager is told of this process (sd_notify(3)): ready, reloading, stopping, alive, and a line for people. It never waits for the manager, and never fails because of it.

use rustix::time::{ClockId, clock_gettime};
use std::{
    cell::{Cell, RefCell},
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The manager; one that is not there takes everything in silence.
#[derive(Default)]
pub struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that this process is alive.
    watchdog: Option<Duration>,
    status: RefCell<String>,
    stops: Cell<bool>,
    failed: Cell<bool>,
}

impl Manager {
    /// The one that the environment names. What it says and nobody can follow is told, and left.
    pub fn from_env() -> Self {
        let Some(named) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let to = address(&named).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        let to = to.inspect(|(socket, _)| drop(socket.set_nonblocking(true)));
        let to =
            to.inspect_err(|error| tracing::warn!(socket = %named.display(), %error, "NOTIFY_SOCKET cannot be used"));
        let text = |name: &str| std::env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        Self { to: to.ok(), watchdog, ..Self::default() }
    }

    /// It serves.
    pub fn ready(&self) {
        if !self.stops.get() {
            self.tell(&format!("READY=1\n{}", self.status_line()));
        }
    }

    /// It reads everything again, until [`Manager::ready`].
    pub fn reloading(&self) {
        if !self.stops.get() {
            let now = clock_gettime(ClockId::Monotonic);
            let now_us = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
        }
    }

    /// It ends, within `limit` at the most.
    pub fn stopping(&self, status: &str, limit: Duration) {
        self.stops.set(true);
        status.clone_into(&mut self.status.borrow_mut());
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n{}", limit.as_micros(), self.status_line()));
    }

    /// What it does, in one line; told once ready, and then when it changes.
    pub fn status(&self, status: &str, tell: bool) {
        let changed = *self.status.borrow() != status;
        if changed && !self.stops.get() {
            status.clone_into(&mut self.status.borrow_mut());
            if tell {
                self.tell(&self.status_line());
            }
        }
    }

    /// How often to call [`Manager::alive`]: twice in the time after which the manager gives up.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// It goes on.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn status_line(&self) -> String {
        format!("STATUS={}", self.status.borrow().replace('\n', " "))
    }

    fn tell(&self, message: &str) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), to)
            && !self.failed.replace(true)
        {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// A path, or with `@` before it a name of the abstract namespace.
fn address(named: &OsStr) -> io::Result<SocketAddr> {
    match named.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(named),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor begins with @")),
    }
}

/// The time after which the manager gives up, if it asked this process for signs of life (sd_watchdog_enabled(3)).
fn watchdog(limit_us: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let limit_us: u64 = limit_us?.parse().ok()?;
    (is_ours && limit_us > 0).then(|| Duration::from_micros(limit_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_of_one_process() {
        let seconds = Some(Duration::from_secs(2));
        assert_eq!(watchdog(Some("2000000"), None, 7), seconds);
        assert_eq!(watchdog(Some("2000000"), Some("7"), 7), seconds);
        assert_eq!(watchdog(Some("2000000"), Some("8"), 7), None);
        assert_eq!(watchdog(Some("0"), None, 7), None);
        assert_eq!(watchdog(Some("soon"), None, 7), None);
        assert_eq!(watchdog(None, Some("7"), 7), None);
    }

    #[test]
    fn a_socket_is_a_path_or_a_name() {
        assert!(address(OsStr::new("/run/notify")).unwrap().as_pathname().is_some());
        assert_eq!(address(OsStr::new("@notify")).unwrap().as_abstract_name(), Some(&b"notify"[..]));
        assert!(address(OsStr::new("vsock:2:1234")).is_err());
    }

    #[test]
    fn a_manager_is_told_in_its_words_and_nothing_but_the_end_once_it_stops() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let to = Some((UnixDatagram::unbound().unwrap(), SocketAddr::from_pathname(&path).unwrap()));
        let manager = Manager { to, ..Manager::default() };
        let next = || {
            let mut datagram = [0; 512];
            heard.recv(&mut datagram).map(|length| String::from_utf8_lossy(&datagram[..length]).into_owned()).ok()
        };
        manager.status("serving 1 route", false);
        assert_eq!(next(), None);
        manager.ready();
        assert_eq!(next().unwrap(), "READY=1\nSTATUS=serving 1 route");
        manager.status("serving 2\nroutes", true);
        assert_eq!(next().unwrap(), "STATUS=serving 2 routes");
        manager.status("serving 2\nroutes", true);
        assert_eq!(next(), None, "what has not changed is not told again");
        manager.reloading();
        let reloading = next().unwrap();
        let since: u64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(since > 0);
        manager.stopping("draining", Duration::from_secs(3));
        assert_eq!(next().unwrap(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=3000000\nSTATUS=draining");
        manager.ready();
        manager.reloading();
        manager.status("serving", true);
        assert_eq!(next(), None);
    }
}
