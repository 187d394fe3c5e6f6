//! Catalogs: any text is a catalog or a list of faults.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelramp::model_router::catalog::Catalog;

fuzz_target!(|text: &str| {
    if let Err(faults) = Catalog::parse(text) {
        assert!(!faults.to_string().is_empty());
    }
});
