//! Prompts and answers that are kept: of which tasks, what of them, and who opens them.

use modelramp::_core::caller::Role;

use super::*;
use crate::support::{calls, wait};

impl Gateway {
    async fn asked_by(&self, token: &str, path: &str, id: &str) -> Result<Value, Value> {
        let input = json!({"requestId": id});
        calls::rpc(&self.app.http, &self.app.url, token, path, input)
            .await
            .unwrap()
    }
}

/// Says what it was told, whole or letter by letter.
fn echo(_: usize, request: &Request) -> Reply {
    let last = request.body["messages"].as_array().unwrap().last().unwrap();
    let said = format!("Til {}!", last["content"].as_str().unwrap());
    if request.body["stream"] != true {
        return Reply::ok(&said);
    }
    let letters: Vec<_> = said.chars().map(String::from).collect();
    let mut pieces = words(&letters.iter().map(String::as_str).collect::<Vec<_>>());
    pieces.push(chunk(&json!({}), Some("stop")));
    pieces.push(DONE.to_owned());
    Reply::events(pieces, End::Clean)
}

#[tokio::test]
async fn texts_of_a_named_task_are_kept_as_they_left_and_who_opens_them_is_in_the_audit() {
    let upstream = Upstream::with(echo).await;
    let catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.a]\nprovider = \"up\"\nid = \"a\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\n[tasks.chat.privacy]\nmask = [\"email\"]\n\
         [tasks.other]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder()
        .with_setting("TEXT_TASKS", "chat")
        .with_catalog(&catalog)
        .start()
        .await;
    let gateway = Gateway {
        token: app.setup.admin().await.to_owned(),
        app,
        upstream,
    };
    let viewer = gateway.app.setup.token(5, Role::Viewer).await;
    for (task, streams) in [("chat", false), ("chat", true), ("other", false)] {
        let mut body = asking(&format!("task/{task}"));
        body["messages"][0]["content"] = "anna@firma.dk".into();
        body["stream"] = streams.into();
        let answer = gateway.chat(&body).await;
        let id = answer.header("x-request-id").to_owned();
        let get = async || gateway.asked_by(&viewer, "requests.get", &id).await;
        wait::until("the request is stored", async || {
            get()
                .await
                .is_ok_and(|it| task == "other" || it["noTexts"].is_null())
        })
        .await;
        let open = async |token: &str| gateway.asked_by(token, "requests.openTexts", &id).await;
        let refused = open(&viewer).await.unwrap_err();
        assert_eq!(refused["data"]["code"], "FORBIDDEN", "{refused}");
        if task == "other" {
            assert_eq!(get().await.unwrap()["noTexts"], "other-task");
            let none = open(&gateway.token).await.unwrap_err();
            assert_eq!(none["data"]["code"], "NOT_FOUND", "{none}");
            continue;
        }
        let opened = open(&gateway.token).await.unwrap();
        let text = opened.to_string();
        assert!(!text.contains("anna"), "as it left: {text}");
        let [one] = opened.as_array().unwrap().as_slice() else {
            panic!("{text}");
        };
        let said = one["prompt"].as_array().unwrap().last().unwrap();
        assert_eq!(said["role"], "user");
        let placeholder = said["text"].as_str().unwrap();
        assert!(placeholder.starts_with("[EMAIL-1"), "{placeholder}");
        assert_eq!(one["answer"], format!("Til {placeholder}!"));
        assert_eq!((&one["masked"], &one["cut"]), (&json!(1), &json!(false)));
        let audit = json!({"subject": "texts", "id": id});
        let audit = gateway.app.call("audit.list", audit).await.unwrap();
        let row = &audit["rows"][0];
        assert_eq!(
            (&row["action"], &row["actor"]),
            (&json!("opened"), &json!("user:1"))
        );
    }
}

#[tokio::test]
async fn a_task_that_the_catalog_does_not_have_is_named_at_the_start() {
    let setup = TestApp::builder().with_setting("TEXT_TASKS", "chat, chatt");
    let Err(refused) = modelramp::app::App::build(setup.config()).await else {
        panic!("it starts");
    };
    let refused = format!("{refused:#}");
    assert!(refused.contains("TEXT_TASKS has `chatt`"), "{refused}");
    assert!(refused.ends_with("did you mean `chat`?"), "{refused}");
}
