//! A second, tiny process that ends what a killed gateway leaves behind. It knows process groups only, and never outlives them.
//!
//! SIGKILL cannot be caught, and the parent-death signal of Linux reaches only the direct child, dies with the *thread* that
//! spawned it, and does not exist elsewhere. So the gateway keeps a pipe to a guard and writes which groups live; at the end of
//! the pipe, for whatever reason, the guard ends the groups that are left.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What is left of a gateway that was killed gets this long between SIGTERM and SIGKILL.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// The gateway's end of the pipe.
#[derive(Debug)]
pub(super) struct Guard(Mutex<State>);

#[derive(Debug)]
struct State {
    child: Child,
    pipe: Option<ChildStdin>,
    watched: BTreeSet<i32>,
}

impl Guard {
    /// Starts `command`, which must call [`supervise`].
    pub fn spawn(command: &[OsString]) -> io::Result<Self> {
        let [program, arguments @ ..] = command else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the guard has no command"));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // away from Ctrl-C of the terminal, which must not end the guard before the gateway
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self(Mutex::new(State { child, pipe, watched: BTreeSet::new() })))
    }

    /// From now on the group ends with the gateway.
    pub fn watch(&self, group: Pid) {
        self.say('+', group, |watched| watched.insert(group.as_raw()));
    }

    /// The group is gone: its number may soon be somebody else's.
    pub fn forget(&self, group: Pid) {
        self.say('-', group, |watched| watched.remove(&group.as_raw()));
    }

    fn say(&self, sign: char, group: Pid, note: impl FnOnce(&mut BTreeSet<i32>) -> bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut state.watched);
        let Some(pipe) = &mut state.pipe else { return };
        if let Err(error) = writeln!(pipe, "{sign}{group}") {
            tracing::warn!("the guard of function processes is gone ({error}): if this gateway is killed, they stay");
            state.pipe = None;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.pipe = None;
        // with nothing to end it ends at once; otherwise it must not hold us up
        if state.watched.is_empty() {
            let _ = state.child.wait();
        }
    }
}

/// The life of the guard process: reads standard input to its end, then ends the groups that are left.
///
/// Lines are `+GROUP` (watch) and `-GROUP` (forget).
pub fn supervise() -> ExitCode {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(group) = line.get(1..).unwrap_or_default().parse::<i32>() else { continue };
        match line.as_bytes()[0] {
            // 0 and 1 would be our own group and everybody
            b'+' if group > 1 => drop(groups.insert(group)),
            b'-' => drop(groups.remove(&group)),
            _ => {}
        }
    }
    end(groups);
    ExitCode::SUCCESS
}

fn end(mut groups: BTreeSet<i32>) {
    groups.retain(|group| killpg(Pid::from_raw(*group), Signal::SIGTERM).is_ok());
    let deadline = Instant::now() + ORPHAN_GRACE;
    while !groups.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        groups.retain(|group| killpg(Pid::from_raw(*group), None).is_ok());
    }
    for group in groups {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}
