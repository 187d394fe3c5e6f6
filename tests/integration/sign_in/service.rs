//! Signing in at a real issuer (`oidc-provider`), with everything that can be wrong on the way.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;
use crate::support::packages;

/// Where browsers would reach the server; nobody asks it here.
const PUBLIC: &str = "http://app.example";
const SECRET: &str = "a secret: with/odd+signs";

/// The issuer, as a process.
struct Issuer {
    process: Child,
    url: String,
    http: reqwest::Client,
}

impl Issuer {
    async fn start(clock_offset_ms: i64) -> Self {
        Self::start_for(PUBLIC, clock_offset_ms).await
    }

    /// One that sends browsers back to a server that they reach there.
    async fn start_for(public: &'static str, clock_offset_ms: i64) -> Self {
        let begin = move || {
            let folder = packages::installed("sign_in_service");
            let mut process = Command::new("node")
                .arg("serve.mjs")
                .arg(format!("{public}/api/auth/oidc/callback"))
                .arg(clock_offset_ms.to_string())
                .current_dir(folder)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("`node` runs the issuer");
            let mut line = String::new();
            let out = process.stdout.take().unwrap();
            BufReader::new(out).read_line(&mut line).unwrap();
            let told: Value = serde_json::from_str(&line).expect("the issuer tells its address");
            (process, told["issuer"].as_str().unwrap().to_owned())
        };
        let (process, url) = tokio::task::spawn_blocking(begin).await.unwrap();
        let http = crate::support::http_client();
        Self { process, url, http }
    }

    /// Where the browser is sent after somebody has signed in at this address.
    async fn walk(&self, start: &str, person: &str) -> String {
        let start = format!("{start}&login_hint={person}");
        let url = url::Url::parse_with_params(&format!("{}/walk", self.url), [("url", start)]);
        let answer = self.http.get(url.unwrap()).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// How often it was asked at this path.
    async fn asked(&self, path: &str) -> u64 {
        let answer = self.http.get(format!("{}/asked", self.url)).send().await;
        let asked: Value = answer.unwrap().json().await.unwrap();
        asked[path].as_u64().unwrap_or(0)
    }

    async fn spoil(&self, what: &str) {
        let url = format!("{}/fault/{what}", self.url);
        self.http.get(url).send().await.unwrap();
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn with(issuer: &Issuer, more: &[(&str, &str)]) -> Rig {
    let mut settings = vec![
        ("PUBLIC_URL", PUBLIC),
        ("OIDC_ISSUER", &issuer.url),
        ("OIDC_CLIENT_ID", "modelramp"),
        ("OIDC_CLIENT_SECRET", SECRET),
        ("OIDC_SCOPES", "openid profile email roles"),
        ("ADMIN_ROLES", "ramp-admins"),
        ("VIEWER_ROLES", "staff"),
    ];
    settings.retain(|(name, _)| more.iter().all(|(it, _)| it != name));
    settings.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    rig(&settings).await
}

/// A browser on its way.
struct Away {
    /// Where the issuer is to send it in from.
    to: String,
    /// What it keeps.
    cookie: String,
}

impl Rig {
    async fn begin(&self, query: &str) -> Away {
        let (status, headers, body) =
            (self.send("GET", &format!("/api/auth/oidc/start{query}"), &[], None)).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
        let cookie = headers["set-cookie"].to_str().unwrap();
        assert!(
            cookie.contains("; HttpOnly") && cookie.contains("SameSite=Lax"),
            "{cookie}"
        );
        Away {
            to: headers["location"].to_str().unwrap().to_owned(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    /// The browser comes back to this address.
    async fn come_back(&self, address: &str, cookie: &str) -> (StatusCode, HeaderMap, String) {
        let path = address.find("/api/auth/").expect(address);
        let path = &address[path..];
        let (status, headers, body) = self.send("GET", path, &[("cookie", cookie)], None).await;
        (
            status,
            headers,
            body.as_str().unwrap_or_default().to_owned(),
        )
    }

    /// The whole way; the session token, or the status and the page.
    async fn sign_in(&self, issuer: &Issuer, person: &str) -> Result<String, (StatusCode, String)> {
        let away = self.begin("").await;
        let back = issuer.walk(&away.to, person).await;
        let (status, headers, page) = self.come_back(&back, &away.cookie).await;
        session(&headers).ok_or((status, page))
    }

    async fn who(&self, token: &str) -> Value {
        self.me(token).await.1["result"]["data"]["json"].clone()
    }
}

fn session(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all("set-cookie").into_iter();
    let mut cookies = cookies.filter_map(|it| it.to_str().ok());
    let token = cookies.find_map(|it| it.strip_prefix("app_session_id="))?;
    Some(token.split(';').next()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_name_and_role_and_comes_back_as_the_same_user() {
    let issuer = Issuer::start(0).await;
    let rig = with(&issuer, &[]).await;
    let bo = rig.sign_in(&issuer, "bo").await.unwrap();
    let me = rig.who(&bo).await;
    assert_eq!(
        (&me["name"], &me["email"], &me["role"], &me["loginMethod"]),
        (
            &json!("Bo Ærø"),
            &json!("bo@example.com"),
            &json!("admin"),
            &json!("oidc")
        )
    );
    let again = rig.sign_in(&issuer, "bo").await.unwrap();
    assert_eq!(rig.who(&again).await["id"], me["id"]);
    let eva = rig.who(&rig.sign_in(&issuer, "eva").await.unwrap()).await;
    assert_eq!(
        (&eva["role"], &eva["email"]),
        (&json!("viewer"), &Value::Null)
    );
    // Who has no word for a role is a plain user, whatever was given by hand before.
    let none = rig.sign_in(&issuer, "none").await.unwrap();
    assert_eq!(rig.who(&none).await["role"], "user");

    // The page leads on to a path of this server, and what a service calls somebody is text on it.
    let away = rig.begin("?next=/dashboard/audit%3Factor%3Dx").await;
    let back = issuer.walk(&away.to, "eva").await;
    let (status, _, page) = rig.come_back(&back, &away.cookie).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("href=\"/dashboard/audit?actor=x\""), "{page}");
    assert!(
        page.contains("&lt;b&gt;Eva&lt;/b&gt;") && !page.contains("<b>"),
        "{page}"
    );
    let away = rig.begin("?next=//evil.example").await;
    let back = issuer.walk(&away.to, "eva").await;
    let (_, _, page) = rig.come_back(&back, &away.cookie).await;
    assert!(
        page.contains("href=\"/dashboard/\"") && !page.contains("evil"),
        "{page}"
    );

    // A role by claim is in the audit, as given by the sign-in.
    let audit = crate::support::calls::rpc(
        &rig.server.http,
        &rig.server.url,
        &bo,
        "audit.list",
        json!({"subject": "users"}),
    );
    let audit = audit.await.unwrap().unwrap();
    assert_eq!(audit["rows"][0]["actor"], "sign-in", "{audit}");

    // A user who was deleted here does not come back by signing in.
    let id = eva["id"].as_i64().unwrap();
    assert!(
        rig.server
            .setup
            .storage()
            .await
            .forget_user(id, &modelramp::_core::actor::Actor::CommandLine, now())
            .await
            .unwrap()
            .is_some()
    );
    let (status, page) = rig.sign_in(&issuer, "eva").await.unwrap_err();
    assert_eq!(status, StatusCode::FORBIDDEN, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_signs_in_by_its_proof_alone_and_keeps_roles_that_were_given_by_hand() {
    let issuer = Issuer::start(0).await;
    let more = [
        ("OIDC_CLIENT_ID", "public"),
        ("OIDC_CLIENT_SECRET", ""),
        ("ADMIN_ROLES", ""),
        ("VIEWER_ROLES", ""),
    ];
    let rig = with(&issuer, &more).await;
    let bo = rig.sign_in(&issuer, "bo").await.unwrap();
    let me = rig.who(&bo).await;
    assert_eq!(me["role"], "user");
    let id = me["id"].as_i64().unwrap();
    app::set_role(&rig.config, id, Role::Admin, now())
        .await
        .unwrap();
    let again = rig.sign_in(&issuer, "bo").await.unwrap();
    assert_eq!(rig.who(&again).await["role"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_does_not_belong_to_the_attempt_signs_anybody_in() {
    let issuer = Issuer::start(0).await;
    let rig = with(&issuer, &[]).await;
    let refused = async |address: &str, cookie: &str, expected: u16| {
        let (status, headers, page) = rig.come_back(address, cookie).await;
        assert_eq!(status.as_u16(), expected, "{address}: {page}");
        assert_eq!(session(&headers), None, "{address}");
        assert!(page.contains("Begin anew"), "{page}");
    };
    // Another state, no state, another browser, nothing at all.
    let away = rig.begin("").await;
    let back = issuer.walk(&away.to, "bo").await;
    let other = rig.begin("").await;
    refused(&back.replace("state=", "state=x"), &away.cookie, 400).await;
    refused(&back.replace("state=", "stat="), &away.cookie, 400).await;
    refused(&back, &other.cookie, 400).await;
    refused(&back, &away.cookie.replace('.', "x."), 400).await;
    refused(&back, "", 400).await;
    refused(&format!("{PUBLIC}/api/auth/oidc/callback"), "", 400).await;
    // Another service's answer.
    refused(&(back.clone() + "x"), &away.cookie, 403).await;
    // The right one, and the same again.
    let (status, headers, page) = rig.come_back(&back, &away.cookie).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(session(&headers).is_some());
    refused(&back, &away.cookie, 400).await;

    // Another nonce.
    let away = rig.begin("").await;
    let back = issuer
        .walk(&away.to.replace("nonce=", "nonce=x"), "bo")
        .await;
    refused(&back, &away.cookie, 403).await;
    // Another proof.
    let away = rig.begin("").await;
    let back = issuer.walk(&away.to, "bo").await;
    let (start, _) = back.split_once("code=").unwrap();
    let state = url::Url::parse(&back).unwrap();
    let state = state
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    let other = rig.begin("").await;
    let code = issuer.walk(&other.to, "bo").await;
    let code = url::Url::parse(&code).unwrap();
    let code = code
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    refused(
        &format!("{start}code={code}&state={state}"),
        &away.cookie,
        400,
    )
    .await;
    // Another audience, another key, and one that is not published. Signing anew is not what makes them wrong.
    issuer.spoil("resigned").await;
    assert!(rig.sign_in(&issuer, "bo").await.is_ok());
    for fault in ["audience", "signature", "unpublished"] {
        issuer.spoil(fault).await;
        let (status, page) = rig.sign_in(&issuer, "bo").await.unwrap_err();
        assert_eq!(status, StatusCode::FORBIDDEN, "{fault}: {page}");
        issuer.spoil("none").await;
    }
    // Somebody who says no there.
    let away = rig.begin("").await;
    let state = url::Url::parse(&away.to).unwrap();
    let state = state
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    refused(
        &format!("{PUBLIC}/api/auth/oidc/callback?error=access_denied&state={state}"),
        &away.cookie,
        403,
    )
    .await;
    assert!(
        rig.sign_in(&issuer, "bo").await.is_ok(),
        "and it works still"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_change_its_key_at_once_with_or_without_a_name() {
    for change in ["rotated", "rotated-unnamed"] {
        let issuer = Issuer::start(0).await;
        let rig = with(&issuer, &[]).await;
        assert!(rig.sign_in(&issuer, "bo").await.is_ok());
        assert_eq!(issuer.asked("/jwks").await, 1);
        issuer.spoil(change).await;
        for _ in 0..2 {
            let signed_in = rig.sign_in(&issuer, "bo").await;
            assert!(signed_in.is_ok(), "{change}: {signed_in:?}");
        }
        assert_eq!(issuer.asked("/jwks").await, 2, "{change}");
        // One that signs with a stranger's key is not asked for its keys each time.
        issuer.spoil("signature").await;
        for _ in 0..2 {
            let (status, page) = rig.sign_in(&issuer, "bo").await.unwrap_err();
            assert_eq!(status, StatusCode::FORBIDDEN, "{change}: {page}");
        }
        assert_eq!(issuer.asked("/jwks").await, 2, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_asked_for_no_more_than_is_needed() {
    let issuer = Issuer::start(0).await;
    let without = [("ADMIN_ROLES", ""), ("VIEWER_ROLES", "")];
    let rig = with(
        &issuer,
        &[&without[..], &[("OIDC_SCOPES", "openid email")]].concat(),
    )
    .await;
    assert!(rig.sign_in(&issuer, "bo").await.is_ok());
    assert_eq!(issuer.asked("/me").await, 0);
    // Its ID tokens hold no more than who it is.
    for more in [
        &[("OIDC_SCOPES", "openid roles")][..],
        &[&without[..], &[("OIDC_SCOPES", "openid profile")]].concat(),
    ] {
        let before = issuer.asked("/me").await;
        let rig = with(&issuer, more).await;
        assert!(rig.sign_in(&issuer, "bo").await.is_ok());
        assert_eq!(issuer.asked("/me").await, before + 1, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_refused_is_told_from_a_server_that_is() {
    let issuer = Issuer::start(0).await;
    let rig = with(&issuer, &[]).await;
    for (fault, words) in [
        ("token-401", "does not know this server"),
        ("token-429", "does not answer"),
    ] {
        issuer.spoil(fault).await;
        let (status, page) = rig.sign_in(&issuer, "bo").await.unwrap_err();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{fault}: {page}");
        assert!(
            page.contains(words) && !page.contains("not begun"),
            "{page}"
        );
    }
    issuer.spoil("none").await;
    assert!(rig.sign_in(&issuer, "bo").await.is_ok());
}

/// The world: everybody comes to work at nine, and the service hangs.
#[tokio::test(flavor = "multi_thread")]
async fn many_who_sign_in_at_once_ask_a_service_that_hangs_once() {
    const DOCUMENT: &str = "/.well-known/openid-configuration";
    let issuer = Issuer::start(0).await;
    let rig = with(&issuer, &[]).await;
    issuer.spoil("held").await;
    let start = async || {
        let start = rig.send("GET", "/api/auth/oidc/start", &[], None);
        start.await.0.as_u16()
    };
    let many = futures::future::join_all((0..8).map(|_| start()));
    let fail = async {
        crate::support::wait::until("it was asked", async || issuer.asked(DOCUMENT).await > 0)
            .await;
        issuer.spoil("failed").await;
    };
    let (told, ()) = futures::future::join(many, fail).await;
    assert_eq!(told, [503; 8]);
    assert_eq!(start().await, 503, "it is not asked again at once");
    assert_eq!(issuer.asked(DOCUMENT).await, 1);
    issuer.spoil("none").await;
    crate::support::wait::until("it is asked again", async || start().await == 303).await;
    assert_eq!(issuer.asked(DOCUMENT).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_no_other_host_can_set_what_a_browser_is_sent_away_with() {
    const SECURE: &str = "https://app.example";
    let issuer = Issuer::start_for(SECURE, 0).await;
    let rig = with(&issuer, &[("PUBLIC_URL", SECURE)]).await;
    let away = rig.begin("").await;
    let (name, value) = away.cookie.split_once('=').unwrap();
    assert_eq!(name, "__Host-__sign_in_attempt");
    let back = issuer.walk(&away.to, "bo").await;
    let tossed = format!("__sign_in_attempt={value}");
    let (status, headers, page) = rig.come_back(&back, &tossed).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{page}");
    assert_eq!(session(&headers), None);
    let (status, headers, page) = rig.come_back(&back, &away.cookie).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let mut over = headers.get_all("set-cookie").iter();
    assert!(over.any(|it| {
        let it = it.to_str().unwrap();
        it.starts_with("__Host-__sign_in_attempt=;") && it.contains("; Secure")
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_clock_is_hours_late_or_early_signs_nobody_in() {
    for hours in [-3, 3] {
        let issuer = Issuer::start(hours * 3_600_000).await;
        let rig = with(&issuer, &[]).await;
        let (status, page) = rig.sign_in(&issuer, "bo").await.unwrap_err();
        assert_eq!(status, StatusCode::FORBIDDEN, "{hours}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_said_and_links_work_meanwhile() {
    let mut issuer = Issuer::start(0).await;
    let rig = with(&issuer, &[]).await;
    let away = rig.begin("").await;
    let back = issuer.walk(&away.to, "bo").await;
    issuer.process.kill().unwrap();
    issuer.process.wait().unwrap();
    let (status, headers, page) = rig.come_back(&back, &away.cookie).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{page}");
    assert_eq!(session(&headers), None);
    let fresh = with(&issuer, &[]).await;
    let (status, _, page) = fresh.send("GET", "/api/auth/oidc/start", &[], None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{page}");
    let secret = rig.secret(5).await;
    let body = Some(json!({ "token": secret }));
    let (status, _, body) = rig.send("POST", "/api/auth/login", &[], body).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

#[tokio::test]
async fn without_a_service_there_is_none_and_the_page_does_not_lead_to_it() {
    let rig = rig(&[]).await;
    let (status, _, _) = rig.send("GET", "/api/auth/oidc/start", &[], None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, _, ways) = rig.send("GET", "/api/auth/ways", &[], None).await;
    assert_eq!(ways, json!({"link": true, "oidc": false}));
    let (_, _, page) = rig.send("GET", "/login", &[], None).await;
    assert!(
        page.as_str()
            .unwrap()
            .contains("<p hidden><a id=\"service\""),
        "{page}"
    );
}
