//! A provider of the catalog, and our keys there.

use toml::de::DeValue;

use super::{Grant, TEXT, at_least_one, denies_collection, plain, texts};
use crate::{
    _core::{
        slips,
        toml_reader::{TomlField, TomlTable},
    },
    model_router::{
        catalog::{FurtherKey, Provider, ProviderAccess},
        quota::schedule::AccountLimits,
    },
    providers::{
        openai_compatible::endpoint,
        openrouter::{self, policy::Policy},
    },
};

/// Calls that a provider has in flight at most, where the file does not say.
const MAX_IN_FLIGHT: usize = 512;
const URL: &str = "an absolute http or https URL without user name, password, query and fragment";
const VARIABLE: &str = "the name of an environment variable that ends in `_API_KEY`";
/// Its newer models refuse `max_tokens`, and all of them take the other name.
const OPENAI: &str = "https://api.openai.com/";
const CALLS: &str = "a whole number of calls, at least 1";
const REQUESTS: &str = "a whole number of requests, at least 1";
const TOKENS_A_MINUTE: &str = "a whole number of tokens, at least 1";
const WEIGHT: &str = "a whole number from 1 to 1000";
const MAX_WEIGHT: u32 = 1_000;
const KEYS: &str = "a list of tables such as `{ api_key_env = \"OTHER_API_KEY\" }`";
const MAX_KEYS: usize = 16;
const ACCOUNT: &str = "a name of at most 64 letters, digits, `-`, `_` and `.`";

pub(super) fn provider(
    name: &str,
    table: &mut TomlTable<'_>,
    grant: &Grant<'_>,
) -> Option<Provider> {
    table.required("base_url", URL, |_| Some(()));
    let base_url = table.get("base_url").map(TomlField::address)?;
    // The value may be the key itself, put in the wrong place, so it is not shown.
    let api_key_env = table.get("api_key_env").map(TomlField::secret);
    let variable = api_key_env.as_ref().and_then(|it| {
        it.read(VARIABLE, |value| {
            plain(value).filter(|name| is_key_variable(name))
        })
    });
    let weight = table.optional("weight", |it| it.read(WEIGHT, weight));
    let keys = table.optional("keys", further_keys).unwrap_or_default();
    let (key_fields, keys): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let headers = table.get("headers").map(TomlField::secret);
    let headers = headers.and_then(|it| it.read("a table of texts", headers_of));
    let max_in_flight = table.optional("max_in_flight", |it| it.read(CALLS, at_least_one));
    let limits = [("max_tokens", false), ("max_completion_tokens", true)];
    let limits_by_new_name = table.optional("answer_limit", |it| it.word(&limits));
    let quota = table.optional("quota", |it| it.table(quota));
    let region = table.optional("region", |it| it.read(TEXT, plain));
    let policy = Policy {
        denies_collection: denies_collection(table),
        zdr: table.optional("zdr", TomlField::flag).unwrap_or_default(),
        hosts: table.optional("hosts", |it| {
            if name != openrouter::NAME {
                let reason = "is known to the provider `openrouter` alone, which hands requests on";
                it.fault(format!("{} {reason}", it.name()));
            }
            texts(it)
        }),
    };
    let mut provider = Provider {
        name: name.to_owned(),
        base_url: base_url.read(URL, |value| {
            plain(value).filter(|url| endpoint(url).is_some())
        })?,
        api_key_env: variable,
        weight: weight.unwrap_or(1),
        keys,
        headers: headers.unwrap_or_default(),
        max_in_flight: max_in_flight.unwrap_or(MAX_IN_FLIGHT),
        limits_by_new_name: false,
        quota: quota.filter(|it| *it != AccountLimits::default()),
        region,
        policy,
        access: ProviderAccess::default(),
    };
    provider.limits_by_new_name =
        limits_by_new_name.unwrap_or_else(|| provider.base_url.starts_with(OPENAI));
    for (place, message) in grant(&mut provider) {
        let field = place.map_or(api_key_env.as_ref(), |place| key_fields.get(place));
        if let Some(field) = field {
            field.fault(format!("{} {message}", field.name()));
        }
    }
    if api_key_env.is_none()
        && let Some(field) = key_fields.first()
    {
        field.fault(
            "`keys` are further keys, and the first is missing: expected it in `api_key_env`",
        );
    }
    let refuse = |reason: &str| base_url.fault(format!("{} {reason}", base_url.name()));
    if let Some(reason) = slips::in_base_url(&provider.base_url) {
        refuse(&reason);
    }
    if endpoint(&provider.base_url).is_none() {
        refuse("is replaced by OPENROUTER_BASE_URL, which is no absolute http or https URL");
    }
    Some(provider)
}

/// Further keys, with the fields that name their variables.
fn further_keys<'a>(field: &TomlField<'a>) -> Option<Vec<(TomlField<'a>, FurtherKey)>> {
    let items = field.list(KEYS)?;
    if items.len() > MAX_KEYS {
        field.fault(format!(
            "{} has {} keys; expected at most {MAX_KEYS}",
            field.name(),
            items.len()
        ));
    }
    let key = |item: &TomlField<'a>| item.table(further_key).flatten();
    Some(items.iter().filter_map(key).collect())
}

fn further_key<'a>(table: &mut TomlTable<'a>) -> Option<(TomlField<'a>, FurtherKey)> {
    table.required("api_key_env", VARIABLE, |_| Some(()));
    // As with the first key, the value may be the key itself.
    let field = table.get("api_key_env").map(TomlField::secret);
    let weight = table.optional("weight", |it| it.read(WEIGHT, weight));
    let account = table.optional("account", |it| it.read(ACCOUNT, account));
    let quota = table.optional("quota", |it| {
        if account.is_none() {
            it.fault("`quota` is that of another account: expected its name in `account`");
        }
        it.table(quota)
    });
    let field = field?;
    let api_key_env = field.read(VARIABLE, |value| {
        plain(value).filter(|name| is_key_variable(name))
    })?;
    let key = FurtherKey {
        api_key_env,
        weight: weight.unwrap_or(1),
        account,
        quota: quota.filter(|it| *it != AccountLimits::default()),
        key: None,
    };
    Some((field, key))
}

fn weight(value: &DeValue<'_>) -> Option<u32> {
    at_least_one(value).filter(|weight| *weight <= MAX_WEIGHT)
}

fn account(value: &DeValue<'_>) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    plain(value).filter(|name| name.len() <= 64 && name.chars().all(is_plain))
}

fn quota(table: &mut TomlTable<'_>) -> AccountLimits {
    let mut count = |key, of| table.optional(key, |it| it.read(of, at_least_one));
    AccountLimits {
        minute: count("minute", REQUESTS),
        day: count("day", REQUESTS),
        tokens: count("tokens", TOKENS_A_MINUTE),
    }
}

fn headers_of(value: &DeValue<'_>) -> Option<Vec<(String, String)>> {
    let header = |(name, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        let value = value.get_ref().as_str()?;
        http::HeaderName::from_bytes(name.as_bytes()).ok()?;
        http::HeaderValue::from_str(value).ok()?;
        Some((name.to_string(), value.to_owned()))
    };
    value.as_table()?.iter().map(header).collect()
}

fn is_key_variable(name: &str) -> bool {
    name.ends_with("_API_KEY")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
