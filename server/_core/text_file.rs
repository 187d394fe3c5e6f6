//! Files of text that people write.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// No file of settings, of secrets or of models comes near: 16 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// A whole file.
///
/// # Errors
///
/// As [`read_at_most`].
pub fn read(path: &Path) -> io::Result<String> {
    read_at_most(MAX_BYTES, File::open(path)?)
}

/// All that there is to read, if that is `most` bytes or fewer. A pipe or a device may never end.
///
/// # Errors
///
/// Where it cannot be read, is longer, or is not UTF-8.
pub fn read_at_most(most: u64, source: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    source
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {most} bytes"),
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_read_to_its_bound() {
        let said = read_at_most(9, io::repeat(0)).unwrap_err().to_string();
        assert_eq!(said, "it is longer than 9 bytes");
        assert_eq!(read_at_most(9, &b"123456789"[..]).unwrap(), "123456789");
        let said = read_at_most(9, &b"\xff"[..]).unwrap_err().to_string();
        assert_eq!(said, "it is not UTF-8");
    }
}
