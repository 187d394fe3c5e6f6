//! What a provider's `/models` lists of its models: names, and where it is known what fits in, what it costs
//! and when it ends. OpenRouter lists most, others the names alone.

use chrono::{DateTime, NaiveDate};
use serde_json::Value;

/// Tokens of a price that people read.
const MILLION: f64 = 1e6;

/// A model as its provider lists it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Its name there.
    pub id: String,
    /// Tokens that fit in, where it says.
    pub context: Option<u32>,
    /// US dollars per million tokens, where it says.
    pub prices: Option<ListedPrices>,
    /// The day on which it ends, where it says.
    pub retires_on: Option<NaiveDate>,
}

/// US dollars per million tokens, as a provider lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ListedPrices {
    /// For tokens read.
    pub prompt: f64,
    /// For tokens written.
    pub completion: f64,
    /// For tokens read that it had kept, where it says.
    pub cache_read: Option<f64>,
    /// For tokens read that it keeps, where it says.
    pub cache_write: Option<f64>,
}

impl Listed {
    /// All that a list holds; `None` where it is no list of models.
    pub(super) fn of_body(body: &Value) -> Option<Vec<Self>> {
        let list = body.get("data").unwrap_or(body).as_array()?;
        Some(list.iter().filter_map(Self::of).collect())
    }

    fn of(entry: &Value) -> Option<Self> {
        let id = entry.get("id")?.as_str()?;
        Some(Self {
            // Google's names begin with where they are.
            id: id.strip_prefix("models/").unwrap_or(id).to_owned(),
            context: context(entry),
            prices: prices(entry),
            retires_on: ["expiration_date", "deprecation"]
                .iter()
                .find_map(|name| day(entry.get(*name)?.as_str()?)),
        })
    }
}

/// The least of what it says: a host may take less than the model.
fn context(entry: &Value) -> Option<u32> {
    const PLACES: [&str; 6] = [
        "/context_length",
        "/top_provider/context_length",
        "/context_window",
        "/max_model_len",
        "/max_context_length",
        "/meta/n_ctx_train",
    ];
    let told = PLACES
        .iter()
        .filter_map(|place| entry.pointer(place)?.as_u64());
    let least = told.filter(|tokens| *tokens > 0).min()?;
    u32::try_from(least).ok()
}

/// A router's price depends on what it chooses, and is listed as -1.
fn prices(entry: &Value) -> Option<ListedPrices> {
    let price = |name| {
        let told = entry.get("pricing")?.get(name)?;
        let dollars: f64 = match told {
            Value::String(text) => text.trim().parse().ok()?,
            number => number.as_f64()?,
        };
        (dollars >= 0.0 && dollars.is_finite()).then_some(dollars * MILLION)
    };
    Some(ListedPrices {
        prompt: price("prompt")?,
        completion: price("completion")?,
        cache_read: price("input_cache_read"),
        cache_write: price("input_cache_write"),
    })
}

/// A day, or the day of a moment.
fn day(text: &str) -> Option<NaiveDate> {
    let moment = || DateTime::parse_from_rfc3339(text).map(|it| it.to_utc().date_naive());
    text.parse().or_else(|_| moment()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_makers_list_is_read() {
        let openrouter = json!({"data": [{
            "id": "z-ai/glm", "context_length": 131072, "top_provider": {"context_length": 65536},
            "pricing": {"prompt": "0.00000015", "completion": "0.0000006", "input_cache_read": "0.00000003"}, "expiration_date": "2026-12-24",
        }]});
        let [listed] = &Listed::of_body(&openrouter).unwrap()[..] else {
            panic!()
        };
        assert_eq!(
            (listed.id.as_str(), listed.context),
            ("z-ai/glm", Some(65536))
        );
        let told = listed.prices.unwrap();
        let is = |told: f64, expected: f64| (told - expected).abs() < 1e-9;
        assert!(is(told.prompt, 0.15) && is(told.completion, 0.6));
        assert!(told.cache_read.is_some_and(|told| is(told, 0.03)));
        assert_eq!(told.cache_write, None);
        assert_eq!(listed.retires_on, NaiveDate::from_ymd_opt(2026, 12, 24));
        for (entry, expected) in [
            (
                json!({"id": "gpt", "object": "model", "owned_by": "x"}),
                Listed::default(),
            ),
            (
                json!({"id": "gpt", "context_window": 8192}),
                Listed {
                    context: Some(8192),
                    ..Listed::default()
                },
            ),
            (
                json!({"id": "gpt", "max_model_len": 4096}),
                Listed {
                    context: Some(4096),
                    ..Listed::default()
                },
            ),
            (
                json!({"id": "gpt", "meta": {"n_ctx_train": 2048}}),
                Listed {
                    context: Some(2048),
                    ..Listed::default()
                },
            ),
            (json!({"id": "models/gpt"}), Listed::default()),
            (
                json!({"id": "gpt", "pricing": {"prompt": "-1", "completion": "-1"}}),
                Listed::default(),
            ),
            (
                json!({"id": "gpt", "deprecation": "2027-01-31T12:00:00Z", "expiration_date": null}),
                Listed {
                    retires_on: NaiveDate::from_ymd_opt(2027, 1, 31),
                    ..Listed::default()
                },
            ),
        ] {
            let expected = Listed {
                id: "gpt".into(),
                ..expected
            };
            assert_eq!(
                Listed::of_body(&json!([entry])).unwrap(),
                [expected],
                "{entry}"
            );
        }
        assert_eq!(Listed::of_body(&json!({"models": []})), None);
        assert_eq!(Listed::of_body(&json!("x")), None);
    }
}
