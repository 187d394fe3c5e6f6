//! What becomes of each fault, written down in docs/faults.md.

use std::{fmt::Write as _, fs, path::Path};

use super::*;

/// Something that a provider does.
struct Row {
    what: &'static str,
    does: Does,
    streams: bool,
}

enum Does {
    Says(Reply),
    /// Nobody listens.
    IsAway,
}

fn rows() -> Vec<Row> {
    let row = |streams, what, reply| Row {
        what,
        does: Does::Says(reply),
        streams,
    };
    let plain = |what, reply| row(false, what, reply);
    let streamed = |what, reply| row(true, what, reply);
    let says = |what, status: u16, body: Value| {
        let headers = vec![("content-type", "application/json")];
        plain(what, Reply::Http(status, headers, body.to_string()))
    };
    let error = |status, message: &'static str| {
        says(message, status, json!({"error": {"message": message}}))
    };
    let begun = || vec![chunk(&json!({"role": "assistant"}), None)];
    let told = || words(&["hej"]);
    let event = |data: &str| format!("data: {data}\n\n");
    let failed = r#"{"error": {"message": "Provider disconnected", "code": 502}}"#;
    let with = |mut pieces: Vec<String>, more: &str| {
        pieces.push(event(more));
        pieces
    };
    vec![
        Row {
            what: "nobody listens",
            does: Does::IsAway,
            streams: false,
        },
        plain("the connection breaks in the body", Reply::Cut),
        plain("nothing comes", Reply::Hang),
        plain(
            "a page in place of JSON",
            Reply::Http(200, vec![], "<html>".into()),
        ),
        plain("a text of white space", Reply::ok(" ")),
        says(
            "an error in a 200",
            200,
            json!({"error": {"message": "Upstream failed", "code": 502}}),
        ),
        says(
            "400, content filter",
            400,
            json!({"error": {"message": "The response was filtered due to the prompt triggering content management policy", "code": "content_filter"}}),
        ),
        error(
            400,
            "This model's maximum context length is 8192 tokens. However, you requested 9001 tokens",
        ),
        error(400, "`foo` is unknown"),
        says(
            "400, written badly",
            400,
            json!({"error": {"message": "Failed to generate JSON", "code": "json_validate_failed"}}),
        ),
        error(401, "Invalid API key"),
        error(402, "This request requires more credits"),
        error(403, "Key limit exceeded"),
        error(403, "The model is not available in your country"),
        error(404, "The model `x` does not exist"),
        error(404, "No endpoints found matching your data policy"),
        plain("404, and no JSON", Reply::status(404)),
        plain("408", Reply::status(408)),
        error(409, "Conflict"),
        plain("413", Reply::status(413)),
        error(
            429,
            "Rate limit exceeded: free-models-per-min, requests per min",
        ),
        error(429, "The model is temporarily rate-limited upstream"),
        plain("500", Reply::status(500)),
        plain("503", Reply::status(503)),
        plain("529", Reply::status(529)),
        plain(
            "a redirect",
            Reply::Http(307, vec![("location", "/x")], String::new()),
        ),
        streamed(
            "an error as the first event",
            Reply::events([event(failed)], End::Clean),
        ),
        streamed(
            "an error after the first token",
            Reply::events(with(told(), failed), End::Clean),
        ),
        streamed(
            "an end before the first token",
            Reply::events(begun(), End::Clean),
        ),
        streamed(
            "the connection breaks after the first token",
            Reply::events(told(), End::Cut),
        ),
        streamed(
            "an end after the first token, without a finish reason",
            Reply::events(told(), End::Clean),
        ),
        streamed(
            "silence before the first token",
            Reply::events(begun(), End::Hang),
        ),
        streamed(
            "silence after the first token",
            Reply::events(told(), End::Hang),
        ),
        streamed(
            "an event that is no JSON, after the first token",
            Reply::events(with(told(), "oops"), End::Clean),
        ),
        streamed(
            "`[DONE]` alone",
            Reply::events([DONE.to_owned()], End::Clean),
        ),
    ]
}

const HEAD: &str = "\
# What becomes of each fault

Written by `cargo test --test integration fault_table`, which compares it with what happens. Each row is one model behind
the gateway: *alone* (its name is asked for) and as the first of a route of two, whose other model is at another provider and
answers. [gateway.md](gateway.md#errors) says what the codes mean, [upstreams.md](upstreams.md) why who is asked next.

| the provider | cause | kind in events | alone, the caller sees | asked | of a route, the caller gets |
|---|---|---|---|---|---|
";

/// What one call came to.
struct Came {
    tried: Vec<String>,
    seen: String,
}

async fn ask(gateway: &Gateway, target: &str, streams: bool) -> Came {
    let body = if streams {
        streaming(target)
    } else {
        asking(target)
    };
    let answer = gateway.chat(&body).await;
    let tried = answer.header("x-modelramp-attempts").split(", ");
    let tried = tried
        .map(|it| it.rsplit_once(':').unwrap().1.to_owned())
        .collect();
    let last = answer.events().last().map(|it| (*it).to_owned());
    let seen = match (answer.status.as_u16(), last) {
        (200, Some(last)) if last != "[DONE]" => {
            let last: Value = serde_json::from_str(&last).unwrap();
            format!(
                "an error event `{}`",
                last["error"]["code"].as_str().unwrap()
            )
        }
        (200, _) => match answer.header("x-modelramp-model") {
            "other" => "the other's answer".to_owned(),
            _ => "an answer".to_owned(),
        },
        (status, _) => {
            let code = answer.json()["error"]["code"].clone();
            let code = code
                .as_str()
                .map_or("no code".to_owned(), |code| format!("`{code}`"));
            let again = match answer.header("x-should-retry") {
                "false" => "",
                _ => ", may be repeated",
            };
            format!("{status} {code}{again}")
        }
    };
    Came { tried, seen }
}

/// How so many attempts ended, in their order, once that is stored.
async fn stored(gateway: &Gateway, attempts: usize) -> Vec<String> {
    let pool = sqlx::SqlitePool::connect(gateway.app.setup.database())
        .await
        .unwrap();
    let stored = eventually(PATIENCE, async || {
        let stored = sqlx::query_scalar(
            "SELECT outcome FROM events JOIN event_order USING (writer, batch) ORDER BY first_seq, place",
        );
        let stored: Vec<String> = stored.fetch_all(&pool).await.unwrap();
        match stored.len() == attempts {
            true => Ok(stored),
            false => Err(stored.len()),
        }
    });
    let stored = stored.await;
    pool.close().await;
    stored
}

#[tokio::test]
async fn the_fault_table_says_what_happens() {
    let script = rows();
    let upstream = Upstream::with(move |_, request| {
        let model = request.body["model"].as_str().unwrap();
        match model
            .strip_prefix('m')
            .map(|n| &script[n.parse::<usize>().unwrap()].does)
        {
            Some(Does::Says(reply)) => reply.clone(),
            _ if request.body["stream"] == true => {
                let pieces = [
                    words(&["hej"]),
                    vec![chunk(&json!({}), Some("stop")), DONE.into()],
                ];
                Reply::events(pieces.concat(), End::Clean)
            }
            _ => Reply::ok("hej"),
        }
    })
    .await;
    let mut text = format!(
        "[providers.up]\nbase_url = \"{0}\"\n[providers.another]\nbase_url = \"{0}\"\n\
         [providers.away]\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         [models.other]\nprovider = \"another\"\nid = \"other\"\ncontext = 100000\n\
         [tasks.chat]\ncandidate = [\"other\"]\ncontrol = [\"other\"]\n",
        upstream.base_url
    );
    for (n, row) in rows().iter().enumerate() {
        let provider = match row.does {
            Does::Says(_) => "up",
            Does::IsAway => "away",
        };
        write!(
            text,
            "[models.m{n}]\nprovider = \"{provider}\"\nid = \"m{n}\"\ncontext = 8192\n\
             timeouts = {{ first_token = \"200ms\", idle = \"200ms\", total = \"1s\" }}\n\
             [tasks.t{n}]\ncandidate = [\"m{n}\", \"other\"]\ncontrol = [\"m{n}\", \"other\"]\n"
        )
        .unwrap();
    }
    let app = TestApp::builder().with_catalog(&text).start().await;
    let gateway = Gateway {
        token: app.setup.admin().await.to_owned(),
        app,
        upstream,
    };
    let rows = rows();
    let mut came = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let alone = ask(&gateway, &format!("m{n}"), row.streams).await;
        let on_route = ask(&gateway, &format!("task/t{n}"), row.streams).await;
        came.push([alone, on_route]);
    }
    let total: usize = came.iter().flatten().map(|it| it.tried.len()).sum();
    let stored = stored(&gateway, total).await;
    let mut stored = stored.into_iter();
    let mut table = HEAD.to_owned();
    for (row, [alone, on_route]) in rows.iter().zip(&came) {
        let kind = stored.next().unwrap();
        let mut others = stored
            .by_ref()
            .take(alone.tried.len() - 1 + on_route.tried.len());
        // On a route the first attempt may turn out to have been the model's own fault.
        let first = others.by_ref().nth(alone.tried.len() - 1).unwrap();
        others.for_each(drop);
        let kinds = if first == kind {
            format!("`{kind}`")
        } else {
            format!("`{kind}`; of a route `{first}`")
        };
        let how = if row.streams { "stream: " } else { "" };
        let times = if alone.tried.len() == 1 {
            "once"
        } else {
            "twice"
        };
        assert_eq!(alone.tried[0], on_route.tried[0]);
        // What is told after the headers were sent is not in them.
        let cause = match alone.tried[0].as_str() {
            "ok" => "told in the stream".to_owned(),
            cause => format!("`{cause}`"),
        };
        let (alone, on_route) = (&alone.seen, &on_route.seen);
        let what = row.what;
        writeln!(
            table,
            "| {how}{what} | {cause} | {kinds} | {alone} | {times} | {on_route} |"
        )
        .unwrap();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = fs::read_to_string(root.join("docs/faults.md")).unwrap_or_default();
    if written != table {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.md");
        fs::write(&place, &table).unwrap();
        panic!(
            "docs/faults.md differs from what happens, which is in {}",
            place.display()
        );
    }
}
