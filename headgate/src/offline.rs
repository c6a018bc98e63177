//! What files would serve, without starting anything: for `check`, `routes --from` and `explain --from`.

use headgate_config::{BackendName, Version};
use headgate_controller::{
    assemble::{Assembly, Ground, Known, assemble},
    sources::{
        directory::{Loaded, Look, Touched, load, load_text},
        findings::Severity,
    },
};
use headgate_routing::Table;
use std::{
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The port of the built-in listeners, as `run` has it if nothing else is said.
const PORT: u16 = 8080;

/// What a set of files says and becomes.
pub struct Offline {
    /// What was read.
    pub loaded: Loaded,
    /// What follows from it.
    pub assembly: Assembly,
}

/// Where files come from.
pub enum Source {
    /// Files and folders.
    Paths(Vec<PathBuf>),
    /// Standard input, read to its end.
    Text(String),
}

impl Source {
    /// Of the paths of a command line: `-` is standard input, none is the current directory.
    ///
    /// # Errors
    /// A sentence, if a path is not there or standard input cannot be read.
    pub fn of(paths: &[PathBuf]) -> Result<Self, String> {
        if paths.iter().any(|path| path == Path::new("-")) {
            if paths.len() > 1 {
                return Err("- (standard input) goes with no other path".into());
            }
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
            return Ok(Self::Text(text));
        }
        match paths.iter().find(|path| !path.exists()) {
            Some(missing) => Err(format!("{}: no such file or folder", missing.display())),
            None if paths.is_empty() => Ok(Self::Paths(vec![PathBuf::from(".")])),
            None => Ok(Self::Paths(paths.to_vec())),
        }
    }

    /// Reads it, as it is now.
    pub fn load(&self) -> Loaded {
        match self {
            Self::Paths(paths) => {
                let look = Look { now: SystemTime::now(), touched: Touched::Anything, patient: false };
                load(paths, &Loaded::default(), &look)
            }
            Self::Text(text) => load_text(Self::text_name(), text),
        }
    }

    /// Its name in findings, where it has only one.
    pub fn text_name() -> &'static Path {
        Path::new("-")
    }
}

impl Offline {
    /// Reads and assembles, as a machine without a cluster would.
    pub fn read(source: &Source, domain: &str) -> Self {
        let loaded = source.load();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now_ms = since.as_millis() as u64;
        let assembly = assemble(&loaded, &Known::default(), &Ground::standalone(domain, PORT), now_ms);
        Self { loaded, assembly }
    }

    /// The compiled routes.
    pub fn table(&self) -> Table<BackendName> {
        let snapshot = &self.assembly.translation.snapshot;
        Table::compile(snapshot, Version::default(), None, |backend| backend.name.clone()).table
    }

    /// Says on standard error how many objects are not served as written.
    pub fn warn_of_errors(&self) {
        let findings = self.loaded.findings.iter().chain(&self.assembly.findings);
        let errors = findings.filter(|finding| finding.severity == Severity::Error).count();
        if errors > 0 {
            eprintln!("warning: {errors} errors in these files; `headgate check` with the same paths tells them");
        }
    }
}
