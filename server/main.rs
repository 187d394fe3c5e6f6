//! Parses the command line, runs the command, and turns its outcome into an exit code.

use std::process::ExitCode;

/// Requests are made of many small allocations, for which this one is faster (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    modelramp::cli::main()
}
