//! `models.explain`: which model a user gets, and why.

use super::{keys::embedded, *};

fn user(id: i64, role: Role) -> Context {
    let now = chrono::DateTime::UNIX_EPOCH;
    let user = User {
        id,
        open_id: format!("local:{id}"),
        name: None,
        email: None,
        login_method: None,
        role,
        created_at: now,
        updated_at: now,
        last_signed_in: now,
    };
    Context::new(Caller::User(Arc::new(user)), now)
}

async fn explain(context: Context, input: Value) -> Result<Value, RpcError> {
    let catalog = embedded(None, Environment::Test).unwrap();
    let share = FlagsConfig {
        percentage: Percent::new(10.0).unwrap(),
        ..flags()
    };
    let (router, _) = router(catalog, share);
    let mut registry = Registry::new(Tasks::default());
    let watched = models_router::ModelStates {
        models: Arc::new(router),
        metrics: Arc::default(),
    };
    models_router::register(&mut registry, watched);
    let target = registry.resolve("models.explain");
    let procedure = target.here().unwrap();
    let reply = procedure.call(context, Input::Json(input)).await?;
    Ok(reply.to_value().unwrap())
}

#[tokio::test]
async fn a_user_learns_which_model_answers_and_why() {
    let told = explain(user(7, Role::User), json!({"task": "email-analysis"}))
        .await
        .unwrap();
    assert_eq!(told["variant"], "candidate");
    assert_eq!(told["model"], "gpt-oss-20b-free");
    assert_eq!(
        told["fallbacks"],
        json!(["glm-4.5-air-free", "claude-3-haiku"])
    );
    assert_eq!(told["reason"], "share");
    assert_eq!(
        told["why"],
        "subject 7 is in bucket 7000 of 100000, below the live share of 10 %, so the route is candidate; `gpt-oss-20b-free` is the primary of task `email-analysis` on that route"
    );
}

#[tokio::test]
async fn only_admins_learn_about_others() {
    let about_9 = json!({"task": "chat", "userId": 9});
    let error = explain(user(7, Role::User), about_9.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert_eq!(
        explain(user(7, Role::Admin), about_9).await.unwrap()["userId"],
        9
    );
    let error = explain(user(7, Role::User), json!({"task": "nope"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
}
