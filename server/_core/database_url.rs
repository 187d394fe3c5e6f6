//! Which file a SQLite URL names: the path as it is written, or a reason why it names none.
//!
//! Nothing is decoded. `sqlite:///srv/a%2Fb c#1.db` is the file `/srv/a%2Fb c#1.db`, as a person who
//! looks for it expects. A path that SQLite or a shell would read in another way is refused.

use std::path::Path;

use super::slips;

/// What a URL of SQLite begins with.
const SCHEME: &str = "sqlite:";
/// What others' examples append; this server creates a missing file anyway.
const CREATES: &str = "mode=rwc";

/// The file of `sqlite://path` or `sqlite:path`, or why that is no file. The reason completes
/// “`DATABASE_URL` is `…` and …”. `None` for a URL of another kind.
pub fn sqlite_file(url: &str) -> Option<Result<&Path, &'static str>> {
    let path = url.strip_prefix(SCHEME)?;
    Some(file(path.strip_prefix("//").unwrap_or(path)))
}

fn file(text: &str) -> Result<&Path, &'static str> {
    let (text, parameters) = match text.split_once('?') {
        Some((text, parameters)) => (text, Some(parameters)),
        None => (text, None),
    };
    let is_memory = text.ends_with(":memory:")
        || parameters.is_some_and(|parameters| parameters.contains("mode=memory"));
    if is_memory {
        return Err("is a database in memory, which would be lost with the process");
    }
    if parameters.is_some_and(|parameters| parameters != CREATES) {
        return Err("holds `?`, after which only `mode=rwc` is taken; no path may hold one");
    }
    if text.starts_with("file:") {
        return Err("begins with `file:`, which SQLite reads as another URL");
    }
    if let Some(reason) = slips::in_path(text) {
        return Err(reason);
    }
    let path = Path::new(text);
    if text.ends_with('/') || path.file_name().is_none() {
        return Err("names no file");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is_written() {
        for (url, path) in [
            ("sqlite://data/modelramp.db", "data/modelramp.db"),
            ("sqlite:modelramp.db", "modelramp.db"),
            ("sqlite:///var/lib/m.db", "/var/lib/m.db"),
            ("sqlite:///a%2Fb.db", "/a%2Fb.db"),
            ("sqlite://a%20b.db", "a%20b.db"),
            ("sqlite://a%.db", "a%.db"),
            ("sqlite://with space.db", "with space.db"),
            ("sqlite://a#b.db", "a#b.db"),
            (
                "sqlite:///daten/für José/模型.db",
                "/daten/für José/模型.db",
            ),
            ("sqlite://a@b:c.db", "a@b:c.db"),
            ("sqlite://dir/~.db", "dir/~.db"),
            ("sqlite://a+b&c=d.db", "a+b&c=d.db"),
            ("sqlite://a.db?mode=rwc", "a.db"),
        ] {
            assert_eq!(sqlite_file(url), Some(Ok(Path::new(path))), "{url}");
        }
    }

    #[test]
    fn what_would_be_another_file_or_none_is_refused_with_a_reason() {
        for (url, reason) in [
            ("sqlite::memory:", "in memory"),
            ("sqlite://:memory:", "in memory"),
            ("sqlite://a.db?mode=memory&cache=shared", "in memory"),
            ("sqlite://file:a.db", "`file:`"),
            ("sqlite://a?b.db", "`?`"),
            ("sqlite://a.db?mode=ro", "`?`"),
            ("sqlite://a.db?colour=red", "`?`"),
            ("sqlite://~/a.db", "`~`"),
            ("sqlite://~me/a.db", "`~`"),
            ("sqlite://a\nb.db", "control character"),
            ("sqlite://a\0b.db", "control character"),
            ("sqlite://\"a.db\"", "quotation marks"),
            ("sqlite://", "no file"),
            ("sqlite:", "no file"),
            ("sqlite:///", "no file"),
            ("sqlite://folder/", "no file"),
            ("sqlite://folder/..", "no file"),
        ] {
            let refused = sqlite_file(url).and_then(Result::err);
            assert!(
                refused.is_some_and(|why| why.contains(reason)),
                "{url}: {refused:?}"
            );
        }
        assert_eq!(sqlite_file("postgres://me@host/db"), None);
    }
}
