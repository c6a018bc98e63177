//! What one word of a controller makes of what a gateway holds, and what is to follow from it. Pure: serving, answering and waiting are `converse.rs`.

use crate::{
    held::{Backends, Held, Whole},
    wire::DownSay,
};
use headgate_config::Endpoints;
use std::sync::Arc;

/// What is to follow from a word.
#[derive(Debug)]
pub enum Heard {
    /// Nothing: it is kept, or was a sign of life.
    Nothing,
    /// A version is to become live.
    Version {
        /// Its number.
        number: u64,
        /// The backends that were named until now.
        before: Backends,
        /// What it says.
        whole: Whole,
    },
    /// Endpoints are to become live.
    Endpoints {
        /// What acknowledges them.
        sequence: u64,
        /// Those that can be read.
        taken: Vec<Arc<Endpoints>>,
        /// What is wrong with the others, one sentence each.
        problems: Vec<String>,
    },
    /// Whether the controller leads now.
    Role(bool),
}

impl Held {
    /// Takes in a word; `None` is one of a later version, which is no error.
    ///
    /// # Errors
    /// If the conversation is over with it: for people.
    pub fn hear(&mut self, say: Option<DownSay>) -> Result<Heard, String> {
        match say {
            Some(DownSay::Part(part)) => self.part(part),
            Some(DownSay::Keys(keys)) => self.keyed(keys),
            Some(DownSay::Commit(commit)) => {
                let before = self.backends();
                let whole = self.commit(commit).map_err(|drifted| drifted.to_string())?;
                return Ok(Heard::Version { number: commit.version, before, whole });
            }
            Some(DownSay::Endpoints(part)) => {
                let (taken, problems) = self.endpoints(&part.list);
                return Ok(Heard::Endpoints { sequence: part.sequence, taken, problems });
            }
            Some(DownSay::Role(role)) => return Ok(Heard::Role(role.leading)),
            Some(DownSay::Hello(_)) => return Err("it said a second first word".into()),
            Some(DownSay::Beat(_)) | None => {}
        }
        Ok(Heard::Nothing)
    }
}
