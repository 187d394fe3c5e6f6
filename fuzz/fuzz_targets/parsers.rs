//! libFuzzer over one parser, which `MODELRAMP_FUZZ_TARGET` names.
#![no_main]

#[path = "../targets.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("MODELRAMP_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(it, _)| *it == name);
    found.expect("MODELRAMP_FUZZ_TARGET names a parser").1
});

fuzz_target!(|text: &str| (*TARGET)(text));
