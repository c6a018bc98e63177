//! What a gateway keeps for its next start, in a folder that must be memory. Never a key.

use crate::held::{Held, Whole};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::{
    fs::{self, File},
    io::{AsyncSeekExt, AsyncWriteExt},
};

const FILE: &str = "routes";
/// Changes are appended until they are such a part of all, and so much at least; then all is written anew, beside it: at its most that is two and a quarter times what is held.
const CHANGES_PART: u64 = 4;
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
        if !held.is_worth_keeping() {
            return;
        }
        let is_long = self.open.as_ref().is_none_or(Open::is_long);
        let mut saved = if is_long { Ok(false) } else { self.append(held).await };
        if matches!(saved, Ok(false)) {
            saved = match self.write_all(held).await {
                Ok(open) => {
                    self.open = Some(open);
                    Ok(true)
                }
                // what there is no room for twice may still have it once
                Err(error) if is_long => {
                    self.append(held).await.and_then(|done| if done { Ok(true) } else { Err(error) })
                }
                Err(error) => Err(error),
            };
        }
        let was_failing = std::mem::replace(&mut self.is_failing, saved.is_err());
        match saved {
            Ok(_) => held.kept(),
            Err(error) => {
                held.not_kept();
                if !was_failing {
                    tracing::warn!(file = %self.path.display(), %error, "the routes cannot be kept for the next start");
                }
            }
        }
    }

    /// Appends what changed; whether that could be said as a change.
    async fn append(&mut self, held: &Held) -> io::Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let Some(changes) = held.changes() else { return Ok(false) };
        let appended = open.append(&changes).await;
        if appended.is_err() && open.cut_back().await.is_err() {
            // a torn end, behind which nothing may stand
            self.open = None;
        }
        appended.map(|()| true)
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
    fn is_long(&self) -> bool {
        self.changes > CHANGES_LEAST.max(self.all / CHANGES_PART)
    }

    async fn append(&mut self, changes: &[u8]) -> io::Result<()> {
        self.file.write_all(changes).await?;
        self.file.flush().await?;
        self.changes += changes.len() as u64;
        Ok(())
    }

    /// Forgets what was written of a record that could not be written whole.
    async fn cut_back(&mut self) -> io::Result<()> {
        let end = self.all + self.changes;
        self.file.set_len(end).await?;
        self.file.seek(io::SeekFrom::Start(end)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{held, piece::Piece, wire};
    use headgate_config::{BackendName, Endpoints};

    fn backend(concurrency: u32) -> Piece {
        held::tests::backend("x", concurrency)
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

    /// Such a piece is called one thing as it came, and another in the file.
    #[tokio::test]
    async fn a_piece_that_says_more_than_is_understood_goes_from_the_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut held) = (Store::new(folder.path()), Held::default());
        let mut value: serde_json::Value = serde_json::from_slice(&backend(0).write().json).unwrap();
        value["ofALaterVersion"] = true.into();
        let sent = wire::Piece { json: value.to_string().into(), ..backend(0).write() };
        let removes = crate::digest::Digest::join([&crate::piece::digest(&sent)]);
        let commit = |pieces| wire::Commit { version: 1, pieces, certificates: 0 };
        // told twice, as a controller may that repeats itself
        for _ in 0..2 {
            held.part(wire::Part { pieces: vec![sent.clone()], removes: Default::default() });
            held.commit(commit(1)).unwrap();
            store.save(&mut held).await;
        }
        assert_eq!(loaded(&store).await, Some(0));
        held.part(wire::Part { pieces: vec![sent], removes: Default::default() });
        held.commit(commit(1)).unwrap();
        held.part(wire::Part { pieces: Vec::new(), removes });
        held.commit(commit(0)).unwrap();
        store.save(&mut held).await;
        assert_eq!(loaded(&store).await, None);
    }

    #[tokio::test]
    async fn what_does_not_add_up_does_not_replace_what_was_good() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut held) = (Store::new(folder.path()), Held::default());
        tell(&mut held, 0);
        store.save(&mut held).await;
        held.part(wire::Part { pieces: vec![backend(1).write()], removes: Default::default() });
        held.commit(wire::Commit { version: 2, pieces: 9, certificates: 0 }).unwrap_err();
        store.save(&mut held).await;
        assert_eq!(loaded(&store).await, Some(0));
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
