//! What a gateway keeps for its next start, in a folder that must be memory. Never a key.

use crate::held::{Held, Whole};
use std::path::{Path, PathBuf};

const FILE: &str = "routes";

/// A folder for the last good version.
#[derive(Clone, Debug)]
pub struct Store {
    file: PathBuf,
    /// The last write failed, and was said.
    is_failing: bool,
}

impl Store {
    /// This folder.
    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join(FILE), is_failing: false }
    }

    /// What was kept. A file that is not whole is said and passed over.
    pub async fn load(&self) -> Option<(Held, Whole)> {
        let read = match tokio::fs::read(&self.file).await {
            Ok(bytes) => Held::from_bytes(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        let said = |why: &String| tracing::warn!(file = %self.file.display(), why, "the last routes cannot be read");
        read.inspect_err(said).ok()
    }

    /// Keeps this in place of what was kept: whole, or not at all.
    pub async fn save(&mut self, bytes: Vec<u8>) {
        let next = self.file.with_extension("next");
        let saved = async {
            tokio::fs::write(&next, bytes).await?;
            tokio::fs::rename(&next, &self.file).await
        };
        let failed = saved.await.err();
        if let Some(error) = &failed {
            // half of it would take the room of the next try
            let _ = tokio::fs::remove_file(&next).await;
            if !self.is_failing {
                tracing::warn!(file = %self.file.display(), %error, "the routes cannot be kept for the next start");
            }
        }
        self.is_failing = failed.is_some();
    }
}
