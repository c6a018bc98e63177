//! What is broken in a cluster, and mended again whatever happens: components of the control plane, and processes of Pods. It reaches nothing outside its cluster.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, net::IpAddr, path::Path, process::Command, time::Duration};

/// A component that was stopped; it is started again at the latest when this is dropped.
pub struct Stopped(&'static str);

impl Stopped {
    /// Stops it, and waits until it has ended.
    pub fn of(component: &'static str) -> Self {
        part("stop", component);
        Self(component)
    }

    /// Ends it without a warning.
    pub fn killed(component: &'static str) -> Self {
        part("kill", component);
        Self(component)
    }

    /// Starts it again; whether it is ready is not waited for.
    pub fn start(self) {}
}

/// Starts Kubernetes' own controllers anew, as they do themselves where they lost their lease: while the API server was away they have
/// come to wait for up to a minute between two looks.
pub fn renew_controllers() {
    for component in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        Stopped::of(component).start();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        part("start", self.0);
    }
}

fn part(what: &str, component: &str) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/part");
    let status = Command::new(program).args([what, component]).status().expect("e2e/cluster/part runs");
    assert!(status.success() || std::thread::panicking(), "part {what} {component} failed");
}

/// A process that stands still; it goes on at the latest when this is dropped.
pub struct Paused(Pid);

impl Paused {
    /// Stops the time of a Pod's program.
    pub fn pod(pod: &str) -> Self {
        let process = process_of(pod);
        kill(process, Signal::SIGSTOP).unwrap();
        Self(process)
    }

    /// Lets it go on.
    pub fn resume(self) {}
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Ends a Pod's program without a warning; its container starts again.
pub fn crash(pod: &str) {
    kill(process_of(pod), Signal::SIGKILL).unwrap();
}

/// The program of a Pod of ours, which knows the Pod's name by its environment.
fn process_of(pod: &str) -> Pid {
    let wanted = format!("POD_NAME={pod}");
    let is_it = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let program = fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default();
        let is_ours = program.to_string_lossy().contains("headgate");
        is_ours && environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Pid::from_raw(ids.find(is_it).unwrap_or_else(|| panic!("the program of Pod {pod} does not run here")))
}

/// A Pod that does not reach the API server, nor is reached by it: what was open is silent, and nothing new opens. It does at the latest when
/// this is dropped.
pub struct Severed;

impl Severed {
    const TABLE: &str = "severed";

    /// Cuts it off by its address.
    pub fn pod(address: IpAddr) -> Self {
        let table = Self::TABLE;
        let chains = format!(
            "table ip {table} {{
                chain up {{ type filter hook input priority -10; ip saddr {address} tcp dport 6443 drop; }}
                chain down {{ type filter hook output priority -10; ip daddr {address} tcp sport 6443 drop; }}
            }}"
        );
        assert!(nft(&[&chains]), "nft takes {chains}");
        Self
    }

    /// Joins it again.
    pub fn mend(self) {}
}

impl Drop for Severed {
    fn drop(&mut self) {
        nft(&["delete", "table", "ip", Self::TABLE]);
    }
}

fn nft(words: &[&str]) -> bool {
    Command::new("nft").args(words).status().expect("nft runs").success()
}

/// Whether stories are told in full size, whatever time that takes: `HEADGATE_FULL` is set.
pub fn is_full() -> bool {
    std::env::var_os("HEADGATE_FULL").is_some()
}

/// A time that a story takes: `short`, or `whole` in full size.
pub fn lasting(short: Duration, whole: Duration) -> Duration {
    if is_full() { whole } else { short }
}
