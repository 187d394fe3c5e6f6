//! The signing secret of a developer's machine: made once, kept beside the database.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rand::Rng;
use secrecy::SecretString;

use super::{postgres, private, sqlite};
use crate::_core::text_file;

const SECRET_BYTES: usize = 32;

/// The secret beside the database of this URL, made on first use, readable by its owner only.
///
/// Sessions so outlive a restart, and `modelramp token` signs with the secret that the server
/// checks with. Processes that start at once agree on one: the file appears whole or not at all, and
/// never replaces another.
pub fn secret_for_development(database_url: &str) -> io::Result<SecretString> {
    let (database, path) = place(database_url)?;
    sqlite::create_parent(&database).map_err(io::Error::other)?;
    let path = path.as_path();
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        found => found,
    }
}

/// Whether a server has made a secret beside this database.
pub fn has_secret(database_url: &str) -> bool {
    place(database_url).is_ok_and(|(_, path)| path.exists())
}

/// The database's file, and that of the secret.
fn place(database_url: &str) -> io::Result<(PathBuf, PathBuf)> {
    if postgres::is_url(database_url) {
        return Err(io::Error::other(
            "with PostgreSQL there is no file to keep a secret beside; set `JWT_SECRET`",
        ));
    }
    let database = sqlite::path(database_url).map_err(io::Error::other)?;
    let path = private::beside(&database, ".jwt-secret");
    Ok((database, path))
}

fn read(path: &Path) -> io::Result<SecretString> {
    let text = text_file::read(path).map_err(|error| named(path, &error))?;
    let secret = text.trim();
    if secret.len() < SECRET_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the secret in `{}` is shorter than {SECRET_BYTES} bytes; delete the file to get a new one",
                path.display()
            ),
        ));
    }
    Ok(secret.into())
}

fn create(path: &Path) -> io::Result<SecretString> {
    let secret = hex::encode(rand::rng().random::<[u8; SECRET_BYTES]>());
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    // Such files have mode 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    writeln!(file, "{secret}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(secret.into()),
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(failed) => Err(named(path, &failed.error)),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the secret file `{}`: {error}", path.display()),
    )
}
