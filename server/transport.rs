//! One port, all wires.

pub mod gate;
pub mod jsonrpc;
pub mod operations;
pub mod trpc;
