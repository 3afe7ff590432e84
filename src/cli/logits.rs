//! The verb `logits`: the logits of one sequence as a safetensors file, for comparisons.

use std::path::PathBuf;

use anyhow::{Context, anyhow, ensure};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::Global;
use crate::chat::local::explained;
use crate::engine::placement::replicas;
use crate::engine::{self, Device, Room, WeightType};

/// Name of the tensor in the file.
const TENSOR: &str = "logits";

/// Options of `logits`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model's folder, in Hugging Face layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A JSON list of token ids
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
    /// The file to write: the tensor `logits`, f32, tokens by vocabulary
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the model runs: `cpu`, `cuda:0`, or as many GPUs as it is split over
    #[arg(long, value_name = "DEVICES", value_delimiter = ',', default_value = "cpu")]
    device: Vec<Device>,
    /// What weights are kept as on the processor: `auto` (as in the files), `f32`, `bf16` or `int8`
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    weights: WeightType,
    /// Ranks that the model is split over: GPUs next to each other, or parts of the processor
    #[arg(long, value_name = "RANKS", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=8))]
    tensor_parallel: u8,
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { model, ids: file, out, device, weights, tensor_parallel } = args;
    let ids = ids(&file)?;
    let room = Room { weights, ..Room::default() };
    let ranks = replicas(&device, tensor_parallel.into()).map_err(explained)?.remove(0);
    let mut generator = engine::open_split_generator(&ranks, &model, room).map_err(explained)?;
    let vocabulary = generator.info().vocabulary;
    let logits = generator.logits(&ids).map_err(explained)?;
    let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let shape = vec![ids.len(), vocabulary];
    let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(|error| anyhow!(error))?;
    let tensors = safetensors::serialize([(TENSOR, view)], None).map_err(|error| anyhow!(error))?;
    let path = out.display().to_string();
    std::fs::write(&out, tensors).with_context(|| format!("could not write `{path}`"))?;
    if global.json {
        let result =
            serde_json::json!({ "tokens": ids.len(), "vocabulary": vocabulary, "out": path });
        println!("{result}");
    } else {
        println!("wrote logits of {} tokens by {vocabulary} to {path}", ids.len());
    }
    Ok(())
}

/// A list of ids; a list with one list in it is taken too, as tokenizers print batches.
fn ids(path: &std::path::Path) -> anyhow::Result<Vec<u32>> {
    let path_text = path.display();
    let text =
        std::fs::read_to_string(path).with_context(|| format!("could not read `{path_text}`"))?;
    let ids: Vec<u32> = serde_json::from_str(&text)
        .or_else(|_| serde_json::from_str::<[Vec<u32>; 1]>(&text).map(|[ids]| ids))
        .with_context(|| format!("`{path_text}` is not a JSON list of token ids"))?;
    ensure!(!ids.is_empty(), "`{path_text}` has no token ids");
    Ok(ids)
}
