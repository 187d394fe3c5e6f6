//! Writes the contract in `schema/` from the registry and the settings table.
