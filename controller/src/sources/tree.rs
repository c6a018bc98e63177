//! Finds the files that hold objects, in a stable order and each once. It looks at names and times, never at what a file says.

use super::findings::{Finding, Severity};
use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How many entries of folders are looked at, so that a home directory is not read by mistake.
pub const ENTRIES_MAX: usize = 100_000;
/// How deep folders may nest below a path that was named.
pub const FOLDER_DEPTH_MAX: usize = 32;

/// All that was found below the paths.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files, in the order of the paths, those of a folder by name.
    pub files: Vec<Found>,
    /// Every folder in which a change can change the tree: those walked, those of files that were named, those that links lead to.
    pub folders: BTreeSet<PathBuf>,
    /// What could not be reached: everything below such a path is unknown now, not gone.
    pub unreachable: Vec<PathBuf>,
    /// What to tell about it.
    pub findings: Vec<Finding>,
    seen: HashSet<(u64, u64)>,
    entries: usize,
}

/// A file, by the name under which it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The path as it was named, or below a folder as that was named.
    pub path: PathBuf,
    /// What changes when the file does.
    pub stamp: Stamp,
}

/// What changes when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified_at: SystemTime,
    changed_s: i64,
    changed_ns: i64,
    bytes: u64,
    inode: u64,
    device: u64,
}

impl Stamp {
    /// How long ago the file was modified; zero when its time is in the future.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.modified_at).unwrap_or_default()
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            modified_at: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
            bytes: metadata.len(),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }
}

/// Walks the paths.
#[must_use]
pub fn walk(paths: &[PathBuf]) -> Tree {
    let mut tree = Tree::default();
    for path in paths {
        tree.root(plain_path(path));
    }
    tree
}

/// Whether a file in a folder can hold objects, by its name: `.yaml`, `.yml` and `.json`, but nothing hidden and nothing that an editor
/// writes beside a file (`.x.swp`, `.#x`, `#x#`, `x~`, `x.tmp`, vim's `4913`).
#[must_use]
pub fn holds_objects(name: &str) -> bool {
    !name.starts_with(['.', '#'])
        && [".yaml", ".yml", ".json"].iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// Whether a folder is entered, by its name: nothing hidden (among it the `..2026_…` folders of Kubernetes' mounts, whose files are
/// reached by the links beside them), and no `node_modules`.
#[must_use]
pub fn is_entered(name: &str) -> bool {
    !name.starts_with('.') && name != "node_modules"
}

impl Tree {
    fn root(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                self.watch_parent(path);
                self.folder(path, &metadata, 0);
            }
            Ok(metadata) => {
                self.watch_parent(path);
                self.file(path.to_owned(), &metadata);
            }
            Err(error) => {
                self.watch_nearest(path);
                self.lost(path, &error);
            }
        }
    }

    fn folder(&mut self, path: &Path, metadata: &fs::Metadata, depth: usize) {
        // A folder seen before was reached by another link, or by a loop of links.
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if depth > FOLDER_DEPTH_MAX {
            self.tell(
                path,
                format!("folders nest deeper than {FOLDER_DEPTH_MAX}: nothing below is read"),
                "name the folder itself",
            );
            return;
        }
        self.folders.insert(path.to_owned());
        let names = fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.lost(path, &error),
        };
        names.sort_unstable();
        for name in names {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                if self.entries == ENTRIES_MAX + 1 {
                    self.tell(
                        path,
                        format!("more than {ENTRIES_MAX} files: the rest is not read"),
                        "name the folder that holds the objects",
                    );
                }
                return;
            }
            self.entry(&below(path, &name), &name.to_string_lossy(), depth);
        }
    }

    fn entry(&mut self, path: &Path, name: &str, depth: usize) {
        // Most entries are told by their names alone, which costs no system call.
        if !holds_objects(name) && !is_entered(name) {
            return;
        }
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // Gone since the folder was listed, or a link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if holds_objects(name) && path.is_symlink() {
                    self.tell(path, "this link leads nowhere", "create its target, or remove the link");
                }
                return;
            }
            Err(error) if holds_objects(name) => return self.lost(path, &error),
            Err(_) => return,
        };
        if metadata.is_dir() {
            if is_entered(name) {
                self.folder(path, &metadata, depth + 1);
            }
        } else if metadata.is_file() && holds_objects(name) {
            self.file(path.to_owned(), &metadata);
        }
    }

    fn file(&mut self, path: PathBuf, metadata: &fs::Metadata) {
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if path.is_symlink() {
            let target = fs::canonicalize(&path).ok();
            self.folders.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
        }
        self.files.push(Found { path, stamp: Stamp::from(metadata) });
    }

    fn watch_parent(&mut self, path: &Path) {
        // `.` and `..` and `/` have no name of their own that could be moved away under them.
        if path.file_name().is_some() {
            self.folders.insert(parent(path).to_owned());
        }
    }

    fn watch_nearest(&mut self, path: &Path) {
        let nearest = path.ancestors().skip(1).map(here).find(|folder| folder.is_dir());
        self.folders.extend(nearest.map(Path::to_owned));
    }

    fn lost(&mut self, path: &Path, error: &io::Error) {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "create it, or name another path",
            io::ErrorKind::PermissionDenied => "allow this user to read it",
            _ => "see why the system cannot read it",
        };
        self.tell(path, format!("cannot be read: {}", plain(error)), remedy);
        self.unreachable.push(path.to_owned());
    }

    fn tell(&mut self, path: &Path, message: impl Into<String>, remedy: &str) {
        self.findings.push(of_file(path, message, remedy));
    }
}

/// A finding about a file as a whole.
#[must_use]
pub fn of_file(path: &Path, message: impl Into<String>, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        file: path.to_owned(),
        position: None,
        line_text: String::new(),
        object: String::new(),
        field: String::new(),
        message: message.into(),
        remedy: remedy.to_owned(),
        kept: false,
    }
}

/// The words of the system without Rust's `(os error 2)`.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// A name in a folder: below `.` it is written plainly, which reads better than `./name`.
#[must_use]
pub fn below(folder: &Path, name: &OsStr) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}

/// A path as this module writes it: without a leading `./`.
#[must_use]
pub fn plain_path(path: &Path) -> &Path {
    here(path.strip_prefix(".").unwrap_or(path))
}

fn parent(path: &Path) -> &Path {
    here(path.parent().unwrap_or(path))
}

/// The parent of `x` is written as nothing, and means the current folder.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}
