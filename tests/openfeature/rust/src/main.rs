//! What applications see through OpenFeature's official provider: `modelramp-openfeature URL KEY SUBJECT-IN SUBJECT-OUT`.
//!
//! Prints what each question was answered, as JSON, in the words of `../run.mjs`.

use std::error::Error;

use open_feature::{EvaluationContext, OpenFeature};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, key, within, without] = arguments.as_slice() else {
        return Err("usage: modelramp-openfeature URL KEY SUBJECT-IN SUBJECT-OUT".into());
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::try_from(format!("Bearer {key}"))?,
    );
    let options = OfrepOptions {
        base_url: url.clone(),
        headers,
        ..Default::default()
    };
    let provider = OfrepProvider::new(options)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let mut api = OpenFeature::singleton_mut().await;
    api.set_provider(provider).await;
    let client = api.create_client();
    let ask = async |flag: &str, subject: Option<&str>| {
        let context = EvaluationContext::default();
        let context = match subject {
            Some(subject) => context.with_targeting_key(subject),
            None => context,
        };
        match client.get_string_details(flag, Some(&context), None).await {
            Ok(seen) => json!({"value": seen.value, "variant": seen.variant}),
            Err(error) => json!({"errorCode": format!("{:?}", error.code)}),
        }
    };
    let wrong = EvaluationContext::default().with_targeting_key(within.as_str());
    let wrong = client.get_bool_details("chat", Some(&wrong), None).await;
    let wrong: Value = match wrong {
        Ok(_) => Value::Null,
        Err(error) => format!("{:?}", error.code).into(),
    };
    let seen = json!({
        "within": ask("chat", Some(within)).await,
        "without": ask("chat", Some(without)).await,
        "missing": ask("no-such-task", Some(within)).await,
        "nobody": ask("chat", None).await,
        "wrongType": {"errorCode": wrong},
    });
    println!("{seen}");
    Ok(())
}
