//! Parses the command line, runs the command, and turns its outcome into an exit code.

use std::process::ExitCode;

/// Requests are made of many small allocations, for which this one is faster (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(unix)]
    have_memory_given_back();
    modelramp::cli::main()
}

/// Has the allocator give freed memory back to the system at once, and take none in pages of 2 MB: otherwise a flood of
/// large messages holds a third more, and a server that does nothing 23 MB more (docs/performance.md). It reads that
/// from the environment before anything of ours runs, so the program begins anew with it, as the same process. What is
/// set there already stays. Where that cannot be, the program goes on as it is.
#[cfg(unix)]
fn have_memory_given_back() {
    use std::{env, os::unix::process::CommandExt as _, process::Command};

    const SETTINGS: [&str; 2] = ["MIMALLOC_PURGE_DELAY", "MIMALLOC_ALLOW_THP"];
    let mut arguments = env::args_os();
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else {
        return;
    };
    let missing = SETTINGS.map(|setting| (setting, "0")).into_iter();
    let missing: Vec<_> = missing
        .filter(|(setting, _)| env::var_os(setting).is_none())
        .collect();
    if !missing.is_empty() {
        let mut anew = Command::new(program);
        anew.arg0(name).args(arguments).envs(missing);
        // It returns only where it fails.
        let _ = anew.exec();
    }
}
