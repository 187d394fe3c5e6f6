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

/// A text that keeps its beginning and counts the rest.
#[derive(Default)]
struct Short {
    text: String,
    left_out: usize,
}

impl Short {
    fn of(value: &dyn Debug) -> Self {
        let mut short = Self::default();
        // Only a `Debug` that fails by itself fails; then its beginning is what there is.
        let _ = write!(short, "{value:?}");
        short
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_FIELD_BYTES - self.text.len();
        let kept = if self.left_out > 0 {
            0
        } else {
            text.floor_char_boundary(room.min(text.len()))
        };
        self.text.push_str(&text[..kept]);
        self.left_out += text.len() - kept;
        Ok(())
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "… ({more} bytes more)"),
        }
    }
}

/// `name=value`; the message stands alone.
pub(super) fn write_text(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let short = Short::of(value);
    match field.name() {
        "message" => write!(writer, "{short}"),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{short}")
        }
        name => write!(writer, "{name}={short}"),
    }
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
        let mut short = Short::default();
        // Writing into memory cannot fail.
        let _ = short.write_str(value);
        self.add(field, &short.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, &Short::of(value).to_string());
    }
}
