//! What the event of an answer says of its quality, and when.

use super::{answers::empty, *};

/// A router whose task `chat` asks this of its answers.
async fn asking(
    answers: &str,
    script: impl Fn(&Value) -> Reply + Send + Sync + 'static,
) -> (ModelRouter, Arc<Events>, Upstream) {
    let upstream = Upstream::with(move |_, request| script(&request.body)).await;
    let text = format!(
        "[providers.one]\nbase_url = \"{}\"\n[models.a]\nprovider = \"one\"\nid = \"a\"\ncontext = 8000\n\
         [tasks.chat]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\n{answers}",
        upstream.base_url
    );
    let (router, events) = router(Catalog::parse(&text).unwrap(), candidates());
    (router, events, upstream)
}

fn saying(text: &str) -> Call {
    Call {
        request: ChatRequest::new(vec![ChatMessage::text("user", text)]),
        ..call()
    }
}

#[tokio::test]
async fn an_answer_is_held_against_its_schema_as_the_caller_gets_it() {
    let demands = "[tasks.chat.privacy]\nmask = [\"email\"]\n\
                   [tasks.chat.answers]\nschema = '{\"pattern\": \"^anna@firma[.]dk$\"}'\n";
    let (router, events, _upstream) = asking(demands, |body| {
        // The first one tells of the placeholders.
        let asked = body["messages"].as_array().unwrap().last().unwrap();
        let masked = asked["content"].as_str().unwrap();
        assert!(!masked.contains("anna"));
        let echo = json!(masked).to_string();
        if body["stream"] == true {
            let pieces: Vec<_> = echo.chars().map(String::from).collect();
            Reply::tokens(&pieces.iter().map(String::as_str).collect::<Vec<_>>())
        } else {
            Reply::ok(&echo)
        }
    })
    .await;
    let call = || saying("anna@firma.dk");
    let answer = complete_call(&router, "chat", call()).await.unwrap();
    assert_eq!(answer.completion.content, "\"anna@firma.dk\"");
    let stream = router
        .stream(&route(&router, "chat"), call())
        .await
        .unwrap();
    let deltas: Vec<_> = stream.deltas.collect().await;
    let text: String = deltas.into_iter().map(|it| it.unwrap().content).collect();
    assert_eq!(text, "\"anna@firma.dk\"");
    let seen: Vec<_> = events.all().iter().map(|it| it.quality).collect();
    assert_eq!(seen, [Some(Quality::Good); 2]);
}

#[tokio::test]
async fn what_the_caller_limited_itself_blames_no_model() {
    let (router, events, _upstream) =
        asking("", |_| empty(&json!({"content": "æh"}), &json!("length"))).await;
    let mut limited = call();
    limited.request.max_tokens = Some(2);
    complete_call(&router, "chat", limited).await.unwrap();
    complete(&router, "chat").await.unwrap();
    let seen = events.all();
    let seen: Vec<_> = seen.iter().map(|it| (it.outcome, it.quality)).collect();
    let success = Outcome::Success;
    assert_eq!(seen, [(success, None), (success, Some(Quality::Truncated))]);
}

#[tokio::test]
async fn looking_at_an_answer_is_no_part_of_its_latency() {
    // All items are compared with each other, two hundred times, which takes longer than the answer itself.
    let items: Vec<_> = (0..1_500).map(|n| json!({"n": n})).collect();
    let rules: Vec<_> = (0..200)
        .map(|least| json!({"uniqueItems": true, "minItems": least}))
        .collect();
    let answers = format!(
        "[tasks.chat.answers]\nschema = '{}'\n",
        json!({"allOf": rules})
    );
    let text = json!(items).to_string();
    let (router, events, _upstream) = asking(&answers, move |_| Reply::ok(&text)).await;
    let since = Instant::now();
    complete(&router, "chat").await.unwrap();
    let whole_ms = since.elapsed().as_secs_f64() * 1e3;
    let event = events.all().remove(0);
    assert_eq!(event.quality, Some(Quality::Good));
    assert!(
        event.latency_ms < whole_ms / 2.0,
        "{} of {whole_ms} ms",
        event.latency_ms
    );
}
