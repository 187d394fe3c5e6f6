//! A signed-in user of the front end, who speaks tRPC.

use serde_json::{Value, json};

/// One user; cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: i64,
    pub(super) token: String,
    pub(super) base: String,
    pub(super) http: reqwest::Client,
}

impl Client {
    pub(super) async fn query(&self, path: &str, input: Value) -> Value {
        let input = json!({ "json": input }).to_string();
        let url = format!("{}/api/trpc/{path}", self.base);
        let url = reqwest::Url::parse_with_params(&url, [("input", input)]).unwrap();
        let answer = self.send(self.http.get(url)).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(super) async fn mutate(&self, path: &str, input: Value) -> Value {
        let answer = self.try_mutate(path, input).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The answer, or the error as the front end gets it.
    pub(super) async fn try_mutate(&self, path: &str, input: Value) -> Result<Value, Value> {
        let request = self.http.post(format!("{}/api/trpc/{path}", self.base));
        self.send(request.json(&json!({ "json": input }))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Value> {
        let response = request.bearer_auth(&self.token).send().await.unwrap();
        let mut body: Value = response.json().await.unwrap();
        match body.get_mut("result") {
            Some(result) => Ok(result["data"]["json"].take()),
            None => Err(body["error"]["json"].take()),
        }
    }

    /// A new conversation's id.
    pub(super) async fn begin(&self) -> Value {
        let conversation = self.mutate("chat.createConversation", json!({})).await;
        conversation["id"].clone()
    }

    /// Says something there, and waits for the answer.
    pub(super) async fn say(&self, conversation: &Value) -> Result<Value, Value> {
        let input = json!({ "conversationId": conversation, "content": "Say hello." });
        self.try_mutate("chat.sendMessage", input).await
    }

    /// What was said there.
    pub(super) async fn messages(&self, conversation: &Value) -> Vec<Value> {
        let input = json!({ "conversationId": conversation });
        let mut page = self.query("chat.getMessages", input).await;
        serde_json::from_value(page["messages"].take()).unwrap()
    }

    /// A conversation of a question and its answer.
    pub(super) async fn chat(&self) {
        let id = self.begin().await;
        let sent = self.say(&id).await.unwrap();
        assert_eq!(sent["role"], "user");
        let messages = self.messages(&id).await;
        assert_eq!(messages[1]["role"], "assistant", "{messages:?}");
        assert_ne!(messages[1]["content"], "", "{messages:?}");
    }
}
