//! `modelramp backup` and `modelramp restore`: the database as one file.

use std::{io::Write, path::PathBuf};

use clap::Args;

use crate::{config::Config, storage::Storage};

/// Arguments of `modelramp backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// The new file; what is there already is not written over.
    file: PathBuf,
}

/// Arguments of `modelramp restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// What `modelramp backup` wrote.
    file: PathBuf,
    /// Moves a database of SQLite that is there aside.
    #[arg(long)]
    replace: bool,
}

/// Copies the database, beside a server that runs or without one.
pub(super) async fn backup(arguments: &BackupArguments, config: &Config) -> anyhow::Result<()> {
    let (url, file) = (&config.database.url, &arguments.file);
    let bytes = Storage::backup(url, file).await?;
    let (place, file) = (Storage::place(url)?, file.display());
    writeln!(
        std::io::stdout(),
        "`{place}` was copied into `{file}` ({bytes} bytes); it holds conversations and keys' hashes, so keep it \
         as you keep the database"
    )?;
    Ok(())
}

/// Makes the database that the settings name out of a copy.
pub(super) async fn restore(arguments: &RestoreArguments, config: &Config) -> anyhow::Result<()> {
    let (url, file) = (&config.database.url, &arguments.file);
    let restored = Storage::restore(url, file, arguments.replace).await?;
    let mut out = std::io::stdout();
    if let Some(aside) = restored.moved_aside {
        writeln!(out, "what was there is now `{}`", aside.display())?;
    }
    writeln!(
        out,
        "`{}` is as `{}` has it; start the server, which brings its tables up to date",
        restored.database,
        file.display()
    )?;
    Ok(())
}
