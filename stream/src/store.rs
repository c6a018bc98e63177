//! What a gateway keeps for its next start, in a folder that must be memory. Never a key.

use crate::held::{Held, Whole};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};

const FILE: &str = "routes";
/// Changes are appended until they are as much as what they change, and this at least; then all is written anew.
const CHANGES_LEAST: u64 = 256 << 10;

/// A folder for the last good version.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The file that was written whole, for changes.
    open: Option<Open>,
    /// The last write failed, and was said.
    is_failing: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    all: u64,
    changes: u64,
}

impl Store {
    /// This folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join(FILE), open: None, is_failing: false }
    }

    /// What was kept. A file that is not whole is said and passed over.
    pub async fn load(&self) -> Option<(Held, Whole)> {
        let read = match fs::read(&self.path).await {
            Ok(bytes) => Held::from_bytes(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        let said = |why: &String| tracing::warn!(file = %self.path.display(), why, "the last routes cannot be read");
        read.inspect_err(said).ok()
    }

    /// Keeps what is held: what changed behind what was kept, or all in place of it. Each whole, or not at all.
    pub async fn save(&mut self, held: &mut Held) {
        let appended = match (self.open.take(), held.changes()) {
            (Some(open), Some(changes)) if open.changes <= open.all.max(CHANGES_LEAST) => {
                // one that fails leaves a torn end, behind which nothing may stand
                open.append(&changes).await.ok()
            }
            _ => None,
        };
        let saved = match appended {
            Some(open) => Ok(open),
            None => self.write_all(held).await,
        };
        let is_failing = saved.is_err();
        match saved {
            Ok(open) => {
                held.kept();
                self.open = Some(open);
            }
            Err(error) if !self.is_failing => {
                tracing::warn!(file = %self.path.display(), %error, "the routes cannot be kept for the next start");
            }
            Err(_) => {}
        }
        self.is_failing = is_failing;
    }

    async fn write_all(&self, held: &Held) -> io::Result<Open> {
        let next = self.path.with_extension("next");
        let written = async {
            let mut file = File::create(&next).await?;
            let mut all = 0;
            for record in held.all_kept() {
                file.write_all(&record).await?;
                all += record.len() as u64;
            }
            file.flush().await?;
            fs::rename(&next, &self.path).await?;
            Ok(Open { file, all, changes: 0 })
        };
        let written = written.await;
        if written.is_err() {
            // half of it would take the room of the next try
            let _ = fs::remove_file(&next).await;
        }
        written
    }
}

impl Open {
    async fn append(mut self, changes: &[u8]) -> io::Result<Self> {
        self.file.write_all(changes).await?;
        self.file.flush().await?;
        self.changes += changes.len() as u64;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{piece::Piece, wire};
    use headgate_config::{Backend, BackendName, BackendProtocol, Endpoints, QueueBounds, Wait};
    use std::sync::Arc;

    fn backend(concurrency: u32) -> Piece {
        Piece::Backend(Arc::new(Backend {
            name: BackendName::tcp("a", "x", 80),
            protocol: BackendProtocol::Http1,
            hostname: None,
            tls: None,
            proxy_protocol: None,
            concurrency,
            queue: QueueBounds::default(),
            scales: None,
            wait: Wait::default(),
            retries: None,
        }))
    }

    /// A version with one backend in place of the one before.
    fn tell(held: &mut Held, concurrency: u32) {
        let gone = concurrency.checked_sub(1).map(|before| backend(before).digest());
        let removes = crate::digest::Digest::join(gone.iter());
        held.part(wire::Part { pieces: vec![backend(concurrency).write()], removes });
        held.commit(wire::Commit { version: 1, pieces: 1, certificates: 0 }).unwrap();
    }

    async fn loaded(store: &Store) -> Option<u32> {
        let (_, whole) = store.load().await?;
        let mut backends = whole.snapshot.backends.values();
        let one = backends.next().map(|backend| backend.concurrency);
        assert!(backends.next().is_none());
        one
    }

    #[tokio::test]
    async fn a_change_is_appended_and_one_that_is_torn_is_as_if_it_had_not_been() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut held) = (Store::new(folder.path()), Held::default());
        tell(&mut held, 0);
        store.save(&mut held).await;
        let all = std::fs::read(&store.path).unwrap();
        tell(&mut held, 1);
        tell(&mut held, 2);
        held.endpoints(&[crate::ledger::write(&Endpoints {
            backend: BackendName::tcp("a", "x", 80),
            list: Vec::new(),
            activation: Default::default(),
        })]);
        store.save(&mut held).await;
        let more = std::fs::read(&store.path).unwrap();
        assert!(more.starts_with(&all) && more.len() > all.len(), "what was kept stays as it is");
        assert_eq!(loaded(&store).await, Some(2));
        for end in all.len()..more.len() {
            std::fs::write(&store.path, &more[..end]).unwrap();
            assert_eq!(loaded(&store).await, Some(0), "torn at {end}");
        }
        std::fs::write(&store.path, &all[..all.len() - 1]).unwrap();
        assert_eq!(loaded(&store).await, None);
    }

    #[tokio::test]
    async fn what_changes_again_and_again_is_written_anew_before_it_is_long() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut held) = (Store::new(folder.path()), Held::default());
        let mut longest = 0;
        for concurrency in 0..4_000 {
            tell(&mut held, concurrency);
            store.save(&mut held).await;
            longest = longest.max(std::fs::metadata(&store.path).unwrap().len());
        }
        assert!(longest > CHANGES_LEAST && longest < 2 * CHANGES_LEAST, "{longest}");
        assert_eq!(loaded(&store).await, Some(3_999));
    }

    #[tokio::test]
    async fn after_a_write_that_failed_all_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut held) = (Store::new(&folder.path().join("later")), Held::default());
        tell(&mut held, 0);
        store.save(&mut held).await;
        tell(&mut held, 1);
        assert!(store.load().await.is_none());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        store.save(&mut held).await;
        assert_eq!(loaded(&store).await, Some(1));
    }
}
