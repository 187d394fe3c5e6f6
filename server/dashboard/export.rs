//! Lists as files: `GET /dashboard/export/{requests,audit,alerts,series}.csv?input=…`, RFC 4180, times in UTC.
//!
//! A file holds what the procedure of its list answers for the same input, page after page; so who may have
//! it, and what an input may say, is that procedure's. A cell that a spreadsheet would take for a formula
//! is marked as text, since names and reasons are written by people.
//!
//! Who asks is looked at again before each page, so a session that ends ends the file too: the connection
//! breaks, so that nobody takes a part for the whole. A list that is longer than a file may be says so in
//! its last line.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    _core::{context::Context, errors::RpcError, procedure::Input, registry::Registry},
    transport::{bounds, gate::CallerGate, page},
};

/// Rows of a file at most.
const MOST_ROWS: usize = 100_000;
/// Rows of a page, which is the most that the lists give.
const PAGE: u32 = 200;

/// What the files are made of.
pub struct Export {
    /// The procedures.
    pub registry: Arc<Registry>,
    /// Who calls.
    pub gate: Arc<CallerGate>,
}

/// `/dashboard/export/*`.
pub(super) fn routes(export: Export) -> Router {
    Router::new()
        .route("/dashboard/export/{file}", get(file))
        .with_state(Arc::new(export))
}

/// A list that can be had as a file.
#[derive(Clone, Copy)]
struct List {
    /// Its procedure.
    path: &'static str,
    /// Whether its answer is columns, and not pages of rows.
    is_columns: bool,
    /// The head of each column, and where its cell stands in a row.
    columns: &'static [(&'static str, &'static str)],
}

impl List {
    fn of(file: &str) -> Option<Self> {
        Some(match file {
            "requests.csv" => Self {
                path: "requests.list",
                is_columns: false,
                columns: &[
                    ("at", "/at"),
                    ("request_id", "/requestId"),
                    ("task", "/task"),
                    ("variant", "/variant"),
                    ("rollout_id", "/rolloutId"),
                    ("user_id", "/userId"),
                    ("counted", "/counted"),
                    ("outcome", "/outcome"),
                    ("latency_ms", "/latencyMs"),
                    ("first_token_ms", "/firstTokenMs"),
                    ("prompt_tokens", "/promptTokens"),
                    ("completion_tokens", "/completionTokens"),
                    ("cost_microdollars", "/costMicrodollars"),
                    ("attempts", "/attempts"),
                ],
            },
            "audit.csv" => Self {
                path: "audit.list",
                is_columns: false,
                columns: &[
                    ("at", "/at"),
                    ("actor", "/actor"),
                    ("subject", "/subject"),
                    ("subject_id", "/subjectId"),
                    ("action", "/action"),
                    ("before", "/before"),
                    ("after", "/after"),
                    ("reason", "/reason"),
                    ("version", "/version"),
                    ("id", "/id"),
                ],
            },
            "alerts.csv" => Self {
                path: "alerts.list",
                is_columns: false,
                columns: &[
                    ("at", "/at"),
                    ("severity", "/severity"),
                    ("kind", "/kind"),
                    ("rollout_id", "/rolloutId"),
                    ("title", "/title"),
                    ("text", "/text"),
                    ("deliveries", "/deliveries"),
                    ("id", "/id"),
                ],
            },
            "series.csv" => Self {
                path: "rollout.series",
                is_columns: true,
                columns: &[
                    ("at", "/at"),
                    ("share_percent", "/share"),
                    ("e", "/e"),
                    ("proof", "/proof"),
                    ("ratio", "/ratio"),
                    ("ratio_low", "/low"),
                    ("ratio_high", "/high"),
                    ("control_requests", "/control//requests"),
                    ("control_errors", "/control//errors"),
                    ("candidate_requests", "/candidate//requests"),
                    ("candidate_errors", "/candidate//errors"),
                ],
            },
            _ => return None,
        })
    }

    fn head(&self) -> String {
        let heads: Vec<_> = self.columns.iter().map(|(head, _)| *head).collect();
        heads.join(",") + "\r\n"
    }

    /// The lines of an answer, and how many.
    fn lines(&self, answer: &Value) -> (String, usize) {
        let rows = answer[if self.is_columns { "at" } else { "rows" }].as_array();
        let count = rows.map_or(0, Vec::len);
        let mut text = String::new();
        for n in 0..count {
            let row = rows.and_then(|rows| rows.get(n));
            for (place, (_, pointer)) in self.columns.iter().enumerate() {
                let found = match self.is_columns {
                    // The column, then the place in it, then what is asked of that.
                    true => {
                        let (column, rest) = pointer.split_once("//").unwrap_or((pointer, ""));
                        let cell = answer.pointer(column).and_then(|column| column.get(n));
                        match rest {
                            "" => cell,
                            rest => cell.and_then(|cell| cell.get(rest)),
                        }
                    }
                    false => row.and_then(|row| row.pointer(pointer)),
                };
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&cell(found.unwrap_or(&Value::Null)));
            }
            text.push_str("\r\n");
        }
        (text, count)
    }
}

/// The last line of a file whose list goes on.
fn cut_off(cursor: &str) -> String {
    let told = format!(
        "(the file ends after {MOST_ROWS} rows and the list goes on: ask with \"cursor\": \"{cursor}\")"
    );
    quoted(&told) + "\r\n"
}

/// A value as a cell; nothing where it is not known.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        Value::Array(all) => {
            // Attempts of a request, deliveries of an alert.
            let one = |it: &Value| {
                let text = |name: &str| it[name].as_str();
                let who = text("model").or(text("channel"))?;
                let how = text("outcome").or(text("state"))?;
                Some(format!("{who} {how}"))
            };
            let all: Vec<_> = all.iter().filter_map(one).collect();
            quoted(&all.join("; "))
        }
        Value::Object(_) => quoted(&value.to_string()),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A text that no spreadsheet runs, in quotes where it needs them.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = format!("{}{text}", if is_formula { "'" } else { "" });
    if text.contains([',', '"', '\r', '\n']) || is_formula {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

async fn file(
    State(export): State<Arc<Export>>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
    asked: Parts,
) -> Response {
    let query = query.as_deref().unwrap_or_default();
    let mut response = match answer(&export, &file, query, asked).await {
        Ok(response) => response,
        Err(error) => {
            let status = StatusCode::from_u16(error.code.http_status());
            let body =
                json!({ "error": { "code": error.data_code(), "message": &*error.message } });
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
    };
    page::guard(&mut response, page::NOTHING);
    response
}

async fn answer(
    export: &Arc<Export>,
    file: &str,
    query: &str,
    asked: Parts,
) -> Result<Response, RpcError> {
    bounds::admit_request(&export.gate, &asked.extensions, &asked.headers).await?;
    let list = List::of(file).ok_or_else(|| {
        RpcError::not_found(format!(
            "there is no file `{file}`; expected requests.csv, audit.csv, alerts.csv or series.csv"
        ))
    })?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let input = pairs.find_map(|(name, value)| (name == "input").then_some(value));
    let input = input.as_deref().unwrap_or("{}");
    let input: Value = serde_json::from_str(input)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| RpcError::bad_request("`input` is not a JSON object"))?;
    // Before the head goes out: what is refused is an answer of its own.
    let first = export.page(list, &input, None, &asked.headers).await?;
    let (export, name) = (export.clone(), format!("attachment; filename=\"{file}\""));
    let text = async_stream::stream! {
        yield Ok(Bytes::from(list.head()));
        let (mut page, mut written) = (first, 0);
        loop {
            let (lines, count) = list.lines(&page);
            yield Ok(Bytes::from(lines));
            written += count;
            let Some(cursor) = page["nextCursor"].as_str().map(str::to_owned) else {
                return;
            };
            if written >= MOST_ROWS {
                yield Ok(Bytes::from(cut_off(&cursor)));
                return;
            }
            page = match export.page(list, &input, Some(cursor), &asked.headers).await {
                Ok(page) => page,
                Err(error) => {
                    // The connection breaks, so that nobody takes a part for the whole.
                    yield Err(std::io::Error::other(error.message.to_string()));
                    return;
                }
            };
        }
    };
    let mut response = Response::new(Body::from_stream(text));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

impl Export {
    /// What the procedure answers.
    async fn page(
        &self,
        list: List,
        input: &Value,
        cursor: Option<String>,
        headers: &HeaderMap,
    ) -> Result<Value, RpcError> {
        let context: Context = self.gate.context(headers).await;
        let target = self.registry.resolve(list.path);
        let procedure = target
            .here()
            .ok_or_else(|| self.registry.unknown(list.path))?;
        let mut input = input.clone();
        if !list.is_columns {
            input["limit"] = PAGE.into();
        }
        if let Some(cursor) = cursor {
            input["cursor"] = cursor.into();
        }
        let reply = procedure.call(context, Input::Json(input)).await?;
        reply.to_value().map_err(RpcError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_never_a_formula() {
        for (text, cell) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@a", "\"'@a\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(quoted(text), cell);
        }
        assert_eq!(cell(&json!(-1.5)), "-1.5");
        assert_eq!(cell(&Value::Null), "");
    }

    #[test]
    fn rows_and_columns_become_the_same_kind_of_lines() {
        let list = List::of("series.csv").unwrap();
        let answer = json!({
            "at": ["t0", "t1"], "share": [10.0, 50.0], "e": [1.0, 2.5], "proof": [1.0, 1.0],
            "ratio": [null, 2.0], "low": [null, 1.2], "high": [null, null],
            "control": [{"requests": 9, "errors": 0}, {"requests": 90, "errors": 1}],
            "candidate": [{"requests": 1, "errors": 0}, {"requests": 10, "errors": 1}],
        });
        let (lines, count) = list.lines(&answer);
        assert_eq!(count, 2);
        assert_eq!(
            lines,
            "t0,10.0,1.0,1.0,,,,9,0,1,0\r\nt1,50.0,2.5,1.0,2.0,1.2,,90,1,10,1\r\n"
        );
        let list = List::of("audit.csv").unwrap();
        let answer =
            json!({"rows": [{"at": "t", "actor": "user:1", "reason": "a, b", "version": 3}]});
        let (lines, _) = list.lines(&answer);
        assert_eq!(lines, "t,user:1,,,,,,\"a, b\",3,\r\n");
    }
}
