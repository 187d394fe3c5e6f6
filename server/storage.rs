//! Everything durable, in one database.
