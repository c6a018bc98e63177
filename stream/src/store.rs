//! What a gateway keeps for its next start, in a folder that must be memory. Never a key.

use crate::held::{Held, Whole};
use std::path::{Path, PathBuf};

const FILE: &str = "routes";

/// A folder for the last good version.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// This folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// What was kept. A file that is not whole is said and passed over.
    pub async fn load(&self) -> Option<(Held, Whole)> {
        let bytes = match tokio::fs::read(&self.0).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %self.0.display(), %error, "the last routes cannot be read");
                return None;
            }
        };
        Held::from_bytes(&bytes)
            .inspect_err(|why| tracing::warn!(file = %self.0.display(), why, "the last routes cannot be read"))
            .ok()
    }

    /// Keeps this in place of what was kept: whole, or not at all.
    pub async fn save(&self, bytes: Vec<u8>) {
        let next = self.0.with_extension("next");
        let saved = async {
            tokio::fs::write(&next, bytes).await?;
            tokio::fs::rename(&next, &self.0).await
        };
        if let Err(error) = saved.await {
            tracing::warn!(file = %self.0.display(), %error, "the routes cannot be kept for the next start");
        }
    }
}
