//! What is to be written of an object's status: from what stands there and what we say, the smallest patch. Pure; never touches what others wrote.
//!
//! [`patch`] is the whole of it: [`Current`] is the object as the API server has it, [`Wanted`] what is to be said of it.

mod entries;
mod fall_back;
mod folded;
mod happenings;
mod overlay;
mod patch;
mod stamp;
mod wanted;

pub use fall_back::fall_back;
pub use folded::Folded;
pub use happenings::{Happening, Severity};
pub use patch::{Current, Method, Patch, applier, patch};
pub use wanted::{Address, Definitions, Fleet, Wanted, nothing};
