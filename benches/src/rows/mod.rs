//! One file a measurement; each gives its rows and leaves nothing running.

pub mod allocations;
pub mod changes;
pub mod cluster;
pub mod cold;
pub mod cores;
pub mod instructions;
pub mod listener_sets;
pub mod load;
pub mod parked;
pub mod peers;
pub mod reloads;
pub mod save;
pub mod sizes;
pub mod system_calls;
