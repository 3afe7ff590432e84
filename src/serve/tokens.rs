//! `/tokenize`, `/detokenize` and `/tokenizer_info`: what lm-eval asks of a server whose tokenizer it
//! has not.

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::wire::{Detokenize, Tokenize, Tokenized};
use super::{Error, Models, Server, blocking, body};
use crate::chat::local::LocalModel;

pub(super) async fn tokenize(
    State(server): State<Server>,
    request: Request,
) -> Result<Json<Value>, Error> {
    read(server, request, |models, body| {
        let asked = Tokenize::read(body)?;
        let model = models.get(asked.model.as_deref())?;
        let ids = match &asked.what {
            Tokenized::Text { text, begin } => model.encode_prompt(text, *begin)?,
            Tokenized::Conversation { messages, opening, arguments } => {
                model.conversation(messages, *opening, arguments)?.ids
            }
        };
        let texts: Option<Vec<String>> = asked.texts.then(|| {
            let text =
                |id: &u32| String::from_utf8_lossy(&model.tokenizer().bytes(*id)).into_owned();
            ids.iter().map(text).collect()
        });
        Ok(json!({
            "count": ids.len(), "max_model_len": model.context(), "tokens": ids,
            "token_strs": texts,
        }))
    })
    .await
}

pub(super) async fn detokenize(
    State(server): State<Server>,
    request: Request,
) -> Result<Json<Value>, Error> {
    read(server, request, |models, body| {
        let asked = Detokenize::read(body)?;
        let model = models.get(asked.model.as_deref())?;
        model.check_ids("tokens", &asked.ids)?;
        let text = model.tokenizer().decode(&asked.ids, true).map_err(Error::Internal)?;
        Ok(json!({ "prompt": text, "content": text }))
    })
    .await
}

pub(super) async fn tokenizer_info(State(server): State<Server>) -> Result<Json<Value>, Error> {
    server.models.gate().check()?;
    let models = server.models;
    blocking(move || models.get(None).map(|model| Json(info(&model)))).await
}

fn info(model: &LocalModel) -> Value {
    let template = model.template();
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": template.bos(),
        "eos_token": template.eos(), "chat_template": template.jinja(),
        "vocab_size": model.vocabulary(), "model_max_length": model.context(),
        "add_bos_token": model.tokenizer().first().is_some(),
    })
}

/// Reads the body and answers it on a thread that may block.
async fn read(
    server: Server,
    request: Request,
    answer: fn(&Models, &[u8]) -> Result<Value, Error>,
) -> Result<Json<Value>, Error> {
    server.models.gate().check()?;
    let body = body::json(request).await?;
    blocking(move || answer(&server.models, &body).map(Json)).await
}
