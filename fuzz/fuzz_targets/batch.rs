//! Paths and query strings of batches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelramp::transport::trpc::{batch, request};

fuzz_target!(|text: &str| {
    if let Ok(path) = request::decode_path(text)
        && let Ok(names) = batch::split(&path, 300)
    {
        assert!(!names.is_empty() && names.len() <= 300);
        assert_eq!(names.join(","), path);
    }
    let _ = request::Query::parse(text);
});
