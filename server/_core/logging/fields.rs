//! Writes the fields of an entry, each cut to a length that a person reads.
//!
//! Paths, origins and errors of upstreams come from outside and may be as long as a request. Cut here,
//! no caller has to think of it.

use std::fmt::{self, Debug, Write};

use chrono::{SecondsFormat, Utc};
use serde::ser::{SerializeMap, Serializer};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Bytes of one field.
pub(super) const MAX_FIELD_BYTES: usize = 2048;

/// Keeps the beginning of what is written and counts the rest.
struct Short<W> {
    to: W,
    written: usize,
    left_out: usize,
}

impl<W: Write> Short<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            written: 0,
            left_out: 0,
        }
    }

    /// Says how much is missing.
    fn end(mut self) -> Result<W, fmt::Error> {
        match self.left_out {
            0 => {}
            more => write!(self.to, "… ({more} bytes more)")?,
        }
        Ok(self.to)
    }
}

impl<W: Write> Write for Short<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_FIELD_BYTES - self.written;
        let kept = if self.left_out > 0 {
            0
        } else {
            text.floor_char_boundary(room.min(text.len()))
        };
        self.written += kept;
        self.left_out += text.len() - kept;
        self.to.write_str(&text[..kept])
    }
}

/// `name=value`; the message stands alone.
pub(super) fn write_text(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        name if writer.has_ansi_escapes() => {
            write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
        }
        name => {
            writer.write_str(name)?;
            writer.write_char('=')?;
        }
    }
    let mut short = Short::new(writer);
    // Only a `Debug` that fails by itself fails; then its beginning is what there is.
    let _ = write!(short, "{value:?}");
    short.end().map(drop)
}

/// One JSON object per entry, its fields beside `timestamp`, `level` and `target`.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "an entry is written when it is made"
    )]
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Vec::with_capacity(256);
        let mut serializer = serde_json::Serializer::new(&mut line);
        let written = serializer.serialize_map(None).and_then(|mut map| {
            let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
            map.serialize_entry("timestamp", &now)?;
            map.serialize_entry("level", event.metadata().level().as_str())?;
            let mut fields = JsonFields { map, failed: None };
            event.record(&mut fields);
            let JsonFields { mut map, failed } = fields;
            failed.map_or(Ok(()), Err)?;
            map.serialize_entry("target", event.metadata().target())?;
            map.end()
        });
        let line = String::from_utf8(line).map_err(|_| fmt::Error)?;
        written.map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

struct JsonFields<M: SerializeMap> {
    map: M,
    failed: Option<M::Error>,
}

impl<M: SerializeMap> JsonFields<M> {
    fn add(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if self.failed.is_none() {
            self.failed = self.map.serialize_entry(field.name(), value).err();
        }
    }

    fn add_short(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut short = Short::new(String::new());
        // As above.
        let _ = short.write_fmt(value);
        self.add(field, &short.end().unwrap_or_default());
    }
}

impl<M: SerializeMap> Visit for JsonFields<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_short(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add_short(field, format_args!("{value:?}"));
    }
}
