//! A model and its optimizer's state on the host, independent of ranks, and their files.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::lora::{Plan, Slot};
use super::store::{Store, Values};
use crate::burn::parameters::{FileTensor, file_tensors};
use crate::burn::weights::{self, Model};
use crate::burn::{decoder::DecoderConfig, files};
use crate::{Result, Snapshot};

/// The optimizer's state in a checkpoint.
const STATE: &str = "optimizer.safetensors";

/// A tensor of the state.
struct Named {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Named {
    fn view(&self) -> files::NamedTensor<'_> {
        let (name, shape) = (self.name.clone(), self.shape.clone());
        files::NamedTensor { name, shape, values: &self.values }
    }
}

/// The copy.
pub(crate) struct Copied {
    model: Model,
    state: Vec<Named>,
    steps: u64,
}

/// All weights, parameter by parameter.
pub(crate) fn all(store: &dyn Store, blocks: usize, of: fn(&dyn Store, usize) -> Values) -> Values {
    (0..blocks).flat_map(|block| of(store, block)).collect()
}

/// Both moments, parameter by parameter.
fn moments(store: &dyn Store, blocks: usize) -> [Values; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for block in 0..blocks {
        for (all, own) in all.iter_mut().zip(store.moments(block)) {
            all.extend(own);
        }
    }
    all
}

impl Copied {
    /// Copies what a store holds of a model.
    pub(crate) fn new(
        model: &Model,
        store: &dyn Store,
        (blocks, lora): (usize, Option<&Plan>),
        steps: u64,
    ) -> Self {
        let values = all(store, blocks, |store, block| store.weights(block));
        let state = match lora {
            None => full_state(&model.config, moments(store, blocks)),
            Some(plan) => adapter_state(plan, store),
        };
        let model = Model {
            config: model.config.clone(),
            info: model.info.clone(),
            original: model.original.clone(),
            generation: model.generation.clone(),
            values,
        };
        Self { model, state, steps }
    }
}

fn full_state(config: &DecoderConfig, [first, second]: [Values; 2]) -> Vec<Named> {
    let moment = |tensor: &FileTensor, moment: &str, values: &Values| Named {
        name: format!("{moment}.{}", tensor.name),
        shape: tensor.shape.clone(),
        values: values[tensor.parameter][tensor.elements.clone()].to_vec(),
    };
    let tensors = file_tensors(config).into_iter();
    tensors
        .flat_map(|one| [moment(&one, "first", &first), moment(&one, "second", &second)])
        .collect()
}

/// What a slot's numbers are called, in the order in which a store has them.
fn names(slot: &Slot) -> [String; 2] {
    ["lora_a", "lora_b"].map(|factor| format!("{factor}.{}", slot.tensor.name))
}

/// Adapters, their moments, and the weights under them: the model's files have the sums.
fn adapter_state(plan: &Plan, store: &dyn Store) -> Vec<Named> {
    let (mut state, parameters) = (Vec::new(), plan.parameters());
    for (block, slots) in plan.slots.iter().enumerate() {
        let Some(at) = plan.place(block) else { continue };
        let [first, second] = store.moments(block);
        let rows = [("", store.adapter_weights(block)), ("first.", first), ("second.", second)];
        for (prefix, rows) in rows {
            let names = slots.iter().flat_map(names).zip(&parameters[at]);
            for ((name, parameter), values) in names.zip(rows) {
                let shape = parameter.shape.to_vec();
                state.push(Named { name: format!("{prefix}{name}"), shape, values });
            }
        }
        let frozen = store.frozen(block);
        for slot in slots {
            let values = slot.of(&frozen).to_vec();
            let name = format!("base.{}", slot.tensor.name);
            state.push(Named { name, shape: slot.tensor.shape.clone(), values });
        }
    }
    state
}

impl Snapshot for Copied {
    fn save_model(&self, dir: &Path) -> Result<()> {
        self.model.save(dir)
    }

    fn save_state(&self, dir: &Path) -> Result<()> {
        files::create_dir(dir)?;
        let tensors: Vec<files::NamedTensor<'_>> = self.state.iter().map(Named::view).collect();
        let steps = self.steps.to_string();
        files::write_safetensors(&dir.join(STATE), &tensors, &[("steps", &steps)])
    }
}

/// The state in a folder, to be read.
pub(crate) struct Saved<'a> {
    dir: &'a Path,
    tensors: SafeTensors<'a>,
    /// Steps that were done.
    pub(crate) steps: u64,
}

/// The bytes of a folder's state.
pub(crate) fn read(dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join(STATE);
    std::fs::read(&path).map_err(|source| files::io(&path, source))
}

impl<'a> Saved<'a> {
    /// Parses a folder's state.
    pub(crate) fn parse(dir: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let broken = |why: String| weights::bad(dir, format!("`{STATE}`: {why}"));
        let text = |error: safetensors::SafeTensorError| broken(error.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(text)?;
        let steps = header.metadata().as_ref().and_then(|entries| entries.get("steps"));
        let steps = steps.and_then(|steps| steps.parse().ok());
        let steps = steps.ok_or_else(|| broken("has no step count".to_owned()))?;
        Ok(Self { dir, tensors: SafeTensors::deserialize(bytes).map_err(text)?, steps })
    }

    /// Reads a tensor of this shape.
    pub(crate) fn take(&self, name: &str, shape: &[usize], target: &mut [f32]) -> Result<()> {
        let broken = |why: String| weights::bad(self.dir, format!("`{STATE}`: {why}"));
        let found = self.tensors.tensor(name).map_err(|error| broken(error.to_string()))?;
        if found.shape() != shape || found.dtype() != Dtype::F32 {
            return Err(broken(format!("`{name}` does not fit the model")));
        }
        weights::convert(found.data(), found.dtype(), target).map_err(broken)
    }

    /// Both moments of every parameter.
    pub(crate) fn moments(&self, config: &DecoderConfig, zeros: &Values) -> Result<[Values; 2]> {
        let mut both = [zeros.clone(), zeros.clone()];
        for (moment, values) in ["first", "second"].iter().zip(&mut both) {
            for tensor in file_tensors(config) {
                let target = &mut values[tensor.parameter][tensor.elements.clone()];
                self.take(&format!("{moment}.{}", tensor.name), &tensor.shape, target)?;
            }
        }
        Ok(both)
    }

    /// Adapters and their moments of one block.
    pub(crate) fn adapters(&self, plan: &Plan, block: usize, at: usize) -> Result<[Values; 3]> {
        let parameters = &plan.parameters()[at];
        let names: Vec<String> = plan.slots[block].iter().flat_map(names).collect();
        let read = |prefix: &str| -> Result<Values> {
            let each = names.iter().zip(parameters).map(|(name, parameter)| {
                let mut values = vec![0.0; parameter.length()];
                self.take(&format!("{prefix}{name}"), &parameter.shape, &mut values)?;
                Ok(values)
            });
            each.collect()
        };
        Ok([read("")?, read("first.")?, read("second.")?])
    }

    /// Puts the weights under a block's adapters in the place of the sums.
    pub(crate) fn frozen(&self, plan: &Plan, block: usize, weights: &mut Values) -> Result<()> {
        for slot in &plan.slots[block] {
            let name = format!("base.{}", slot.tensor.name);
            self.take(&name, &slot.tensor.shape.clone(), slot.of_mut(weights))?;
        }
        Ok(())
    }
}
