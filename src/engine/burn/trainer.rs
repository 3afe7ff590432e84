//! Training: forward and backward on a tape, gradients added up, AdamW.

use std::path::Path;

use burn::tensor::Tensor;
use safetensors::SafeTensors;

use super::adamw::{Step, Trained};
use super::decoder::{Decoder, WithinBatch};
use super::device::{self, Place};
use super::head::{self, Targets};
use super::loaded::Weight;
use super::packing::Packing;
use super::parameters::{Parameter, file_tensors, parameters};
use super::rotary::Tables;
use super::weights::Model;
use super::{files, weights};
use crate::{
    Adam, Error, IGNORE, ModelInfo, Result, Snapshot, Trainer, Training, Weighted, Weights,
};

/// The optimizer's state in a checkpoint.
const STATE: &str = "optimizer.safetensors";

/// A decoder that learns, on one device.
pub(crate) struct BurnTrainer {
    /// Configuration and names; its values are stale once training began.
    model: Model,
    shapes: Vec<Parameter>,
    weights: Vec<Tensor<2>>,
    first: Vec<Tensor<2>>,
    second: Vec<Tensor<2>>,
    gradients: Option<Vec<Tensor<2>>>,
    steps: u64,
    adam: Adam,
    chunk: usize,
    tables: Tables,
    place: Place,
}

impl BurnTrainer {
    /// Loads or draws the weights onto a device.
    pub(crate) fn open(
        mut places: Vec<Place>,
        source: Weights<'_>,
        training: &Training,
    ) -> Result<Self> {
        if places.len() != 1 || *training != Training::from(training.adam) {
            let why = "this engine trains on one rank, in f32, with the default layout";
            return Err(Error::BadInput(why.to_owned()));
        }
        let place = places.remove(0);
        let mut model = match source {
            Weights::Folder(dir) => Model::load(dir)?,
            Weights::Random { config, seed } => Model::random(config, seed)?,
        };
        let shapes = parameters(&model.config);
        let values = std::mem::take(&mut model.values);
        let weights = (values.into_iter().zip(&shapes))
            .map(|(values, parameter)| device::matrix(values, parameter.shape, &place.device))
            .collect();
        let zeros = || -> Vec<Tensor<2>> {
            shapes.iter().map(|parameter| Tensor::zeros(parameter.shape, &place.device)).collect()
        };
        let (first, second) = (zeros(), zeros());
        Ok(Self {
            tables: Tables::new(model.config.head_size, &model.config.rope),
            weights,
            first,
            second,
            gradients: None,
            steps: 0,
            adam: training.adam,
            chunk: head::chunk_rows(training.logits_chunk, model.config.vocabulary),
            place,
            shapes,
            model,
        })
    }

    /// Values of all parameters, cut into the tensors of the files.
    fn by_name(&self, tensors: &[Tensor<2>]) -> Vec<(String, Vec<f32>)> {
        let values = host(tensors);
        (file_tensors(&self.model.config).into_iter())
            .map(|tensor| (tensor.name, values[tensor.parameter][tensor.elements].to_vec()))
            .collect()
    }

    /// The losses of the sequences, and the gradients of their weighted sum.
    fn differentiate(&self, pack: &[Weighted<'_>]) -> Result<(Vec<f64>, Vec<Tensor<2>>)> {
        let sequences = pack.iter().map(|one| one.sequence.input_ids.as_slice());
        let packing = Packing::new(sequences, &self.tables, &self.place.device);
        let targets = targets(pack, &packing);
        let taped: Vec<Tensor<2>> =
            self.weights.iter().map(|weight| weight.clone().autodiff().require_grad()).collect();
        let parameters: Vec<Weight> = taped.iter().cloned().map(Weight::Tensor).collect();
        let (config, kernels) = (&self.model.config, self.place.kernels);
        let decoder = Decoder::new(config, &parameters, kernels);
        let mut attention =
            WithinBatch { packing: packing.clone(), heads: config.heads(), kernels };
        let hidden = decoder.hidden_states(&packing, &mut attention);
        let normed = decoder.normed(hidden, &targets.rows);
        let weight = &self.weights[decoder.head()];
        let outcome =
            head::differentiate(kernels, &normed.clone().inner(), weight, &targets, self.chunk);
        if !outcome.losses.iter().sum::<f64>().is_finite() {
            return Err(Error::NotFinite { what: "loss" });
        }
        let mut tape = (normed * outcome.of_input.autodiff()).sum().backward();
        let mut gradients: Vec<Tensor<2>> = taped
            .iter()
            .zip(&self.weights)
            .map(|(taped, weight)| match taped.grad_remove(&mut tape) {
                Some(gradient) => gradient.inner(),
                None => weight.zeros_like(),
            })
            .collect();
        let of_head = &mut gradients[decoder.head()];
        *of_head = of_head.clone() + outcome.of_weight;
        Ok((by_sequence(pack, &outcome.losses), gradients))
    }

    fn check(&self, pack: &[Weighted<'_>]) -> Result<()> {
        let vocabulary = self.model.info.vocabulary;
        for Weighted { sequence, .. } in pack {
            let (ids, labels) = (sequence.input_ids.len(), sequence.labels.len());
            if ids != labels {
                return Err(Error::BadInput(format!("{ids} input ids but {labels} labels")));
            }
            check_ids(&sequence.input_ids, &self.model.info)?;
            let outside = |label: &&i64| {
                **label != IGNORE && usize::try_from(**label).map_or(true, |id| id >= vocabulary)
            };
            if let Some(label) = sequence.labels.iter().find(outside) {
                return Err(Error::BadInput(format!(
                    "label {label} is outside the vocabulary of {vocabulary}"
                )));
            }
        }
        Ok(())
    }
}

/// Refuses ids outside the vocabulary and sequences longer than the context.
pub(crate) fn check_ids(ids: &[u32], info: &ModelInfo) -> Result<()> {
    if let Some(id) = ids.iter().find(|id| **id as usize >= info.vocabulary) {
        let vocabulary = info.vocabulary;
        return Err(Error::BadInput(format!("id {id} is outside the vocabulary of {vocabulary}")));
    }
    if ids.len() > info.context {
        let (length, context) = (ids.len(), info.context);
        return Err(Error::BadInput(format!("{length} tokens exceed the context of {context}")));
    }
    if ids.is_empty() {
        return Err(Error::BadInput("a sequence has no tokens".to_owned()));
    }
    Ok(())
}

/// Packed rows that have a loss, what each must predict, and what it counts.
fn targets(pack: &[Weighted<'_>], packing: &Packing) -> Targets {
    let mut targets = Targets::default();
    for (one, range) in pack.iter().zip(packing.ranges()) {
        let next = one.sequence.labels.iter().skip(1).enumerate();
        for (place, label) in next.filter(|(_, label)| **label != IGNORE) {
            targets.rows.push(range.start + place);
            targets.ids.push(*label as usize);
            targets.factors.push(one.weight as f32);
        }
    }
    targets
}

/// The losses of the rows, added up sequence by sequence.
fn by_sequence(pack: &[Weighted<'_>], losses: &[f64]) -> Vec<f64> {
    let mut rest = losses.iter();
    let counts = pack.iter().map(|one| one.sequence.trained_tokens());
    counts.map(|count| rest.by_ref().take(count).sum()).collect()
}

fn host(tensors: &[Tensor<2>]) -> Vec<Vec<f32>> {
    tensors.iter().cloned().map(device::numbers).collect()
}

impl Trainer for BurnTrainer {
    fn info(&self) -> &ModelInfo {
        &self.model.info
    }

    fn ranks(&self) -> usize {
        1
    }

    fn accumulate(&mut self, ranks: &[Vec<Weighted<'_>>]) -> Result<Vec<Vec<f64>>> {
        let [pack] = ranks else {
            return Err(Error::BadInput(format!("{} micro-batches for 1 rank", ranks.len())));
        };
        self.check(pack)?;
        if pack.iter().all(|one| one.sequence.trained_tokens() == 0) {
            return Ok(vec![vec![0.0; pack.len()]]);
        }
        let (losses, new) = self.differentiate(pack)?;
        self.gradients = Some(match self.gradients.take() {
            Some(old) => old.into_iter().zip(new).map(|(old, new)| old + new).collect(),
            None => new,
        });
        Ok(vec![losses])
    }

    fn apply(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64> {
        let Some(gradients) = self.gradients.take() else {
            return Err(Error::BadInput("there are no gradients to apply".to_owned()));
        };
        let kernels = self.place.kernels;
        let squares: f64 = gradients.iter().map(|gradient| kernels.square_sum(gradient)).sum();
        let norm = squares.sqrt();
        if !norm.is_finite() {
            return Err(Error::NotFinite { what: "gradient norm" });
        }
        self.steps += 1;
        let scale = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let step = Step { adam: self.adam, learning_rate, scale, number: self.steps };
        for (index, gradient) in gradients.into_iter().enumerate() {
            let empty = || Tensor::empty([1, 1], &self.place.device);
            let take =
                |tensors: &mut Vec<Tensor<2>>| std::mem::replace(&mut tensors[index], empty());
            let old = Trained {
                weight: take(&mut self.weights),
                first: take(&mut self.first),
                second: take(&mut self.second),
            };
            let new = kernels.adamw(old, gradient, self.shapes[index].decays, &step);
            self.weights[index] = new.weight;
            self.first[index] = new.first;
            self.second[index] = new.second;
        }
        Ok(norm)
    }

    fn discard(&mut self) {
        self.gradients = None;
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(Copy {
            model: Model {
                config: self.model.config.clone(),
                info: self.model.info.clone(),
                original: self.model.original.clone(),
                generation: self.model.generation.clone(),
                values: host(&self.weights),
            },
            first: host(&self.first),
            second: host(&self.second),
            steps: self.steps,
        }))
    }

    fn load_state(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join(STATE);
        let bytes = std::fs::read(&path).map_err(|source| files::io(&path, source))?;
        let broken = |why: String| weights::bad(dir, format!("`{STATE}`: {why}"));
        let text = |error: safetensors::SafeTensorError| broken(error.to_string());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(text)?;
        let steps = header.metadata().as_ref().and_then(|entries| entries.get("steps"));
        let steps = steps.and_then(|steps| steps.parse().ok());
        let steps = steps.ok_or_else(|| broken("has no step count".to_owned()))?;
        let state = SafeTensors::deserialize(&bytes).map_err(text)?;
        let read = |moment: &str| -> Result<Vec<Tensor<2>>> {
            let mut values: Vec<Vec<f32>> =
                self.shapes.iter().map(|p| vec![0.0; p.shape[0] * p.shape[1]]).collect();
            for tensor in file_tensors(&self.model.config) {
                let name = format!("{moment}.{}", tensor.name);
                let found = state.tensor(&name).map_err(text)?;
                if found.shape() != tensor.shape || found.dtype() != safetensors::Dtype::F32 {
                    return Err(broken(format!("`{name}` does not fit the model")));
                }
                let target = &mut values[tensor.parameter][tensor.elements];
                weights::convert(found.data(), found.dtype(), target).map_err(broken)?;
            }
            let pairs = values.into_iter().zip(&self.shapes);
            Ok(pairs
                .map(|(v, parameter)| device::matrix(v, parameter.shape, &self.place.device))
                .collect())
        };
        let (first, second) = (read("first")?, read("second")?);
        (self.first, self.second, self.steps) = (first, second, steps);
        Ok(())
    }

    fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        self.gradients.as_ref().map_or_else(Vec::new, |gradients| self.by_name(gradients))
    }

    fn weights(&self) -> Vec<(String, Vec<f32>)> {
        self.by_name(&self.weights)
    }

    fn peak_memory_bytes(&self) -> u64 {
        device::peak_memory_bytes(&self.place.device)
    }
}

/// A model and its optimizer's state on the host.
struct Copy {
    model: Model,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    steps: u64,
}

impl Snapshot for Copy {
    fn save_model(&self, dir: &Path) -> Result<()> {
        self.model.save(dir)
    }

    fn save_state(&self, dir: &Path) -> Result<()> {
        files::create_dir(dir)?;
        let tensors: Vec<files::NamedTensor<'_>> = file_tensors(&self.model.config)
            .into_iter()
            .flat_map(|tensor| {
                [("first", &self.first), ("second", &self.second)].map(|(moment, values)| {
                    files::NamedTensor {
                        name: format!("{moment}.{}", tensor.name),
                        shape: tensor.shape.clone(),
                        values: &values[tensor.parameter][tensor.elements.clone()],
                    }
                })
            })
            .collect();
        let steps = self.steps.to_string();
        files::write_safetensors(&dir.join(STATE), &tensors, &[("steps", &steps)])
    }
}
