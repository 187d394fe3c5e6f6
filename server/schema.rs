//! Writes the contract in `schema/` from the registry and the settings table.

pub mod openrpc;
