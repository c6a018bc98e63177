//! Read buffers and spent heads of one core, lent while bytes are in flight. An idle or parked connection holds none.

use headgate_message::Fields;
use std::cell::{Cell, RefCell};

/// Bytes of a buffer: one read of a socket.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// Buffers kept for reuse; more are freed.
const KEPT_MAX: usize = 256;
/// A buffer that grew beyond this is freed, not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A pool of empty buffers, and of spent heads whose lists are reused too.
#[derive(Default)]
pub struct Buffers {
    bare: RefCell<Vec<Vec<u8>>>,
    spent: RefCell<Vec<Fields>>,
    keeps_none: Cell<bool>,
}

impl Buffers {
    /// An empty buffer of at least [`BUFFER_BYTES`].
    pub fn take(&self) -> Vec<u8> {
        self.bare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back.
    pub fn give(&self, mut buffer: Vec<u8>) {
        // looked at first: most of what is given back has nothing in it
        if !is_worth_keeping(&buffer) || self.keeps_none.get() {
            return;
        }
        let mut kept = self.bare.borrow_mut();
        if kept.len() < KEPT_MAX {
            buffer.clear();
            kept.push(buffer);
        }
    }

    /// While memory is short nothing is kept for reuse.
    pub fn save(&self, memory_is_short: bool) {
        self.keeps_none.set(memory_is_short);
        if memory_is_short {
            self.bare.take();
            self.spent.take();
        }
    }

    /// A spent head: what a parser turns into the next head and the next read buffer.
    pub fn take_spent(&self) -> Fields {
        self.spent.borrow_mut().pop().unwrap_or_else(|| Fields::over(self.take()))
    }

    /// Takes a head back.
    pub fn give_spent(&self, fields: Fields) {
        if self.keeps_none.get() {
            return;
        }
        let mut kept = self.spent.borrow_mut();
        if kept.len() < KEPT_MAX && (BUFFER_BYTES..=KEPT_BYTES_MAX).contains(&fields.text_capacity()) {
            kept.push(fields);
        }
    }
}

fn is_worth_keeping(buffer: &Vec<u8>) -> bool {
    (BUFFER_BYTES..=KEPT_BYTES_MAX).contains(&buffer.capacity())
}
