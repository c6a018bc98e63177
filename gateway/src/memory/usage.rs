//! How much memory is used, and how much there may be: of this process by a flag, or of its control group (cgroup v2) by its limit. Counts only what the system cannot take back; never what it keeps of files.

use super::Reading;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups are, and the file that names the one of this process. Source: cgroups(7).
const CGROUPS: &str = "/sys/fs/cgroup";
const OWN_CGROUP: &str = "/proc/self/cgroup";
const OWN_STATUS: &str = "/proc/self/status";

/// What is measured.
#[derive(Debug)]
pub enum Usage {
    /// This process, against a budget that was given.
    Own(u64),
    /// The control group of this process and those around it, innermost first: the tightest counts. Of none, only this process without a budget.
    Groups(Vec<PathBuf>),
}

impl Usage {
    /// By the flag `--memory`; 0 is whatever bounds the process.
    pub fn of(given: u64) -> Self {
        match given {
            0 => {
                let named = fs::read_to_string(OWN_CGROUP).unwrap_or_default();
                Self::Groups(groups(Path::new(CGROUPS), &named))
            }
            budget => Self::Own(budget),
        }
    }

    /// Measures all but the load; `None` where the system does not tell.
    pub fn read(&self) -> Option<Reading> {
        match self {
            Self::Own(budget) => Some(Reading { bytes: own_bytes()?, budget: *budget, load: 0 }),
            // limits are read each time: they can be changed while it runs
            Self::Groups(groups) => match tightest(groups) {
                Some((group, budget)) => {
                    let bytes = bytes_of_group(&fs::read_to_string(group.join("memory.stat")).ok()?)?;
                    Some(Reading { bytes, budget, load: 0 })
                }
                None => Some(Reading { bytes: own_bytes()?, ..Reading::default() }),
            },
        }
    }
}

fn own_bytes() -> Option<u64> {
    bytes_of_process(&fs::read_to_string(OWN_STATUS).ok()?)
}

/// The folders of the control group that `/proc/self/cgroup` names and of those around it. In a container that sees its own only, that is the root.
fn groups(root: &Path, named: &str) -> Vec<PathBuf> {
    let path = named.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let is_below = |path: &Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let own = if is_below(Path::new(path)) { root.join(path) } else { root.to_owned() };
    let around = own.ancestors().take_while(|folder| folder.starts_with(root));
    around.filter(|folder| folder.join("memory.max").is_file()).map(Path::to_owned).collect()
}

/// Of those that have a limit, the one with the least.
fn tightest(groups: &[PathBuf]) -> Option<(&Path, u64)> {
    let limit = |group: &PathBuf| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok();
    let limited = groups.iter().filter_map(|group| Some((group.as_path(), limit(group)?)));
    limited.min_by_key(|(_, limit)| *limit)
}

/// What a process has of its own. Source: proc_pid_status(5).
fn bytes_of_process(status: &str) -> Option<u64> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let own = kib("RssAnon").map(|anon| anon + kib("RssShmem").unwrap_or(0));
    own.or_else(|| kib("VmRSS")).map(|kib| kib << 10)
}

/// What a control group has that cannot be taken back: memory of programs, and of the kernel for them, sockets among it. Source: the
/// kernel's cgroup-v2.rst, `memory.stat`.
fn bytes_of_group(stat: &str) -> Option<u64> {
    const COUNTED: [&str; 6] = ["anon", "shmem", "kernel_stack", "pagetables", "slab_unreclaimable", "sock"];
    let pairs = stat.lines().filter_map(|line| line.split_once(' '));
    let counted: Vec<u64> =
        pairs.filter(|(name, _)| COUNTED.contains(name)).filter_map(|(_, bytes)| bytes.parse().ok()).collect();
    (!counted.is_empty()).then(|| counted.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A folder with control groups and their limits; it ends with the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, groups: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("headgate-cgroups-{}-{name}", std::process::id()));
            for (group, limit) in groups {
                fs::create_dir_all(root.join(group)).unwrap();
                fs::write(root.join(group).join("memory.max"), limit).unwrap();
            }
            Self(root)
        }

        fn tightest(&self, named: &str) -> Option<(String, u64)> {
            let groups = groups(&self.0, named);
            let (group, limit) = tightest(&groups)?;
            Some((group.strip_prefix(&self.0).unwrap().display().to_string(), limit))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let tree = Tree::new("container", &[("", "268435456\n")]);
        assert_eq!(tree.tightest("0::/\n"), Some((String::new(), 256 << 20)));
        // its process came from outside, and the path leads there
        assert_eq!(tree.tightest("0::/../../init.scope\n"), Some((String::new(), 256 << 20)));
        // it names the path of the host, which does not exist here
        assert_eq!(tree.tightest("0::/kubepods.slice/pod1/container\n"), Some((String::new(), 256 << 20)));
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let groups =
            [("system.slice", "max\n"), ("system.slice/a.service", "512\n"), ("system.slice/a.service/b", "max")];
        let tree = Tree::new("nested", &groups);
        let named = "1:name=systemd:/x\n0::/system.slice/a.service/b\n";
        assert_eq!(tree.tightest(named), Some(("system.slice/a.service".into(), 512)));
        fs::write(tree.0.join("system.slice/memory.max"), "100").unwrap();
        assert_eq!(tree.tightest(named), Some(("system.slice".into(), 100)));
    }

    #[test]
    fn without_a_limit_there_is_no_budget() {
        assert_eq!(Tree::new("none", &[("a", "max\n")]).tightest("0::/a\n"), None);
        // cgroup v1 only
        assert_eq!(Tree::new("old", &[]).tightest("4:memory:/a\n"), None);
        let reading = Usage::Groups(Vec::new()).read().unwrap();
        assert!(reading.bytes > 0 && reading.budget == 0, "{reading:?}");
        assert_eq!(Usage::Own(7).read().unwrap().budget, 7);
    }

    #[test]
    fn what_can_be_taken_back_is_not_counted() {
        let status = "Name:\theadgate\nVmHWM:\t   40000 kB\nVmRSS:\t   30000 kB\nRssAnon:\t   12000 kB\nRssFile:\t   17000 kB\nRssShmem:\t    1000 kB\n";
        assert_eq!(bytes_of_process(status), Some(13_000 << 10));
        assert_eq!(bytes_of_process("VmRSS:\t   30000 kB\n"), Some(30_000 << 10));
        assert_eq!(bytes_of_process(""), None);
        let stat: BTreeMap<&str, u64> = BTreeMap::from([
            ("anon", 1),
            ("file", 1_000),
            ("kernel", 2_000),
            ("kernel_stack", 2),
            ("pagetables", 4),
            ("sock", 8),
            ("shmem", 16),
            ("slab_reclaimable", 4_000),
            ("slab_unreclaimable", 32),
            ("inactive_file", 500),
        ]);
        let text: String = stat.iter().map(|(name, bytes)| format!("{name} {bytes}\n")).collect();
        assert_eq!(bytes_of_group(&text), Some(63));
        assert_eq!(bytes_of_group("file 1\n"), None);
    }
}
