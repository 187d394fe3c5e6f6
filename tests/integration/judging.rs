//! A model that judges answers: in pairs, twice, by the plan's rubric.

use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use sqlx::SqlitePool;

use crate::support::{
    app::TestApp,
    scripted_upstream::{Reply, Request, Upstream},
    wait::{PATIENCE, eventually},
};

const RUBRIC: &str = "Which answer helps more?";
const CURT: &str = "No.";

/// Two models of which the candidate is curt, and a judge that says this of the answers it reads.
async fn upstream(judge: impl Fn([&str; 2]) -> u8 + Send + Sync + 'static) -> Upstream {
    Upstream::with(move |_, request: &Request| {
        let body = &request.body;
        match body["model"].as_str() {
            Some("new") => Reply::ok(CURT),
            Some("judge") => {
                let about = body["messages"][1]["content"].as_str().unwrap();
                let about: Value = serde_json::from_str(about).unwrap();
                let answers = ["answer_1", "answer_2"].map(|it| about[it].as_str().unwrap());
                Reply::ok(&json!({"better": judge(answers)}).to_string())
            }
            _ => Reply::ok("Gladly: first this, and then that."),
        }
    })
    .await
}

async fn start(upstream: &Upstream) -> (TestApp, String) {
    let mut catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[tasks.chat]\ncontrol = [\"old\"]\ncandidate = [\"new\"]\n",
        upstream.base_url
    );
    for model in ["old", "new", "judge"] {
        catalog += &format!(
            "[models.{model}]\nprovider = \"up\"\nid = \"{model}\"\ncontext = 32000\nprices = {{ prompt = 1, completion = 1 }}\n"
        );
    }
    let app = TestApp::builder().with_catalog(&catalog).with_busy_users();
    let app = app.start().await;
    let plan = format!(
        "name = \"judged\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n[evidence]\nrollback = 5\nhold = 5\nwatch = 5\n\
         [judging]\nmodel = \"judge\"\nrubric = \"{RUBRIC}\"\nshare = 100\n[[stages]]\nshare = 50\nsoak = \"1h\"\n"
    );
    let id = app.begin_rollout(&plan).await;
    (app, id)
}

impl TestApp {
    /// Asks until something of the rollout is as it should be; the rollout then.
    async fn asks_until(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        // Of one user, one question a day is put to the judge. The first ones are the application's own.
        let mut user = 100;
        eventually(PATIENCE, async || {
            user += 1;
            let token = self.setup.token(user, Role::User).await;
            let body =
                json!({"model": "task/chat", "messages": [{"role": "user", "content": "May I?"}]});
            let ask = self.http.post(format!("{}/v1/chat/completions", self.url));
            let ask = ask.bearer_auth(&token).body(body.to_string());
            assert!(ask.send().await.unwrap().status().is_success());
            let rollout = self.call("rollout.get", json!({"id": id})).await.unwrap();
            if is(&rollout) {
                Ok(rollout)
            } else {
                Err(rollout)
            }
        })
        .await
    }
}

fn judged(upstream: &Upstream) -> Vec<Value> {
    let requests = upstream.requests().into_iter().map(|it| it.body);
    requests.filter(|body| body["model"] == "judge").collect()
}

#[tokio::test]
async fn a_candidate_whose_answers_are_worse_is_taken_back_by_the_judge() {
    let upstream = upstream(|[first, _]| if first == CURT { 2 } else { 1 }).await;
    let (app, id) = start(&upstream).await;
    let is_back = |rollout: &Value| rollout["state"]["name"] == "rolled-back";
    let rollout = app.asks_until(&id, is_back).await;
    let judge = &rollout["verdict"]["judge"];
    let worse = judge["worse"].as_u64().unwrap();
    assert!((5..=20).contains(&worse), "{judge}");
    assert_eq!(
        (&judge["better"], &judge["stopped"]),
        (&json!(0), &Value::Null)
    );
    assert!(judge["costThatDay"].as_i64().unwrap() > 0, "{judge}");

    // It is in force before it is written.
    let why = eventually(PATIENCE, async || {
        let why = app.call("rollout.why", json!({"id": id})).await.unwrap();
        let why = why.to_string();
        if why.contains("the judge model finds the candidate's answers worse") {
            Ok(why)
        } else {
            Err(why)
        }
    })
    .await;
    assert!(
        why.contains("worse than control: the judge model: of ")
            && why.contains("better in 0 and worse in"),
        "{why}"
    );
    // It was asked twice about each pair, by the rubric, and of nobody's answer the text is kept.
    let asked = judged(&upstream);
    assert!(asked.len() as u64 >= 2 * worse, "{}", asked.len());
    assert!(asked[0].to_string().contains(RUBRIC) && asked[0].to_string().contains("May I?"));
    let pool = SqlitePool::connect(app.setup.database()).await.unwrap();
    let stored = eventually(PATIENCE, async || {
        let sql = "SELECT COUNT(*) FROM events WHERE outcome = 'judged-worse' AND variant = 'candidate' AND model = 'new'";
        let stored: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        if stored as u64 >= worse { Ok(stored) } else { Err(stored) }
    })
    .await;
    pool.close().await;
    let summary = app.call("aiMetrics.getSummary", json!({})).await.unwrap();
    let candidate = &summary["variants"]["candidate"];
    assert_eq!(candidate["judgedAnswers"], candidate["worseAnswers"]);
    assert!(
        candidate["worseAnswers"].as_i64().unwrap() >= stored.min(5),
        "{candidate}"
    );
    assert_eq!(summary["variants"]["control"]["worseAnswers"], 0);
}

#[tokio::test]
async fn a_judge_that_goes_by_the_order_of_the_answers_stops_counting_and_says_so() {
    let upstream = upstream(|_| 1).await;
    let (app, id) = start(&upstream).await;
    let is_stopped = |rollout: &Value| rollout["verdict"]["judge"]["stopped"] == "inconsistent";
    let rollout = app.asks_until(&id, is_stopped).await;
    assert_eq!(rollout["verdict"]["judge"]["e"], 1.0);
    let words = rollout["words"].to_string();
    assert!(words.contains("changed with the order"), "{words}");
    assert_ne!(rollout["state"]["name"], "rolled-back");
    let told = eventually(PATIENCE, async || {
        let pool = SqlitePool::connect(app.setup.database()).await.unwrap();
        let text = "SELECT COUNT(*) FROM alerts WHERE title LIKE '%judge model stopped counting%'";
        let told: i64 = sqlx::query_scalar(text).fetch_one(&pool).await.unwrap_or(0);
        pool.close().await;
        if told == 1 { Ok(told) } else { Err(told) }
    })
    .await;
    assert_eq!(told, 1);
}
