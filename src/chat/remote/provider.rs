//! What is known of those who run models for others: prices, limits, whether answers can be asked for
//! by JSON schema.
//!
//! Plain data, one entry per provider, found by the host of an endpoint; whoever is not in the table is
//! taken for a server that may or may not know schemas and charges nothing that it does not say. Prices
//! change several times a year: those of the settings go before these, and what a reply says it cost
//! goes before both.

/// A provider.
#[derive(Debug, PartialEq)]
pub struct Provider {
    /// What it is called in the ledger.
    pub name: &'static str,
    /// Its hosts, and everything below them.
    hosts: &'static [&'static str],
    /// Whether it takes `response_format: json_schema`; none: the first request finds out.
    pub json_schema: Option<bool>,
    /// What is known of its models; the first whose name begins so.
    models: &'static [Model],
}

/// What is known of a provider's models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// What their names begin with.
    name: &'static str,
    /// Requests that it answers at once, for all keys of an account together.
    pub in_flight_max: Option<u32>,
    /// What it costs; none where that is not known.
    pub price: Option<Price>,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Price {
    /// Of prompt that no cache had.
    pub prompt: f64,
    /// Of thought and solution.
    pub completion: f64,
}

const fn model(name: &'static str, in_flight_max: Option<u32>, price: Price) -> Model {
    Model { name, in_flight_max, price: Some(price) }
}

const fn price(prompt: f64, completion: f64) -> Price {
    Price { prompt, completion }
}

/// Everybody of whom something is known. DeepSeek: its pages on prices, rate limits and JSON output of
/// September 2026, at the peak hours' prices, so that a budget holds at any hour. OpenAI: its price list
/// for the models that OpenThoughts' judges were.
static PROVIDERS: &[Provider] = &[
    Provider {
        name: "DeepSeek",
        hosts: &["api.deepseek.com"],
        // `json_object` only: the form is asked for in words.
        json_schema: Some(false),
        models: &[
            model("deepseek-v4-pro", Some(500), price(1.32, 3.96)),
            model("deepseek-flash", Some(2_500), price(0.30, 1.20)),
        ],
    },
    Provider {
        name: "OpenAI",
        hosts: &["api.openai.com"],
        json_schema: Some(true),
        models: &[
            model("gpt-4o-mini", None, price(0.15, 0.60)),
            model("gpt-4o", None, price(2.50, 10.00)),
        ],
    },
    // Says in each reply what it cost; whether a schema is kept depends on whom it passes on to.
    Provider { name: "OpenRouter", hosts: &["openrouter.ai"], json_schema: None, models: &[] },
    Provider {
        name: "Together",
        hosts: &["api.together.xyz", "api.together.ai"],
        json_schema: Some(true),
        models: &[],
    },
];

/// Whoever is not in the table.
static UNKNOWN: Provider = Provider { name: "unknown", hosts: &[], json_schema: None, models: &[] };

impl Provider {
    /// Who answers at `url`.
    pub fn of(url: &str) -> &'static Self {
        let host = host(url);
        let has = |known: &&str| {
            host.strip_suffix(*known).is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        PROVIDERS.iter().find(|provider| provider.hosts.iter().any(has)).unwrap_or(&UNKNOWN)
    }

    /// What is known of its model `name`.
    pub fn model(&self, name: &str) -> Option<Model> {
        let name = name.rsplit('/').next().unwrap_or(name);
        self.models.iter().find(|model| name.starts_with(model.name)).copied()
    }
}

/// What a request costs: as the settings say, else as the table says; nothing where neither does.
pub fn price_of(url: &str, model: &str, (prompt, completion): (f64, f64)) -> Price {
    let set = prompt != 0.0 || completion != 0.0;
    let known = Provider::of(url).model(model).and_then(|model| model.price);
    if set { price(prompt, completion) } else { known.unwrap_or_default() }
}

/// Requests under way at most: as many as the settings allow and the provider answers.
pub fn in_flight_of(url: &str, model: &str, in_flight: u32) -> u32 {
    let limit = Provider::of(url).model(model).and_then(|model| model.in_flight_max);
    limit.map_or(in_flight, |limit| in_flight.min(limit))
}

/// The host of `url` without its port; `url` itself if it is none.
pub fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::{PROVIDERS, Price, Provider, host, in_flight_of, price_of};

    #[test]
    fn providers_are_found_by_their_hosts() {
        for (url, name) in [
            ("https://api.deepseek.com/v1", "DeepSeek"),
            ("https://user:key@api.openai.com:443/v1?x=1", "OpenAI"),
            ("https://eu.api.openai.com", "OpenAI"),
            ("https://openrouter.ai/api/v1", "OpenRouter"),
            ("https://notopenrouter.ai/api/v1", "unknown"),
            ("http://127.0.0.1:8000/v1", "unknown"),
            ("rehearsal", "unknown"),
        ] {
            assert_eq!(Provider::of(url).name, name, "{url}");
        }
        assert_eq!(host("http://[::1]:8000/v1"), "[::1]");
    }

    #[test]
    fn what_is_set_goes_before_what_is_known() {
        let url = "https://api.openai.com/v1";
        let known = Price { prompt: 2.5, completion: 10.0 };
        assert_eq!(price_of(url, "gpt-4o-2024-08-06", (0.0, 0.0)), known);
        assert_eq!(price_of(url, "openai/gpt-4o-mini", (0.0, 0.0)).prompt, 0.15);
        assert_eq!(price_of(url, "gpt-4o", (1.0, 0.0)), Price { prompt: 1.0, completion: 0.0 });
        assert_eq!(price_of("http://localhost", "gpt-4o", (0.0, 0.0)), Price::default());
        assert_eq!(in_flight_of("https://api.deepseek.com", "deepseek-v4-pro", 10_000), 500);
        assert_eq!(in_flight_of("https://api.deepseek.com", "deepseek-v4-pro", 64), 64);
        assert_eq!(in_flight_of("http://localhost", "x", 10_000), 10_000);
    }

    #[test]
    fn no_model_is_hidden_behind_a_shorter_name() {
        for provider in PROVIDERS {
            for (index, model) in provider.models.iter().enumerate() {
                let before = &provider.models[..index];
                assert!(!before.iter().any(|other| model.name.starts_with(other.name)));
            }
        }
    }
}
