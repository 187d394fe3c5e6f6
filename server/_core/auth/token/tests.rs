use chrono::TimeDelta;
use serde_json::json;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn key() -> SessionKey {
    SessionKey::new(&SECRET.into())
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 500_000_000).unwrap()
}

/// Signs a header and claims as they are written.
fn raw(header: &str, claims: &str) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256);
    format!("{signed}.{}", signature.unwrap())
}

/// A token with these claims beside the three names.
fn with(claims: &str) -> String {
    let claims = format!(r#"{{"openId":"user-1","appId":"app","name":"Bo"{claims}}}"#);
    raw(r#"{"alg":"HS256"}"#, &claims)
}

fn holds(token: &str) -> bool {
    key().verify(token, now()).is_some()
}

#[test]
fn times_are_numbers_with_or_without_a_fraction() {
    for claims in [
        r#","exp":1800000060"#,
        r#","exp":1800000000.25"#,
        r#","exp":1.8000001e9"#,
        r#","exp":1e300"#,
        r#","exp":9223372036854775808"#,
        // Within the minute by which clocks may differ.
        r#","exp":1799999941"#,
        r#","exp":1800000060,"nbf":1800000060.4"#,
        r#","exp":1800000060,"nbf":-5,"iat":1799999999.999"#,
        r#","exp":1800000060,"iss":7,"aud":["x"],"sub":null,"sid":7,"extra":{}"#,
    ] {
        assert!(holds(&with(claims)), "{claims}");
    }
    for claims in [
        "",
        r#","exp":1799999940"#,
        r#","exp":"1800000060""#,
        r#","exp":null"#,
        r#","exp":true"#,
        r#","exp":[1800000060]"#,
        r#","exp":-1"#,
        r#","exp":0"#,
        r#","exp":1e400"#,
        r#","exp":NaN"#,
        // Twice is no answer to the question.
        r#","exp":1800000060,"exp":1"#,
        r#","exp":1,"exp":1800000060"#,
        r#","exp":1800000060,"name":"Eve""#,
        r#","exp":1800009000,"nbf":1800000061"#,
        r#","exp":1800009000,"nbf":1800003600.5"#,
        r#","exp":1800009000,"nbf":"1700000000""#,
        r#","exp":1800009000,"nbf":null"#,
        r#","exp":1800009000,"iat":"yesterday""#,
        r#","exp":1800009000,"iat":null"#,
    ] {
        assert!(!holds(&with(claims)), "{claims}");
    }
}

#[test]
fn a_token_of_ours_ends_when_it_says_and_another_is_given_a_minute() {
    let end = 1_800_000_060;
    let at = |seconds: i64| DateTime::from_timestamp(end + seconds, 0).unwrap();
    let key = SessionKey::new(&SECRET.to_owned().into());
    let ours = with(r#","exp":1800000060,"sid":"s""#);
    let others = with(r#","exp":1800000060"#);
    for (token, last) in [(&ours, -1), (&others, 59)] {
        let session = key.verify(token, at(last)).unwrap();
        assert!(session.holds_at(at(last)) && !session.holds_at(at(last + 1)));
        assert_eq!(key.verify(token, at(last + 1)), None);
    }
}

#[test]
fn unknown_extensions_that_must_be_understood_are_refused() {
    let claims = r#"{"openId":"u","appId":"a","name":"n","exp":1800000060}"#;
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"k","x":1}"#,
    ] {
        assert!(holds(&raw(header, claims)), "{header}");
    }
    for header in [
        r#"{"alg":"HS256","crit":["x"],"x":1}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{}"#,
    ] {
        assert!(!holds(&raw(header, claims)), "{header}");
    }
    // `alg: none`, as in the textbook attack, without a signature.
    assert!(!holds("eyJhbGciOiJub25lIn0.eyJvcGVuSWQiOiJ1c2VyLTEifQ."));
}

#[test]
fn all_three_names_are_needed_and_none_is_empty() {
    for claims in [
        json!({"openId": "", "appId": "a", "name": "n"}),
        json!({"openId": "u", "appId": "", "name": "n"}),
        json!({"openId": "u", "appId": "a", "name": ""}),
        json!({"openId": "u", "appId": "a"}),
        json!({"openId": 7, "appId": "a", "name": "n"}),
    ] {
        let mut claims = claims;
        claims["exp"] = json!(1_800_000_060);
        let token = raw(r#"{"alg":"HS256"}"#, &claims.to_string());
        assert!(!holds(&token), "{claims}");
    }
}

#[test]
fn two_secrets_are_taken_while_one_replaces_the_other() {
    let old: SecretString = "another secret of enough bytes, 32+".into();
    let claims = Claims {
        open_id: "u".into(),
        app_id: "a".into(),
        name: "n".into(),
        exp: 1_800_000_060,
        ..Claims::default()
    };
    let token = SessionKey::new(&old).sign(&claims).unwrap();
    assert_eq!(key().verify(&token, now()), None);
    let both = key().or_previous(Some(&old));
    assert!(both.verify(&token, now()).is_some());
    // What it signs is signed with the new one alone.
    assert!(key().verify(&both.sign(&claims).unwrap(), now()).is_some());
}

#[test]
fn a_renewed_token_is_of_the_same_session_and_another_users_is_not() {
    let user = |open_id: &str| User {
        id: 1,
        open_id: open_id.into(),
        name: None,
        email: None,
        login_method: None,
        role: super::super::Role::User,
        created_at: now(),
        updated_at: now(),
        last_signed_in: now(),
    };
    let ttl = Duration::from_secs(3600);
    for first in [
        with(r#","exp":1800000060"#),
        with(r#","exp":1800000060,"sid":"s""#),
        key().issue(&user("user-1"), "app", ttl, now()).unwrap(),
    ] {
        let first = key().verify(&first, now()).unwrap();
        let later = now() + TimeDelta::seconds(5);
        let renewed = key().renew(&first, &user("user-1"), "app", ttl, later);
        let renewed = key().verify(&renewed.unwrap(), later).unwrap();
        assert_eq!(renewed.id, first.id);
        assert_eq!(renewed.issued_ms, first.issued_ms, "it began when it began");
        assert_eq!(renewed.remaining(later), ttl - Duration::from_millis(500));
    }
    let one = with(r#","exp":1800000060,"sid":"s""#);
    let other = raw(
        r#"{"alg":"HS256"}"#,
        r#"{"openId":"user-2","appId":"app","name":"Bo","exp":1800000060,"sid":"s"}"#,
    );
    assert_ne!(
        key().verify(&one, now()).unwrap().id,
        key().verify(&other, now()).unwrap().id
    );
}

#[test]
fn a_time_of_issue_that_is_to_come_is_none() {
    let issued = |claims: &str| key().verify(&with(claims), now()).unwrap().issued_ms;
    assert_eq!(
        issued(r#","exp":1800009000,"iat":1800000050"#),
        1_800_000_050_000
    );
    assert_eq!(issued(r#","exp":1800009000,"iat":1800000061"#), 0);
    assert_eq!(issued(r#","exp":1800009000"#), 0);
}

#[test]
fn a_text_too_long_for_a_token_is_none() {
    let name = "n".repeat(MAX_TOKEN_BYTES);
    let claims = format!(r#"{{"openId":"u","appId":"a","name":"{name}","exp":1800000060}}"#);
    assert!(!holds(&raw(r#"{"alg":"HS256"}"#, &claims)));
}
