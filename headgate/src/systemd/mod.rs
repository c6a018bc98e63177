//! The service manager that started this process: the sockets that it passes, and what it is told. Without one nothing of this does anything.

mod notify;
pub mod passed;

pub use notify::Manager;
