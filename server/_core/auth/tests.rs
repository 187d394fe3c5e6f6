use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chrono::TimeDelta;
use http::HeaderValue;

use super::{ending::OWED_AGAIN_AFTER, *};
use crate::_core::{caller::Access, errors::ErrorCode};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// One user, `ann`, in a database that can go away.
struct Database {
    role: Mutex<Option<Role>>,
    is_away: AtomicBool,
    hangs: AtomicBool,
    questions: AtomicUsize,
    /// The ids of sessions whose end it knows.
    ended: Mutex<Vec<String>>,
}

#[async_trait]
impl UserStore for Database {
    async fn user_of_session(
        &self,
        session: &Session,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<User>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        // Long enough for others to ask meanwhile.
        tokio::time::sleep(Duration::from_millis(1)).await;
        anyhow::ensure!(!self.is_away.load(Ordering::Relaxed), "away");
        if self.ended.lock().contains(&session.id) {
            return Ok(None);
        }
        let role = *self.role.lock();
        Ok(role.filter(|_| session.open_id == "ann").map(|role| User {
            id: 1,
            open_id: "ann".into(),
            name: None,
            email: None,
            login_method: None,
            role,
            created_at: now,
            updated_at: now,
            last_signed_in: now,
        }))
    }

    async fn end_session(&self, session: &Session, _: DateTime<Utc>) -> anyhow::Result<()> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        anyhow::ensure!(!self.is_away.load(Ordering::Relaxed), "away");
        self.ended.lock().push(session.id.clone());
        Ok(())
    }

    async fn end_sessions_of(&self, _: i64, _: DateTime<Utc>) -> anyhow::Result<()> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        *self.role.lock() = None;
        Ok(())
    }
}

struct Rig {
    database: Arc<Database>,
    authenticator: Arc<Authenticator>,
}

fn rig() -> Rig {
    let database = Arc::new(Database {
        role: Mutex::new(Some(Role::Admin)),
        is_away: AtomicBool::new(false),
        hangs: AtomicBool::new(false),
        questions: AtomicUsize::new(0),
        ended: Mutex::default(),
    });
    let key = SessionKey::new(&SECRET.into());
    let authenticator = Arc::new(Authenticator::new(key, None, database.clone()));
    Rig {
        database,
        authenticator,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "streams ask about the time it is"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn token(open_id: &str, sid: &str) -> String {
    let claims = Claims {
        open_id: open_id.into(),
        app_id: "app".into(),
        name: "Ann".into(),
        exp: u64::try_from((now() + TimeDelta::days(1)).timestamp()).unwrap(),
        sid: Some(sid.into()),
        ..Claims::default()
    };
    SessionKey::new(&SECRET.into()).sign(&claims).unwrap()
}

impl Rig {
    fn role(&self, role: Option<Role>) {
        *self.database.role.lock() = role;
    }

    fn away(&self, is_away: bool) {
        self.database.is_away.store(is_away, Ordering::Relaxed);
    }

    async fn caller(&self, token: &str) -> &'static str {
        kind(&self.authenticator.caller_of_token(token, now()).await)
    }

    async fn session(&self, token: &str) -> CallerSession {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        headers.insert(http::header::AUTHORIZATION, bearer);
        let (_, session) = self.authenticator.identify(&headers, now()).await;
        session.expect("a session")
    }
}

fn kind(caller: &Caller) -> &'static str {
    match caller {
        Caller::Anonymous => "anonymous",
        Caller::User(user) => user.role.name(),
        Caller::Unknown { last_known: None } => "unknown",
        Caller::Unknown {
            last_known: Some(_),
        } => "remembered",
    }
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_counts_after_the_look_ups_time_and_not_a_query_per_call() {
    let rig = rig();
    let token = token("ann", "s");
    for _ in 0..10 {
        assert_eq!(rig.caller(&token).await, "admin");
    }
    assert_eq!(rig.database.questions.load(Ordering::Relaxed), 1);
    for (role, caller) in [
        (Some(Role::User), "user"),
        (None, "anonymous"),
        (Some(Role::Admin), "admin"),
    ] {
        rig.role(role);
        pass(CACHE_TTL).await;
        assert_eq!(rig.caller(&token).await, caller);
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_at_once_share_one_question() {
    let rig = rig();
    let token = token("ann", "s");
    let callers = (0..1000).map(|_| rig.caller(&token));
    let callers = futures::future::join_all(callers).await;
    assert!(callers.iter().all(|caller| *caller == "admin"));
    assert_eq!(rig.database.questions.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_signs_nobody_out_and_is_remembered_for_five_minutes() {
    let rig = rig();
    let (known, new) = (token("ann", "s"), token("ann", "t"));
    assert_eq!(rig.caller(&known).await, "admin");
    rig.away(true);
    pass(CACHE_TTL).await;
    assert_eq!(rig.caller(&known).await, "remembered");
    assert_eq!(rig.caller(&new).await, "unknown");
    assert_eq!(rig.caller("no.token.here").await, "anonymous");
    pass(REMEMBERED_FOR - Duration::from_secs(1)).await;
    assert_eq!(rig.caller(&known).await, "remembered");
    pass(Duration::from_secs(2)).await;
    assert_eq!(rig.caller(&known).await, "unknown");
    rig.away(false);
    pass(CACHE_TTL).await;
    assert_eq!(rig.caller(&known).await, "admin");
    assert_eq!(rig.caller(&new).await, "admin");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_is_away_too_and_is_asked_again_later() {
    let rig = rig();
    let token = token("ann", "s");
    assert_eq!(rig.caller(&token).await, "admin");
    rig.database.hangs.store(true, Ordering::Relaxed);
    pass(CACHE_TTL).await;
    let asked = Instant::now();
    assert_eq!(rig.caller(&token).await, "remembered");
    assert!(asked.elapsed() <= LOOK_UP_PATIENCE + Duration::from_millis(2));
    rig.database.hangs.store(false, Ordering::Relaxed);
    pass(CACHE_TTL).await;
    assert_eq!(rig.caller(&token).await, "admin");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_signed_out_stays_out_when_the_database_goes_away() {
    let rig = rig();
    let (deleted, ended) = (token("ann", "s"), token("ann", "t"));
    rig.role(None);
    assert_eq!(rig.caller(&deleted).await, "anonymous");
    rig.role(Some(Role::Admin));
    let session = rig.session(&ended).await;
    rig.away(true);
    // Nobody else knows of the end, but here it counts.
    let stored = session.end(Duration::from_secs(60), now()).await;
    assert!(stored.is_err());
    pass(CACHE_TTL).await;
    assert_eq!(rig.caller(&deleted).await, "anonymous");
    assert_eq!(rig.caller(&ended).await, "anonymous");
    // One that hangs holds nobody up, and is owed the end too.
    rig.away(false);
    let other = rig.session(&token("ann", "u")).await;
    rig.database.hangs.store(true, Ordering::Relaxed);
    assert!(other.end(Duration::from_secs(60), now()).await.is_err());
    let asked = Instant::now();
    assert!(other.end_all_of(1, now()).await.is_err());
    assert!(asked.elapsed() <= LOOK_UP_PATIENCE + Duration::from_millis(2));
    rig.database.hangs.store(false, Ordering::Relaxed);
    let paying = rig.authenticator.clone().pay_owed(std::future::pending());
    let some_seconds = 3 * OWED_AGAIN_AFTER;
    assert!(tokio::time::timeout(some_seconds, paying).await.is_err());
    assert_eq!(rig.caller(&ended).await, "anonymous");
    assert_eq!(rig.database.ended.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn ended_sessions_are_forgotten_once_the_database_knows_of_them_and_not_before() {
    let rig = rig();
    let remembered = || rig.authenticator.memory.lock().ended.len();
    let year = Duration::from_secs(365 * 86_400);
    for number in 0..1_000 {
        let token = token("ann", &number.to_string());
        let session = rig.session(&token).await;
        session.end(year, now()).await.expect("stored");
        assert_eq!(rig.caller(&token).await, "anonymous");
        pass(Duration::from_secs(1)).await;
    }
    assert!(remembered() < 100, "{}", remembered());
    let away = token("ann", "away");
    let ended = rig.session(&away).await;
    rig.away(true);
    assert!(ended.end(year, now()).await.is_err());
    rig.away(false);
    for number in 1_000..2_000 {
        let session = rig.session(&token("ann", &number.to_string())).await;
        session.end(year, now()).await.expect("stored");
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(rig.caller(&away).await, "anonymous");
}

#[tokio::test(start_paused = true)]
async fn the_first_of_several_cookies_that_holds_counts() {
    let rig = rig();
    let (stale, good) = (token("nobody", "s"), token("ann", "t"));
    let cookie = format!(
        "app_session_id=old.bad.token; app_session_id={stale}; navn=S\u{f8}ren; app_session_id={good}"
    );
    let mut headers = HeaderMap::new();
    headers.insert(
        "cookie",
        HeaderValue::from_bytes(cookie.as_bytes()).unwrap(),
    );
    let (caller, session) = rig.authenticator.identify(&headers, now()).await;
    assert_eq!((kind(&caller), session.is_some()), ("admin", true));
    // A real bearer that does not hold is not replaced by a cookie.
    headers.insert("authorization", HeaderValue::from_static("Bearer a.b.c"));
    let (caller, session) = rig.authenticator.identify(&headers, now()).await;
    assert_eq!((kind(&caller), session.is_none()), ("anonymous", true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_lost_within_five_seconds_of_whatever_ends_its_session() {
    let (signed_in, admin) = (Access::SignedIn, Access::Admin);
    for (access, role, code) in [
        (Access::Public, None, ErrorCode::Unauthorized),
        (signed_in, None, ErrorCode::Unauthorized),
        (admin, Some(Role::User), ErrorCode::Forbidden),
    ] {
        let rig = rig();
        let session = rig.session(&token("ann", "s")).await;
        let lost = session.lost(access);
        let mut lost = std::pin::pin!(lost);
        // It stays while nothing happens.
        let minute = Duration::from_secs(60);
        assert!(tokio::time::timeout(minute, &mut lost).await.is_err());
        rig.role(role);
        let within = Duration::from_secs(5) - LAST_WORDS;
        let error = tokio::time::timeout(within, lost).await.expect("an end");
        assert_eq!(error.code, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_demoted_admin_keeps_what_all_users_may_have() {
    let rig = rig();
    let session = rig.session(&token("ann", "s")).await;
    rig.role(Some(Role::User));
    let lost = session.lost(Access::SignedIn);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), lost)
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_a_database_that_is_away_for_as_long_as_is_remembered() {
    let rig = rig();
    let session = rig.session(&token("ann", "s")).await;
    rig.away(true);
    let lost = session.lost(Access::Admin);
    let mut lost = std::pin::pin!(lost);
    let four = Duration::from_secs(240);
    assert!(tokio::time::timeout(four, &mut lost).await.is_err());
    let error = tokio::time::timeout(four, lost).await.expect("an end");
    assert_eq!(error.code, ErrorCode::ServiceUnavailable);
    assert!(error.retry_after.is_some());
}
