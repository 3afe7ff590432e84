//! What training a model takes, by kind, without doing it: the numbers that a planner compares.
//!
//! Counts what `burn::trainer` holds on the processor, where activations and weights are computed
//! with in f32; for GPUs a planner gives the bytes of what they compute with. Held to what is measured
//! (`Trainer::memory`) by a test. Sizes of layouts: a number's weight, gradient and both moments.

use serde_json::Value;

use super::{Keep, Lora, Memory, Precision, Shard, StateLayout, Training};

/// The sizes of a model that decide how much memory it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of embedding and head.
    pub vocabulary: u64,
    /// Channels.
    pub hidden: u64,
    /// Channels of a feed-forward half.
    pub feed_forward: u64,
    /// Layers.
    pub layers: u64,
    /// Columns of the queries of all heads.
    pub query: u64,
    /// Columns of the keys of all heads; the values have as many.
    pub key: u64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Numbers in the biases and norms of a layer.
    pub vectors: u64,
}

/// What a rank is given at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Ranks.
    pub ranks: u64,
    /// Tokens of a rank's micro-batch.
    pub tokens: u64,
    /// Of these with a loss.
    pub trained: u64,
    /// The longest sequence.
    pub longest: u64,
    /// Bytes of a number that is computed with: 4 on the processor, 2 on a GPU in bf16.
    pub computed_bytes: u64,
}

impl Shape {
    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// The field that is missing or no number.
    pub fn parse(config: &Value) -> Result<Self, String> {
        let number = |key: &str| {
            let value = config.get(key).filter(|value| !value.is_null())?;
            value.as_u64()
        };
        let wanted = |key: &str| number(key).ok_or_else(|| format!("`{key}` is no number"));
        let is = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let (hidden, heads) = (wanted("hidden_size")?, wanted("num_attention_heads")?);
        let size = number("head_dim").unwrap_or(hidden / heads.max(1));
        let (query, key) = (heads * size, number("num_key_value_heads").unwrap_or(heads) * size);
        let feed_forward = wanted("intermediate_size")?;
        let kind = config.get("model_type").and_then(Value::as_str).unwrap_or("qwen2");
        let qwen2 = kind == "qwen2";
        let mut vectors = 2 * hidden;
        vectors += if qwen2 || is("attention_bias") { query + 2 * key } else { 0 };
        vectors += if is("attention_bias") { hidden } else { 0 };
        vectors += if is("mlp_bias") { 2 * feed_forward + hidden } else { 0 };
        vectors += if kind == "qwen3" { 2 * size } else { 0 };
        Ok(Self {
            vocabulary: wanted("vocab_size")?,
            hidden,
            feed_forward,
            layers: wanted("num_hidden_layers")?,
            query,
            key,
            tied: is("tie_word_embeddings"),
            vectors,
        })
    }

    /// Numbers in a layer.
    pub fn layer(&self) -> u64 {
        let attention = self.hidden * (2 * self.query + 2 * self.key);
        attention + 3 * self.hidden * self.feed_forward + self.vectors
    }

    /// Numbers in the matrices of a layer.
    pub fn matrices(&self) -> u64 {
        self.layer() - self.vectors
    }

    /// Useful operations of a forward and a backward pass over so many tokens, the squares of whose
    /// sequences' lengths make `squares`: six for each number that a token is multiplied with, and
    /// causal attention, in which half of the pairs count. What is computed again is not counted.
    pub fn operations(&self, tokens: f64, squares: f64) -> f64 {
        let linear = 6 * (self.layers * self.matrices() + self.table());
        linear as f64 * tokens + 6.0 * (self.layers * self.query) as f64 * squares
    }

    /// Numbers in the first half of a layer.
    fn first_half(&self) -> u64 {
        let second = 3 * self.hidden * self.feed_forward + self.hidden;
        self.layer() - second
    }

    /// Numbers in the embedding; in the head, too.
    pub fn table(&self) -> u64 {
        self.vocabulary * self.hidden
    }

    /// Numbers in the model.
    pub fn parameters(&self) -> u64 {
        let tables = if self.tied { 1 } else { 2 };
        self.layers * self.layer() + tables * self.table() + self.hidden
    }

    /// Rows and columns of a layer's weight that can have adapters. None if there is no such weight.
    fn target(&self, name: &str) -> Option<[u64; 2]> {
        Some(match name {
            "q_proj" => [self.query, self.hidden],
            "k_proj" | "v_proj" => [self.key, self.hidden],
            "o_proj" => [self.hidden, self.query],
            "gate_proj" | "up_proj" => [self.feed_forward, self.hidden],
            "down_proj" => [self.hidden, self.feed_forward],
            _ => return None,
        })
    }

    /// Numbers in all weights that have adapters, and in the adapters.
    pub fn adapted(&self, lora: &Lora) -> [u64; 2] {
        let targets = lora.targets.iter().filter_map(|name| self.target(name));
        targets.fold([0, 0], |[under, own], [rows, columns]| {
            let adapters = lora.rank as u64 * (rows + columns);
            [under + self.layers * rows * columns, own + self.layers * adapters]
        })
    }

    /// Numbers that are trained.
    pub fn trained(&self, lora: Option<&Lora>) -> u64 {
        lora.map_or(self.parameters(), |lora| self.adapted(lora)[1])
    }

    /// Numbers of a token that the first half of a layer keeps for its backward: input, normed input,
    /// queries, keys and values, what was attended to, and the output.
    fn first_half_kept(&self) -> u64 {
        3 * self.hidden + 2 * self.query + 2 * self.key
    }

    /// The same of the second half without its input: normed input, gate, up, their product, output.
    fn second_half_kept(&self) -> u64 {
        2 * self.hidden + 3 * self.feed_forward
    }
}

/// Bytes that a layout keeps of a number: weight, gradient, both moments.
pub fn bytes_per_number(layout: StateLayout) -> [u64; 3] {
    match layout {
        StateLayout::APlus => [4, 4, 8],
        StateLayout::A | StateLayout::Dx => [4, 2, 8],
        StateLayout::APrime | StateLayout::D => [4, 2, 4],
        StateLayout::DPlus => [4, 4, 4],
        StateLayout::B => [2, 2, 4],
    }
}

/// Bytes of a checkpoint's weights, and of its largest file: the optimizer's state. A checkpoint is as
/// exact as the layout; halves that make one f32 are written as that. Adapters are written with the
/// weights under them.
pub fn checkpoint(shape: &Shape, training: &Training) -> [u64; 2] {
    let [weight, _, moments] = bytes_per_number(training.state);
    match &training.lora {
        None => [shape.parameters() * weight, shape.parameters() * moments],
        Some(lora) => {
            let [under, own] = shape.adapted(lora);
            [shape.parameters() * 4, under * weight + own * (weight + moments)]
        }
    }
}

/// Bytes of the finished model.
pub fn finished(shape: &Shape, training: &Training) -> u64 {
    let narrow = training.precision == Precision::Bf16
        || training.state == StateLayout::B && training.lora.is_none();
    shape.parameters() * if narrow { 2 } else { 4 }
}

/// What all ranks together take, by kind. `logits` and `working_set` are not needed at the same time:
/// the most that there is at once is [`peak`].
pub fn predict(shape: &Shape, training: &Training, load: &Load) -> Memory {
    let Load { ranks, tokens, .. } = *load;
    let [weight, gradient, moments] = bytes_per_number(training.state);
    let (trained, computed) = (shape.trained(training.lora.as_ref()), load.computed_bytes);
    let adapters = if training.lora.is_some() { trained } else { 0 };
    let numbers = shape.parameters() + adapters;
    let copies = |whole: bool| if whole { ranks } else { 1 };
    let whole_weights = training.shard != Shard::Parameters;
    let whole_gradients = matches!(training.shard, Shard::None | Shard::Optimizer);
    let whole_state = training.shard == Shard::None;
    // Where weights are not sharded but the state is, each rank has a copy to compute with.
    let copied = whole_weights && !whole_state && ranks > 1;
    let copy = if training.precision == Precision::F32 { 4 } else { 2 };
    let layers = shape.layers * copies(whole_weights) * computed;
    let kept = match training.keep {
        Keep::Inputs => shape.layers * (shape.hidden * tokens) * ranks * computed,
        Keep::Attention => {
            shape.layers * shape.first_half_kept() * tokens * ranks * computed
                + layers * shape.first_half()
        }
        // The output of a layer is the input of the next one.
        Keep::All => {
            let each = shape.first_half_kept() + shape.second_half_kept() - shape.hidden;
            shape.layers * each * tokens * ranks * computed + layers * shape.layer()
        }
    };
    Memory {
        weights: numbers * (weight * copies(whole_state) + if copied { copy * ranks } else { 0 }),
        gradients: trained * gradient * copies(whole_gradients),
        optimizer: trained * moments * copies(whole_state),
        activations: kept + shape.hidden * tokens * ranks * computed,
        working_set: working_set(shape, training.keep, load),
        logits: logits(shape, training, load),
        gathered: shape.layer() * copies(whole_weights) * computed,
    }
}

/// What a layer needs beside the kept while it is run backward: what is computed again, the gradients of
/// its weights for all ranks, and those of the widest step between.
fn working_set(shape: &Shape, keep: Keep, load: &Load) -> u64 {
    let (tokens, computed) = (load.tokens, load.computed_bytes);
    let again = match keep {
        Keep::Inputs => shape.first_half_kept() - shape.hidden + shape.second_half_kept(),
        Keep::Attention => shape.second_half_kept(),
        Keep::All => 0,
    };
    let between = 2 * shape.feed_forward + 2 * shape.hidden;
    let gradients = shape.layer() * load.ranks;
    (tokens * (again + between) + gradients) * computed
}

/// What the head needs: a table to multiply with, its gradients for all ranks, normed rows and their
/// gradients, and a chunk of logits.
fn logits(shape: &Shape, training: &Training, load: &Load) -> u64 {
    let copies = if training.shard == Shard::Parameters { 1 } else { load.ranks };
    let chunk = chunk_rows(training.logits_chunk, shape.vocabulary).min(load.trained);
    let tables = shape.table() * (copies + load.ranks);
    let rows = load.trained * shape.hidden * 4 + load.tokens * shape.hidden * load.ranks;
    (tables + rows + chunk * shape.vocabulary) * load.computed_bytes
}

/// Logits that exist at a time where nobody asked for another number: 64 MiB of them.
const LOGITS: u64 = 1 << 24;

/// Rows of a chunk at least, so that the products stay products of matrices.
const CHUNK_ROWS_MIN: u64 = 64;

/// Rows of logits that exist at a time.
pub fn chunk_rows(asked: Option<usize>, vocabulary: u64) -> u64 {
    let chosen = (LOGITS / vocabulary.max(1)).max(CHUNK_ROWS_MIN);
    asked.map_or(chosen, |rows| rows as u64).max(1)
}

/// The most that there is at once.
pub fn peak(memory: &Memory) -> u64 {
    let held = memory.weights + memory.gradients + memory.optimizer + memory.activations;
    held + memory.logits.max(memory.working_set + memory.gathered)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn qwen(layers: u64, hidden: u64, feed_forward: u64, heads: u64) -> Shape {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 152_064, "hidden_size": hidden,
            "intermediate_size": feed_forward, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": if heads == 28 { 4 } else { 8 },
        });
        Shape::parse(&config).unwrap()
    }

    #[test]
    fn the_models_of_openthinker_have_as_many_parameters_as_published() {
        assert_eq!(qwen(28, 3584, 18_944, 28).parameters(), 7_615_616_512);
        assert_eq!(qwen(64, 5120, 27_648, 40).parameters(), 32_763_876_352);
    }

    #[test]
    fn a_layout_takes_its_bytes_on_every_number_once_over_all_ranks() {
        let shape = qwen(28, 3584, 18_944, 28);
        let load = Load { ranks: 8, tokens: 0, trained: 0, longest: 0, computed_bytes: 2 };
        for (state, bytes) in [("A+", 16), ("A", 14), ("A'", 10), ("DX", 14), ("D+", 12), ("D", 10)]
            .into_iter()
            .chain([("B", 8)])
        {
            let training = Training { state: state.parse().unwrap(), ..Training::default() };
            let memory = predict(&shape, &training, &load);
            let held = memory.weights + memory.gradients + memory.optimizer;
            assert_eq!(held, bytes * shape.parameters(), "{state}");
        }
    }
}
