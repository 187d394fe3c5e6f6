//! What a sign-in service says of a person (OpenID Connect), and what we make of it.
//!
//! The person's browser brings a code, which the server trades for an ID token: a JWT that the service
//! signed. What is checked, and against which text (OpenID Connect Core 1.0, 3.1.3.7): an asymmetric
//! algorithm, by a key of the service's own; `iss` is the service, `aud` names us, and `azp` too where
//! it is there; `exp` is not past, `nbf` and `iat` not to come; `nonce` is the one that this browser was
//! sent away with; `sub` is there. [`SignInAttempt`] is what a browser is sent away with: it keeps it itself, in
//! a cookie that nobody can make without `JWT_SECRET`.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{Jwk, PublicKeyUse},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::SessionKey;
use crate::_core::caller::{Role, User};

/// How long somebody may take at the sign-in service.
pub const ATTEMPT_TTL: TimeDelta = TimeDelta::minutes(10);
/// The clock of the service may differ from ours by this many seconds.
const LEEWAY_SECONDS: f64 = 60.0;
/// The longest `sub` (Core 1.0, 2).
const MAX_SUBJECT: usize = 255;
/// What is kept of a name or an address.
const MAX_NAME: usize = 200;
/// Only the holder of the private key can sign so; by HS256 anybody could who knows the client's secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Which words, in a claim or a header, give which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleWords {
    /// These make an admin.
    pub admin: Vec<String>,
    /// These make a viewer.
    pub viewer: Vec<String>,
}

impl RoleWords {
    /// Whether no word gives any role, so that roles are given by hand.
    pub fn is_empty(&self) -> bool {
        self.admin.is_empty() && self.viewer.is_empty()
    }

    /// The highest role that the words give, a plain user where none does; `None` where no word gives any,
    /// so that roles are given by hand.
    pub fn role<'a>(&self, words: impl Iterator<Item = &'a str>) -> Option<Role> {
        if self.is_empty() {
            return None;
        }
        let role = |word: &str| match word {
            word if self.admin.iter().any(|it| it == word) => Role::Admin,
            word if self.viewer.iter().any(|it| it == word) => Role::Viewer,
            _ => Role::User,
        };
        Some(words.map(role).max().unwrap_or(Role::User))
    }
}

/// Somebody whom a sign-in service knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// What we know them by: a hash over the service and its id of them.
    pub open_id: String,
    /// As shown; never empty.
    pub name: String,
    /// Where the service says that it is theirs.
    pub email: Option<String>,
    /// Whether the service says so in so many words, and not only by naming it.
    pub has_proven_email: bool,
    /// What they may do from now on; `None` leaves what they may.
    pub role: Option<Role>,
}

/// Where people become users.
#[async_trait]
pub trait PersonStore: Send + Sync {
    /// The user who is this person, made where there is none, and brought up to date; `None` where that user
    /// was deleted.
    async fn admit(&self, person: &Person, now: DateTime<Utc>) -> anyhow::Result<Option<User>>;
}

/// What a browser is sent to the sign-in service with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInAttempt {
    /// Comes back with the code, so that no other browser's code is taken.
    pub state: String,
    /// Comes back in the ID token, so that no other attempt's token is taken.
    pub nonce: String,
    /// Proves that who trades the code began the attempt (RFC 7636).
    pub verifier: String,
    /// Where to go then: a path of this server.
    pub next: Option<String>,
    /// When it is over, in milliseconds since 1970.
    until_ms: i64,
}

impl SignInAttempt {
    /// A new one.
    pub fn new(next: Option<String>, now: DateTime<Utc>) -> Self {
        let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self {
            state: random(),
            nonce: random(),
            verifier: random(),
            next,
            until_ms: (now + ATTEMPT_TTL).timestamp_millis(),
        }
    }

    /// What is sent of the verifier beforehand: its hash (RFC 7636, `S256`).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier))
    }

    /// As a cookie's value.
    pub fn sealed(&self, key: &SessionKey) -> anyhow::Result<String> {
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self)?);
        let code = key.code_of(&named(&text))?;
        Ok(format!("{text}.{code}"))
    }

    /// Reads what [`Self::sealed`] wrote; `None` for anything else, and for one that is over.
    pub fn opened(sealed: &str, key: &SessionKey, now: DateTime<Utc>) -> Option<Self> {
        let (text, code) = sealed.split_once('.')?;
        if !key.vouches_for(&named(text), code) {
            return None;
        }
        let attempt: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (attempt.until_ms > now.timestamp_millis()).then_some(attempt)
    }
}

/// What the code is made of: no part of a token can read so.
fn named(text: &str) -> String {
    format!("sign-in attempt {text}")
}

/// What an ID token must say.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedClaims<'a> {
    /// The service, as it names itself.
    pub issuer: &'a str,
    /// Who we are to it.
    pub client_id: &'a str,
    /// Of the attempt.
    pub nonce: &'a str,
}

/// Why an ID token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongToken {
    /// It is no JWT, or by an algorithm that others could sign with.
    #[error("the ID token is no JWT that is signed by an asymmetric algorithm")]
    Form,
    /// The service has published no such key.
    #[error("no key of the sign-in service is named `{0}`")]
    UnknownKey(String),
    /// Nobody who holds one of its keys signed it.
    #[error("the ID token is not signed by the sign-in service")]
    Signature,
    /// A claim is missing, or says something else.
    #[error("the ID token's `{claim}` is {found}; expected {expected}")]
    Claim {
        /// Which one.
        claim: &'static str,
        /// What it says.
        found: String,
        /// What it should.
        expected: String,
    },
}

/// The claims of an ID token that holds.
pub fn claims(
    token: &str,
    keys: &[Jwk],
    expected: &ExpectedClaims<'_>,
    now: DateTime<Utc>,
) -> Result<Map<String, Value>, WrongToken> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| WrongToken::Form)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(WrongToken::Form);
    }
    let is_meant = |key: &&Jwk| {
        let signs = key.common.public_key_use != Some(PublicKeyUse::Encryption);
        let is_named = header.kid.is_none() || header.kid == key.common.key_id;
        signs && is_named
    };
    let mut meant = keys.iter().filter(is_meant).peekable();
    if meant.peek().is_none() {
        return Err(WrongToken::UnknownKey(header.kid.unwrap_or_default()));
    }
    let mut validation = Validation::new(header.alg);
    // Times and names are checked here, by our clock and with words.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let read = |key: &Jwk| {
        let key = DecodingKey::from_jwk(key).ok()?;
        jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation).ok()
    };
    let claims = meant.find_map(read).ok_or(WrongToken::Signature)?.claims;
    check(&claims, expected, now)?;
    Ok(claims)
}

fn check(
    claims: &Map<String, Value>,
    expected: &ExpectedClaims<'_>,
    now: DateTime<Utc>,
) -> Result<(), WrongToken> {
    let wrong = |claim: &'static str, expected: &str| {
        let found = claims
            .get(claim)
            .map_or("missing".to_owned(), Value::to_string);
        WrongToken::Claim {
            claim,
            found: found.chars().take(MAX_NAME).collect(),
            expected: expected.to_owned(),
        }
    };
    let is = |claim: &str, wanted: &str| claims.get(claim).and_then(Value::as_str) == Some(wanted);
    if !is("iss", expected.issuer) {
        return Err(wrong("iss", expected.issuer));
    }
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err(wrong("aud", expected.client_id));
    }
    // One that is for several says who asked for it.
    let needs_party = audience.len() > 1 || claims.contains_key("azp");
    if needs_party && !is("azp", expected.client_id) {
        return Err(wrong("azp", expected.client_id));
    }
    let time = now.timestamp_millis() as f64 / 1000.0;
    let number = |claim: &str| claims.get(claim).and_then(Value::as_f64);
    if number("exp").is_none_or(|exp| exp + LEEWAY_SECONDS <= time) {
        return Err(wrong("exp", "a time to come"));
    }
    if number("iat").is_none_or(|iat| iat > time + LEEWAY_SECONDS) {
        return Err(wrong("iat", "a time that is past"));
    }
    if claims.contains_key("nbf") && number("nbf").is_none_or(|nbf| nbf > time + LEEWAY_SECONDS) {
        return Err(wrong("nbf", "a time that is past"));
    }
    if !is("nonce", expected.nonce) {
        // What it should be is nobody else's business.
        return Err(wrong("nonce", "that of this attempt"));
    }
    let is_subject = |text: &str| !text.is_empty() && text.len() <= MAX_SUBJECT;
    if !claims
        .get("sub")
        .and_then(Value::as_str)
        .is_some_and(is_subject)
    {
        return Err(wrong("sub", "a text of 1 to 255 bytes"));
    }
    Ok(())
}

/// The texts of a claim, which may lie within others (`realm_access.roles`), and may be one or a list.
pub fn words<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<Vec<&'a str>> {
    // A name with dots in it comes first: some services use URLs.
    let found = claims.get(path).or_else(|| {
        let mut parts = path.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })?;
    match found {
        Value::String(words) => Some(words.split_whitespace().collect()),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

impl Person {
    /// The person whom checked claims name.
    pub fn of(issuer: &str, claims: &Map<String, Value>, role: Option<Role>) -> Self {
        let text = |claim: &str| {
            let text = claims.get(claim).and_then(Value::as_str)?.trim();
            let text: String = text.chars().take(MAX_NAME).collect();
            Some(text).filter(|text| !text.is_empty())
        };
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let id = format!("{:x}", Sha256::digest(format!("{issuer}\n{subject}")));
        // One that the service does not vouch for may be somebody else's.
        let is_theirs = match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => true,
            Some(Value::String(word)) => word == "true",
            Some(_) => false,
        };
        let email = text("email").filter(|_| is_theirs);
        let name = text("name")
            .or_else(|| text("preferred_username"))
            .or_else(|| email.clone());
        Self {
            open_id: format!("oidc:{id}"),
            name: name.unwrap_or_else(|| "Somebody".to_owned()),
            has_proven_email: email.is_some() && claims.contains_key("email_verified"),
            email,
            role,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    const EXPECTED: ExpectedClaims<'_> = ExpectedClaims {
        issuer: "https://id.example",
        client_id: "modelramp",
        nonce: "n",
    };

    fn right() -> Value {
        json!({
            "iss": "https://id.example", "aud": "modelramp", "exp": 1_800_000_060, "iat": 1_800_000_000,
            "nonce": "n", "sub": "7",
        })
    }

    fn checked(change: &Value) -> Result<(), WrongToken> {
        let mut claims = right().as_object().unwrap().clone();
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        check(&claims, &EXPECTED, now())
    }

    #[test]
    fn each_claim_must_say_what_it_should() {
        for right in [
            json!({}),
            json!({"aud": ["modelramp"]}),
            json!({"aud": ["other", "modelramp"], "azp": "modelramp"}),
            json!({"exp": 1_799_999_941, "nbf": 1_800_000_059}),
        ] {
            assert_eq!(checked(&right), Ok(()), "{right}");
        }
        for (wrong, named) in [
            (json!({"iss": "https://id.example/"}), "iss"),
            (json!({"iss": null}), "iss"),
            (json!({"aud": "other"}), "aud"),
            (json!({"aud": null}), "aud"),
            (json!({"aud": ["other", "modelramp"]}), "azp"),
            (json!({"azp": "other"}), "azp"),
            (json!({"exp": 1_799_999_940}), "exp"),
            (json!({"exp": null}), "exp"),
            (json!({"exp": "1800000060"}), "exp"),
            (json!({"iat": 1_800_000_061}), "iat"),
            (json!({"iat": null}), "iat"),
            (json!({"nbf": 1_800_000_061}), "nbf"),
            (json!({"nbf": "x"}), "nbf"),
            (json!({"nonce": "other"}), "nonce"),
            (json!({"nonce": null}), "nonce"),
            (json!({"sub": ""}), "sub"),
            (json!({"sub": 7}), "sub"),
            (json!({"sub": null}), "sub"),
        ] {
            match checked(&wrong) {
                Err(WrongToken::Claim { claim, .. }) => assert_eq!(claim, named, "{wrong}"),
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_token_that_others_could_have_signed_is_not_taken() {
        let sign = |alg| {
            let header = jsonwebtoken::Header::new(alg);
            let secret = jsonwebtoken::EncodingKey::from_secret(b"the client's secret");
            jsonwebtoken::encode(&header, &right(), &secret).unwrap()
        };
        let symmetric = sign(Algorithm::HS256);
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(right().to_string())
        );
        for token in [&*symmetric, &none, "", "a.b.c"] {
            let read = claims(token, &[], &EXPECTED, now());
            assert_eq!(read, Err(WrongToken::Form), "{token}");
        }
    }

    #[test]
    fn words_give_the_highest_of_their_roles() {
        let words = RoleWords {
            admin: vec!["ramp-admins".into()],
            viewer: vec!["staff".into(), "support".into()],
        };
        let role = |all: &[&str]| words.role(all.iter().copied());
        assert_eq!(role(&["staff", "ramp-admins"]), Some(Role::Admin));
        assert_eq!(role(&["x", "support"]), Some(Role::Viewer));
        assert_eq!(role(&["Ramp-Admins", "ramp-admin"]), Some(Role::User));
        assert_eq!(role(&[]), Some(Role::User));
        assert_eq!(RoleWords::default().role(["ramp-admins"].into_iter()), None);
    }

    #[test]
    fn a_claim_may_lie_within_others() {
        let claims = json!({
            "groups": "a b", "realm_access": {"roles": ["c", 7, "d"]}, "https://x.example/roles": ["e"],
            "odd": 7,
        });
        let of = |path| words(claims.as_object().unwrap(), path);
        assert_eq!(of("groups"), Some(vec!["a", "b"]));
        assert_eq!(of("realm_access.roles"), Some(vec!["c", "d"]));
        assert_eq!(of("https://x.example/roles"), Some(vec!["e"]));
        for missing in [
            "odd",
            "none",
            "realm_access.none",
            "realm_access.roles.0",
            "",
        ] {
            assert_eq!(of(missing), None, "{missing}");
        }
    }

    #[test]
    fn an_attempt_is_read_by_whoever_has_the_secret_and_in_time() {
        let key = SessionKey::new(&"0123456789abcdef0123456789abcdef".into());
        let other = SessionKey::new(&"another456789abcdef0123456789abc".into());
        let attempt = SignInAttempt::new(Some("/dashboard/".into()), now());
        let sealed = attempt.sealed(&key).unwrap();
        assert_eq!(SignInAttempt::opened(&sealed, &key, now()), Some(attempt));
        assert_eq!(SignInAttempt::opened(&sealed, &other, now()), None);
        assert_eq!(
            SignInAttempt::opened(&sealed, &key, now() + ATTEMPT_TTL),
            None
        );
        assert_eq!(
            SignInAttempt::opened(&format!("x{sealed}"), &key, now()),
            None
        );
        // RFC 7636, appendix B.
        let known = SignInAttempt {
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
            ..SignInAttempt::new(None, now())
        };
        assert_eq!(
            known.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_person_is_known_by_service_and_subject_together() {
        let person = |issuer, claims: Value| Person::of(issuer, claims.as_object().unwrap(), None);
        let bo = person("https://a.example", json!({"sub": "7", "name": " Bo "}));
        assert_eq!((&*bo.name, bo.email.as_deref()), ("Bo", None));
        let other = person(
            "https://b.example",
            json!({"sub": "7", "email": "bo@x.example"}),
        );
        assert_ne!(bo.open_id, other.open_id);
        assert_eq!(other.name, "bo@x.example");
        let unproven = json!({"sub": "7", "email": "boss@x.example", "email_verified": false});
        let unproven = person("https://b.example", unproven);
        assert_eq!((unproven.email, &*unproven.name), (None, "Somebody"));
    }
}
