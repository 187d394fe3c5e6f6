//! What an application in Rust sees through OpenFeature's official provider: `modelramp-openfeature URL TOKEN [SUBJECT]`
//!
//! Asks for the flag `chat` as each kind of value, and for one that is not there. Prints what each gave, as JSON.

use std::env;

use open_feature::{
    Client, EvaluationContext, EvaluationDetails, EvaluationResult, OpenFeature, StructValue,
};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};

#[tokio::main]
async fn main() {
    let mut arguments = env::args().skip(1);
    let (url, token) = (arguments.next(), arguments.next());
    let (Some(url), Some(token)) = (url, token) else {
        panic!("expected URL TOKEN [SUBJECT]");
    };
    let client = client(url, &token).await;
    let mut about = EvaluationContext::default()
        .with_custom_field("plan", "paid")
        .with_custom_field("seats", 3);
    about.targeting_key = arguments.next();
    let about = Some(&about);
    let fields = client.get_struct_details::<Fields>("chat", about, None);
    let seen = json!({
        "text": said(client.get_string_details("chat", about, None).await),
        "boolean": said(client.get_bool_details("chat", about, None).await),
        "integer": said(client.get_int_details("chat", about, None).await),
        "float": said(client.get_float_details("chat", about, None).await),
        "fields": said(fields.await),
        "missing": said(client.get_string_details("no-such-task", about, None).await),
    });
    println!("{seen}");
}

async fn client(base_url: String, token: &str) -> Client {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {token}").parse();
    headers.insert(AUTHORIZATION, bearer.expect("a token is ASCII"));
    let options = OfrepOptions {
        base_url,
        headers,
        ..OfrepOptions::default()
    };
    let provider = OfrepProvider::new(options).await;
    let mut api = OpenFeature::singleton_mut().await;
    api.set_provider(provider.expect("the URL is one")).await;
    api.create_client()
}

/// Value, variant and reason; or the code and the words of the error.
fn said<T: Into<Value>>(result: EvaluationResult<EvaluationDetails<T>>) -> Value {
    match result {
        Ok(details) => {
            let reason = details.reason.map(|reason| reason.to_string());
            json!([details.value.into(), details.variant, reason])
        }
        Err(error) => json!([error.code.to_string(), error.message]),
    }
}

/// A value with fields in it, as the provider read it.
struct Fields(StructValue);

impl From<StructValue> for Fields {
    fn from(fields: StructValue) -> Self {
        Self(fields)
    }
}

impl From<Fields> for Value {
    fn from(Fields(fields): Fields) -> Self {
        format!("{fields:?}").into()
    }
}
