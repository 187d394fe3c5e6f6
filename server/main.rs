//! Parses the command line, runs the command, and turns its outcome into an exit code.

use std::process::ExitCode;

/// Requests are made of many small allocations, for which this one is faster (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(unix)]
    give_memory_back_at_once();
    modelramp::cli::main()
}

/// Has the allocator give freed memory back to the system at once: after 10 ms, as it does by itself, a flood of
/// large messages holds a third more (docs/performance.md). It reads that from the environment before anything of ours
/// runs, so the program begins anew with it, as the same process. Where that cannot be, it goes on as it is.
#[cfg(unix)]
fn give_memory_back_at_once() {
    use std::{env, os::unix::process::CommandExt as _, process::Command};

    const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
    let mut arguments = env::args_os();
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else {
        return;
    };
    if env::var_os(PURGE_DELAY).is_none() {
        let mut anew = Command::new(program);
        anew.arg0(name).args(arguments).env(PURGE_DELAY, "0");
        // It returns only where it fails.
        let _ = anew.exec();
    }
}
