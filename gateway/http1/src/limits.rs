//! How large a head may be. Never how long it may take: that is the connection's matter.

/// Bounds of one head; what exceeds one is refused as soon as that is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, its line ends included.
    pub bytes: usize,
    /// Number of fields; no more than [`HeadLimits::FIELDS_MAX`] are ever read.
    pub fields: usize,
    /// Bytes of the request target as it came.
    pub target_bytes: usize,
}

impl HeadLimits {
    /// The most fields that a head can have whatever its limits say: their spans are collected on the stack.
    pub const FIELDS_MAX: usize = 256;

    /// Of the trailer section of a body.
    pub(crate) const TRAILERS: Self = Self { bytes: 8 * 1024, fields: 32, target_bytes: 0 };

    pub(crate) fn fields_max(&self) -> usize {
        self.fields.min(Self::FIELDS_MAX)
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 32 * 1024, fields: 100, target_bytes: 8 * 1024 }
    }
}
