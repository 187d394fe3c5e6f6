use hmac::{Hmac, Mac};
use http::HeaderMap;
use sha2::Sha256;

/// `body` is the request's as it came; `now` in seconds since 1970.
pub fn verify(secret: &str, headers: &HeaderMap, body: &str, now: i64) -> bool {
    let text = |name| headers.get(name)?.to_str().ok();
    let check = || {
        let timestamp: i64 = text("x-modelramp-timestamp")?.parse().ok()?;
        let given = hex::decode(text("x-modelramp-signature")?.strip_prefix("v1=")?).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        mac.update(format!("{timestamp}.{body}").as_bytes());
        mac.verify_slice(&given).ok()?;
        (now.abs_diff(timestamp) <= 300).then_some(())
    };
    check().is_some()
}
