//! What becomes of each fault, written down in docs/faults.md.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path};

use futures::{StreamExt as _, stream};
use modelramp::providers::sandbox::{FaultMode, Sandbox, SandboxPlan};

use super::*;

/// A fault of the sandbox, met by a request for a whole answer or for a stream.
struct Row {
    streams: bool,
    fault: &'static str,
}

impl Row {
    /// The name of its model.
    fn model(&self) -> String {
        match self.streams {
            true => format!("s-{}", self.fault),
            false => format!("p-{}", self.fault),
        }
    }

    /// What the provider does, for the table.
    fn what(&self) -> String {
        let fault: Result<FaultMode, _> = self.fault.parse();
        let what = fault.map_or("nobody listens", FaultMode::what);
        let how = if self.streams { "stream: " } else { "" };
        format!("{how}`{}`: {what}", self.fault)
    }
}

/// Rows that are asked at once: some wait for a time to pass.
const AT_ONCE: usize = 16;

/// Where nobody listens: no fault of the sandbox.
const AWAY: &str = "away";

const WHOLE: &[&str] = &[
    AWAY,
    "drop",
    "stale",
    "cut-first",
    "cut",
    "end-first",
    "end-early",
    "hang",
    "stall-first",
    "stall",
    "comments",
    "slow-stream",
    "page",
    "malformed-json",
    "no-choices",
    "empty",
    "empty-null",
    "empty-blank",
    "empty-parts",
    "empty-reasoning",
    "empty-filtered",
    "empty-length",
    "tool-call",
    "error-in-200",
    "mid-stream",
    "refusal",
    "length",
    "content-filter",
    "no-usage",
    "wrong-language",
    "400",
    "too-long",
    "filtered",
    "reasoning-state",
    "bad-generation",
    "401",
    "402",
    "key-limit",
    "region",
    "404",
    "404-bare",
    "no-provider",
    "408",
    "409",
    "413-bare",
    "422-bare",
    "account-limit",
    "no-funds",
    "429",
    "500",
    "503",
    "529",
    "redirect",
];

const STREAMED: &[&str] = &[
    "hang",
    "comments",
    "stall-first",
    "stall",
    "slow-stream",
    "cut-first",
    "cut",
    "cut-chunk",
    "end-first",
    "end-early",
    "no-done",
    "error-in-200",
    "mid-stream",
    "malformed-json",
    "malformed-chunk",
    "page",
    "empty-stream",
    "no-choices",
    "empty-reasoning",
    "length",
    "content-filter",
    "no-usage",
    "wrong-language",
];

fn rows() -> Vec<Row> {
    let of =
        |streams, faults: &'static [&str]| faults.iter().map(move |fault| Row { streams, fault });
    of(false, WHOLE).chain(of(true, STREAMED)).collect()
}

const HEAD: &str = "\
# What becomes of each fault

Written by `cargo test --test integration fault_table`, which compares it with what happens. Each row is one model behind
the gateway: *alone* (its name is asked for) and as the first of a route of two, whose other model is at another provider and
answers. The word in front is a fault of the sandbox ([upstreams.md](upstreams.md#trying-it-out)), so each row can be seen
at home. [gateway.md](gateway.md#errors) says what the codes mean, [upstreams.md](upstreams.md) why who is asked next.

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

/// The outcomes of each model's attempts, in their order, once so many are stored.
async fn stored(gateway: &Gateway, attempts: usize) -> HashMap<String, Vec<String>> {
    let pool = sqlx::SqlitePool::connect(gateway.app.setup.database())
        .await
        .unwrap();
    let stored = eventually(PATIENCE, async || {
        let stored = sqlx::query_as(
            "SELECT model, outcome FROM events JOIN event_order USING (writer, batch) ORDER BY first_seq, place",
        );
        let stored: Vec<(String, String)> = stored.fetch_all(&pool).await.unwrap();
        match stored.len() == attempts {
            true => Ok(stored),
            false => Err(stored.len()),
        }
    });
    let mut outcomes: HashMap<_, Vec<_>> = HashMap::new();
    for (model, outcome) in stored.await {
        outcomes.entry(model).or_default().push(outcome);
    }
    pool.close().await;
    outcomes
}

#[tokio::test]
async fn the_fault_table_says_what_happens() {
    let rows = rows();
    for fault in FaultMode::NAMED {
        let mut rows = rows.iter();
        assert!(
            rows.any(|row| row.fault == fault.name()),
            "{fault} is missing"
        );
    }
    let mut plan = "[default]\nlatency_ms = 0\nword_ms = 0\nslow_word_ms = 2500\n".to_owned();
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let mut catalog = String::new();
    for row in &rows {
        let model = row.model();
        if row.fault != AWAY {
            writeln!(
                plan,
                "[models.{model}]\nerror_rate = 1\nfault = \"{}\"",
                row.fault
            )
            .unwrap();
        }
        let provider = if row.fault == AWAY { "away" } else { "up" };
        write!(
            catalog,
            "[models.{model}]\nprovider = \"{provider}\"\nid = \"{model}\"\ncontext = 8192\n\
             timeouts = {{ first_token = \"2s\", idle = \"2s\", total = \"7s\" }}\n\
             [tasks.t-{model}]\ncandidate = [\"{model}\", \"other\"]\ncontrol = [\"{model}\", \"other\"]\n"
        )
        .unwrap();
    }
    let sandbox = Sandbox::start_with(&SandboxPlan::parse(&plan).unwrap())
        .await
        .unwrap();
    write!(
        catalog,
        "[providers.up]\nbase_url = \"{0}\"\n[providers.another]\nbase_url = \"{0}\"\n\
         [providers.away]\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         [models.other]\nprovider = \"another\"\nid = \"other\"\ncontext = 100000\n\
         [tasks.chat]\ncandidate = [\"other\"]\ncontrol = [\"other\"]\n",
        sandbox.base_url()
    )
    .unwrap();
    // Its models are refused on purpose, and asked again all the same.
    let setup = TestApp::builder().with_setting("CATALOGUE_WATCH", "false");
    let app = setup.with_catalog(&catalog).start().await;
    let gateway = Gateway {
        token: app.setup.admin().await.to_owned(),
        app,
        upstream,
    };
    let gateway = &gateway;
    let came = stream::iter(&rows).map(async |row| {
        let model = row.model();
        let alone = ask(gateway, &model, row.streams).await;
        let on_route = ask(gateway, &format!("task/t-{model}"), row.streams).await;
        [alone, on_route]
    });
    let came: Vec<_> = came.buffered(AT_ONCE).collect().await;
    let total: usize = came.iter().flatten().map(|it| it.tried.len()).sum();
    let stored = stored(gateway, total).await;
    let mut table = HEAD.to_owned();
    for (row, [alone, on_route]) in rows.iter().zip(&came) {
        let outcomes = &stored[&row.model()];
        // On a route the first attempt may turn out to have been the model's own fault.
        let (kind, first) = (&outcomes[0], &outcomes[alone.tried.len()]);
        let kinds = if first == kind {
            format!("`{kind}`")
        } else {
            format!("`{kind}`; of a route `{first}`")
        };
        let times = if alone.tried.len() == 1 {
            "once"
        } else {
            "twice"
        };
        assert_eq!(alone.tried[0], on_route.tried[0]);
        // What is told after the headers were sent is not in them.
        let cause = match alone.tried[0].as_str() {
            "ok" if alone.seen == "an answer" => "none".to_owned(),
            "ok" => "told in the stream".to_owned(),
            cause => format!("`{cause}`"),
        };
        let (alone, on_route) = (&alone.seen, &on_route.seen);
        let what = row.what();
        writeln!(
            table,
            "| {what} | {cause} | {kinds} | {alone} | {times} | {on_route} |"
        )
        .unwrap();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = fs::read_to_string(root.join("docs/faults.md")).unwrap_or_default();
    if written != table {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.md");
        fs::write(&place, &table).unwrap();
        let differing = table.lines().filter(|line| !written.contains(line));
        panic!(
            "docs/faults.md differs from what happens, which is in {}; lines that it lacks:\n{}",
            place.display(),
            differing.collect::<Vec<_>>().join("\n")
        );
    }
}
