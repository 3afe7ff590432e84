//! What chat completions and completions have in common: how tokens are chosen, where the answer
//! ends, and how it is sent.
//!
//! OpenAI's names, and vLLM's where OpenAI has none. What a request leaves out is as the model's
//! authors say (`generation_config.json`), else as OpenAI has it but for the temperature.

use serde_json::{Map, Value};

use crate::chat::defaults::Defaults;
use crate::chat::local::Settings;
use crate::engine::{LOGPROBS_MAX, SAMPLES_MAX, Sampling};
use crate::serve::Error;
use crate::serve::fields::{self, Fields, Neutral, kind};

/// What is used where neither request nor model gives a temperature: OpenThinker's evaluation (OpenThoughts,
/// `eval`), for which these models are made. OpenAI's own default is 1.
const TEMPERATURE: f32 = 0.7;

/// Highest temperature that OpenAI takes.
const TEMPERATURE_MAX: f64 = 2.0;

/// Stop texts: OpenAI takes 4; the code benchmarks of lm-eval send 5 and more.
const STOPS_MAX: usize = 16;

/// Characters of a stop text: as much of the answer is held back until it is certain.
const STOP_BYTES_MAX: usize = 1024;

/// Tokens with a bias: OpenAI takes 300, LM Studio and vLLM any number.
const BIASES_MAX: usize = 1024;

/// Parameters of both endpoints that change nothing with these values.
pub(super) const NEUTRAL: &[Neutral] = &[
    ("user", fields::ANY),
    ("request_id", fields::ANY),
    ("service_tier", fields::ANY),
    ("use_beam_search", &["false"]),
    ("length_penalty", &["1", "1.0"]),
    ("early_stopping", &["false"]),
    ("prompt_logprobs", &["false"]),
    ("spaces_between_special_tokens", &["true"]),
    ("truncate_prompt_tokens", &["-1"]),
    ("allowed_token_ids", &["[]"]),
    ("bad_words", &["[]"]),
    ("priority", &["0"]),
    ("guided_json", &[]),
    ("guided_regex", &[]),
    ("guided_choice", &[]),
    ("guided_grammar", &[]),
    ("structured_outputs", &[]),
    ("logits_processors", &["[]"]),
];

/// How the answer is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::serve) struct Delivery {
    /// As it is made.
    pub(in crate::serve) stream: bool,
    /// The tokens used come at the end of a stream.
    pub(in crate::serve) include_usage: bool,
    /// They come with every chunk.
    pub(in crate::serve) continuous_usage: bool,
    /// The ids of the tokens are sent with their text.
    pub(in crate::serve) token_ids: bool,
}

/// Settings of which some are the model's authors' to say.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Wanted {
    /// Everything else.
    pub(in crate::serve) settings: Settings,
    /// What the request says of the rest.
    said: Defaults,
}

impl Wanted {
    /// How many tokens are wanted at most.
    pub(super) fn limit(&mut self, tokens: Option<u64>) {
        self.settings.sampling.max_tokens = tokens.map_or(usize::MAX, size);
        self.said.max_new_tokens = tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
    }

    /// All of it, for a model whose authors sample as `own` says.
    pub(in crate::serve) fn of(self, own: &Defaults) -> Settings {
        let Self { mut settings, said } = self;
        let sampling = &mut settings.sampling;
        sampling.temperature = said.temperature.or(own.temperature).unwrap_or(TEMPERATURE);
        sampling.top_p = said.top_p.or(own.top_p).filter(|mass| *mass > 0.0).unwrap_or(1.0);
        // Negative and 0 mean all tokens.
        sampling.top_k = usize::try_from(said.top_k.or(own.top_k).unwrap_or(0)).unwrap_or(0);
        sampling.min_p = said.min_p.or(own.min_p).unwrap_or(0.0);
        let penalty = said.repetition_penalty.or(own.repetition_penalty);
        sampling.repetition_penalty = penalty.unwrap_or(1.0);
        if let (None, Some(tokens)) = (said.max_new_tokens, own.max_new_tokens) {
            sampling.max_tokens = tokens as usize;
        }
        settings
    }
}

/// Reads everything but `logprobs`, which the two endpoints understand differently.
pub(super) fn settings(fields: &mut Fields) -> Result<Wanted, Error> {
    let said = Defaults {
        temperature: fields.number("temperature", 0.0..=TEMPERATURE_MAX)?,
        top_p: top_p(fields)?,
        top_k: top_k(fields)?,
        min_p: fields.number("min_p", 0.0..=1.0)?,
        repetition_penalty: repetition_penalty(fields)?,
        max_new_tokens: None,
    };
    let sampling = Sampling {
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        logit_bias: logit_bias(fields.take("logit_bias"))?,
        seed: seed(fields.take("seed"))?,
        min_tokens: size(fields.whole("min_tokens", 0..=u64::MAX)?.unwrap_or(0)),
        max_tokens: usize::MAX,
        stop_ids: fields.ids("stop_token_ids")?,
        ignore_eos: fields.flag("ignore_eos")?,
        n: fields.whole("n", 1..=u64::from(SAMPLES_MAX))?.map_or(1, |n| n as u32),
        ..Sampling::default()
    };
    // Only to be refused if it differs: both are the same number of answers.
    let best_of = fields.whole("best_of", 1..=u64::from(SAMPLES_MAX))?;
    if best_of.is_some_and(|best_of| best_of != u64::from(sampling.n)) {
        return Err(Error::Unsupported("best_of".into()));
    }
    let specials = fields.take("skip_special_tokens");
    let specials = specials.map(|value| fields::flag("skip_special_tokens", &value)).transpose()?;
    let settings = Settings {
        sampling,
        stop: stops(fields.take("stop"))?,
        include_stop: fields.flag("include_stop_str_in_output")?,
        show_specials: specials == Some(false),
    };
    Ok(Wanted { settings, said })
}

/// Reads how the answer is to be sent.
pub(super) fn delivery(fields: &mut Fields) -> Result<Delivery, Error> {
    let stream = fields.flag("stream")?;
    let token_ids = fields.flag("return_token_ids")?;
    let delivery = Delivery { stream, token_ids, ..Delivery::default() };
    let Some(options) = fields.take("stream_options") else { return Ok(delivery) };
    if !stream {
        let message = "`stream_options` is only allowed when `stream` is true";
        return Err(Error::parameter("stream_options", message));
    }
    let Value::Object(options) = options else {
        let message = format!("`stream_options` must be an object, not {}", kind(&options));
        return Err(Error::parameter("stream_options", message));
    };
    stream_options(delivery, &options)
}

fn stream_options(delivery: Delivery, options: &Map<String, Value>) -> Result<Delivery, Error> {
    let mut delivery = delivery;
    for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
        let path = format!("stream_options.{name}");
        let on = |value| fields::flag(&path, value);
        match name.as_str() {
            "include_usage" => delivery.include_usage = on(value)?,
            "continuous_usage_stats" => delivery.continuous_usage = on(value)?,
            "include_obfuscation" => drop(on(value)?),
            _ => return Err(Error::UnknownParameter(path)),
        }
    }
    // As vLLM has it: usage with every chunk is a kind of usage.
    delivery.continuous_usage &= delivery.include_usage;
    Ok(delivery)
}

/// Alternatives per token.
pub(super) fn alternatives(fields: &mut Fields, name: &str) -> Result<Option<usize>, Error> {
    Ok(fields.whole(name, 0..=LOGPROBS_MAX as u64)?.map(size))
}

/// A number of tokens; what no memory holds is as good as no limit.
pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn top_p(fields: &mut Fields) -> Result<Option<f32>, Error> {
    match fields.number("top_p", 0.0..=1.0)? {
        Some(0.0) => Err(Error::parameter("top_p", "`top_p` must be greater than 0")),
        top_p => Ok(top_p),
    }
}

fn top_k(fields: &mut Fields) -> Result<Option<i64>, Error> {
    match fields.take("top_k") {
        // Both mean all tokens: -1 for vLLM, 0 for transformers and llama.cpp.
        Some(value) if value.as_i64() == Some(-1) => Ok(Some(0)),
        Some(value) => {
            let top_k = fields::whole("top_k", &value, &(0..=u64::MAX))?;
            Ok(Some(i64::try_from(top_k).unwrap_or(i64::MAX)))
        }
        None => Ok(None),
    }
}

fn repetition_penalty(fields: &mut Fields) -> Result<Option<f32>, Error> {
    match fields.number("repetition_penalty", 0.0..=10.0)? {
        Some(penalty) if penalty <= 0.0 => {
            let message = "`repetition_penalty` must be greater than 0";
            Err(Error::parameter("repetition_penalty", message))
        }
        penalty => Ok(penalty),
    }
}

fn logit_bias(value: Option<Value>) -> Result<Vec<(u32, f32)>, Error> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::Object(biases) = value else {
        let message = format!("`logit_bias` must be an object, not {}", kind(&value));
        return Err(Error::parameter("logit_bias", message));
    };
    if biases.len() > BIASES_MAX {
        let message = format!("`logit_bias` may name {BIASES_MAX} tokens, not {}", biases.len());
        return Err(Error::parameter("logit_bias", message));
    }
    let bias = |(id, value): (&String, &Value)| {
        let path = format!("logit_bias.{id}");
        let bias = fields::number(&path, value, &(-100.0..=100.0))? as f32;
        let known = id.parse::<u32>();
        let message = || format!("`{id}` in `logit_bias` is no token id");
        Ok((known.map_err(|_| Error::parameter(path.clone(), message()))?, bias))
    };
    biases.iter().map(bias).collect()
}

fn seed(value: Option<Value>) -> Result<u64, Error> {
    let Some(value) = value else { return Ok(rand::random()) };
    let bits = |seed: i64| u64::from_ne_bytes(seed.to_ne_bytes());
    let seed = value.as_u64().or_else(|| value.as_i64().map(bits));
    seed.ok_or_else(|| Error::parameter("seed", format!("`seed` is no whole number: `{value}`")))
}

fn stops(value: Option<Value>) -> Result<Vec<String>, Error> {
    let bad = || {
        let message = format!(
            "`stop` must be a text or at most {STOPS_MAX} texts, none of them empty or longer \
             than {STOP_BYTES_MAX} bytes"
        );
        Error::parameter("stop", message)
    };
    let stops = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>().ok_or_else(bad)?
        }
        Some(_) => return Err(bad()),
    };
    let wrong = |stop: &String| stop.is_empty() || stop.len() > STOP_BYTES_MAX;
    if stops.len() > STOPS_MAX || stops.iter().any(wrong) { Err(bad()) } else { Ok(stops) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Fields, Settings, TEMPERATURE, settings};
    use crate::chat::defaults::Defaults;

    fn of(body: &Value, own: &Defaults) -> Settings {
        let mut fields = Fields::read(body.to_string().as_bytes()).unwrap();
        let mut wanted = settings(&mut fields).unwrap();
        wanted.limit(fields.whole("max_tokens", 0..=u64::MAX).unwrap());
        wanted.of(own)
    }

    fn own() -> Defaults {
        Defaults {
            temperature: Some(0.6),
            top_p: Some(0.8),
            top_k: Some(20),
            min_p: Some(0.1),
            repetition_penalty: Some(1.05),
            max_new_tokens: Some(9),
        }
    }

    #[track_caller]
    fn check(body: &Value, own: &Defaults, numbers: [f32; 4], counts: (usize, usize)) {
        let found = of(body, own).sampling;
        let repetition = found.repetition_penalty;
        assert_eq!([found.temperature, found.top_p, found.min_p, repetition], numbers, "{body}");
        assert_eq!((found.top_k, found.max_tokens), counts, "{body}");
    }

    #[test]
    fn what_a_request_leaves_out_is_as_the_models_authors_say() {
        check(&json!({}), &own(), [0.6, 0.8, 0.1, 1.05], (20, 9));
        check(&json!({ "top_p": null }), &own(), [0.6, 0.8, 0.1, 1.05], (20, 9));
        let said = json!({ "temperature": 0, "top_p": 1, "top_k": 0, "min_p": 0,
            "repetition_penalty": 1, "max_tokens": 99 });
        check(&said, &own(), [0.0, 1.0, 0.0, 1.0], (0, 99));
    }

    #[test]
    fn a_model_without_an_opinion_samples_from_everything() {
        let nothing = Defaults::default();
        check(&json!({}), &nothing, [TEMPERATURE, 1.0, 0.0, 1.0], (0, usize::MAX));
        check(&json!({ "top_k": -1 }), &own(), [0.6, 0.8, 0.1, 1.05], (0, 9));
        let all = Defaults { top_k: Some(-1), top_p: Some(0.0), ..nothing };
        check(&json!({}), &all, [TEMPERATURE, 1.0, 0.0, 1.0], (0, usize::MAX));
    }
}
