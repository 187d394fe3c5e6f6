//! The log: entries of `tracing`, filtered and formatted as configured, to standard error.
//!
//! What a field may take is bounded in one place ([`fields`]), whoever writes it.
//!
//! Standard output stays free for what commands answer. Lines are handed to a thread of their own
//! ([`lines`]), so that a reader who is slow, or stops reading, does not hold up requests.

mod fields;
mod lines;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use self::lines::LogGuard;
use self::lines::LogLines;

/// Libraries that write a line for what any stranger's connection does, or whole requests, which are texts of users.
/// They are silent unless `LOG_LEVEL` names them. The driver of the database says of each slow statement what it was, on
/// several lines; who asked it says what failed.
const QUIET: &str = "h2=off,jsonrpsee=off,sqlx=error";

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// `LOG_LEVEL`: a `tracing` filter.
    pub filter: String,
    /// `LOG_FORMAT`: `json` rather than text.
    pub json: bool,
}

/// Starts the log of this process; fails where there is one already.
///
/// Dropping the guard writes what is still waiting, so it is kept until the process ends.
pub fn init(config: &LogConfig) -> anyhow::Result<LogGuard> {
    let (lines, guard) = LogLines::to(std::io::stderr())?;
    let colours = !config.json && std::io::stderr().is_terminal();
    subscriber(config, colours, lines)?.try_init()?;
    Ok(guard)
}

fn subscriber<W>(
    config: &LogConfig,
    colours: bool,
    writer: W,
) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Of two entries for one library the later one holds.
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", config.filter))?;
    let layer = fmt::layer().with_writer(writer).with_ansi(colours);
    let registry = tracing_subscriber::registry();
    Ok(if config.json {
        Box::new(registry.with(layer.event_format(fields::Json)).with(filter))
    } else {
        let fields = fmt::format::debug_fn(fields::write_text).delimited(" ");
        Box::new(registry.with(layer.fmt_fields(fields)).with(filter))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    #[test]
    fn whoever_is_silent_is_named_where_the_setting_is_explained() {
        let settings = include_str!("../../schema/settings.md").lines();
        let mut rows = settings.filter(|it| it.starts_with("| `LOG_LEVEL`"));
        let row = rows.next().expect("a row");
        for quiet in QUIET.split(',') {
            let name = quiet.split('=').next().unwrap_or_default();
            assert!(row.contains(&format!("`{name}`")), "{name}: {row}");
        }
    }

    /// What is logged under these settings.
    fn logged(filter: &str, json: bool) -> String {
        let config = LogConfig {
            filter: filter.into(),
            json,
        };
        let text = Captured::default();
        let writer = text.clone();
        let subscriber = subscriber(&config, false, move || writer.clone()).expect("a filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "call", path = "system.health", user = Some(7_i64), "call");
            tracing::debug!(target: "detail", "more");
            tracing::warn!(target: "h2::proto::streams::recv", "a stranger took back too much");
            tracing::trace!(target: "jsonrpsee-http", "HTTP body: a text");
            tracing::warn!(target: "sqlx::query", "slow statement");
            let long = "ä".repeat(60_000);
            tracing::trace!(target: "long", path = long, %long, "{long}");
        });
        let bytes = text.0.lock().clone();
        String::from_utf8(bytes).expect("a log is text")
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_filter_chooses_what_is_logged() {
        assert_eq!(logged("info", false).lines().count(), 1);
        assert_eq!(logged("info,detail=debug", false).lines().count(), 2);
        assert_eq!(logged("warn", false), "");
        assert_eq!(logged("off", false), "");
    }

    #[test]
    fn what_a_stranger_makes_a_library_say_is_logged_only_where_it_is_named() {
        assert!(!logged("trace", false).contains("a stranger"));
        assert!(logged("info,h2=warn", false).contains("a stranger"));
        assert!(!logged("trace", false).contains("HTTP body"));
        assert!(logged("info,jsonrpsee=trace", false).contains("HTTP body"));
    }

    #[test]
    fn an_entry_is_one_json_object_with_its_fields_on_top() {
        let entry: Value = serde_json::from_str(&logged("info", true)).expect("JSON");
        assert_eq!(entry["level"], "INFO");
        assert_eq!(entry["target"], "call");
        assert_eq!(entry["message"], "call");
        assert_eq!(entry["path"], "system.health");
        assert_eq!(entry["user"], 7);
        assert!(entry["timestamp"].is_string());
    }

    #[test]
    fn a_long_field_is_cut_and_says_so() {
        let line = logged("long=trace", false);
        assert!(line.len() < 4 * fields::MAX_FIELD_BYTES, "{}", line.len());
        assert_eq!(line.matches("bytes more)").count(), 3);
        let entry: Value = serde_json::from_str(&logged("long=trace", true)).expect("JSON");
        for field in ["path", "long", "message"] {
            let text = entry[field].as_str().expect("a text");
            assert!(text.len() < fields::MAX_FIELD_BYTES + 40);
            assert!(text.ends_with("… (117952 bytes more)"), "{text}");
        }
    }

    #[test]
    fn an_entry_is_one_line_of_text_without_colours() {
        let line = logged("info", false);
        assert!(
            line.contains("INFO call: call path=\"system.health\" user=7"),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'));
    }
}
