//! Reads, decides, applies, records.
