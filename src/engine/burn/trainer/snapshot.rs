//! A model and its optimizer's state on the host, independent of ranks, and their files.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::blocks::Blocks;
use super::lora::{Plan, Slot};
use super::numbers::{Kind, rounded};
use super::store::{Kinds, Store, Values};
use crate::burn::decoder::DecoderConfig;
use crate::burn::files::{self, Bits};
use crate::burn::parameters::{FileTensor, Parameter, file_tensors};
use crate::burn::shards::map;
use crate::burn::weights::{self, FILE_BYTES, Model};
use crate::{Precision, Result, Snapshot, Training};

/// The optimizer's state in a checkpoint.
const STATE: &str = "optimizer.safetensors";

/// Numbers as they are kept: exact, and no wider than their layout has them.
enum Kept {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Kept {
    fn new(values: Vec<f32>, kind: Kind) -> Self {
        match kind {
            Kind::F32 | Kind::Split => Self::F32(values),
            Kind::Bf16 => Self::Bf16(values.into_iter().map(rounded).collect()),
        }
    }

    fn all(values: Values, kind: Kind) -> Vec<Self> {
        values.into_iter().map(|values| Self::new(values, kind)).collect()
    }

    fn bits(&self, range: Range<usize>) -> Bits<'_> {
        match self {
            Self::F32(values) => Bits::F32(&values[range]),
            Self::Bf16(bits) => Bits::Bf16(&bits[range]),
        }
    }

    /// What a pass in this precision computes with.
    fn computed(&self, range: Range<usize>, precision: Precision) -> Bits<'_> {
        match (self, precision) {
            (Self::F32(values), Precision::Bf16) => Bits::Rounded(&values[range], rounded),
            _ => self.bits(range),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(bits) => bits.len(),
        }
    }
}

/// A tensor of the state.
struct Named {
    name: String,
    shape: Vec<usize>,
    values: Kept,
}

impl Named {
    fn view(&self) -> files::NamedTensor<'_> {
        let (name, shape) = (self.name.clone(), self.shape.clone());
        files::NamedTensor { name, shape, bits: self.values.bits(0..self.values.len()) }
    }
}

/// The copy.
pub(crate) struct Copied {
    /// What is said of the model; its weights lie beside it.
    model: Model,
    weights: Vec<Kept>,
    state: Vec<Named>,
    precision: Precision,
    steps: u64,
}

/// All weights, parameter by parameter.
pub(crate) fn all(store: &dyn Store, blocks: usize, of: fn(&dyn Store, usize) -> Values) -> Values {
    (0..blocks).flat_map(|block| of(store, block)).collect()
}

impl Copied {
    /// Copies what a store holds of a model.
    pub(crate) fn new(
        model: &Model,
        store: &dyn Store,
        (blocks, lora): (&Blocks, Option<&Plan>),
        (training, steps): (&Training, u64),
    ) -> Self {
        let kinds = Kinds::of(training.state);
        // Sums with adapters are no numbers of a layout.
        let kind = if lora.is_some() { Kind::F32 } else { kinds.weight };
        let weights = (0..blocks.count()).flat_map(|block| Kept::all(store.weights(block), kind));
        let weights = weights.collect();
        let state = match lora {
            None => full_state(&model.config, store, blocks, kinds.moment),
            Some(plan) => adapter_state(plan, store, kinds),
        };
        let model = Model {
            config: model.config.clone(),
            info: model.info.clone(),
            original: model.original.clone(),
            generation: model.generation.clone(),
            values: Vec::new(),
        };
        Self { model, weights, state, precision: training.precision, steps }
    }
}

fn full_state(
    config: &DecoderConfig,
    store: &dyn Store,
    blocks: &Blocks,
    kind: Kind,
) -> Vec<Named> {
    let (tensors, mut state) = (file_tensors(config), Vec::new());
    for block in 0..blocks.count() {
        let (range, moments) = (blocks.range(block), store.moments(block));
        for tensor in tensors.iter().filter(|tensor| range.contains(&tensor.parameter)) {
            for (moment, values) in MOMENTS.iter().zip(&moments) {
                let values = &values[tensor.parameter - range.start][tensor.elements.clone()];
                let (name, shape) = (format!("{moment}.{}", tensor.name), tensor.shape.clone());
                state.push(Named { name, shape, values: Kept::new(values.to_vec(), kind) });
            }
        }
    }
    state
}

/// What both moments are called.
const MOMENTS: [&str; 2] = ["first", "second"];

/// What a slot's numbers are called, in the order in which a store has them.
fn names(slot: &Slot) -> [String; 2] {
    ["lora_a", "lora_b"].map(|factor| format!("{factor}.{}", slot.tensor.name))
}

/// Adapters, their moments, and the weights under them: the model's files have the sums.
fn adapter_state(plan: &Plan, store: &dyn Store, kinds: Kinds) -> Vec<Named> {
    let (mut state, parameters) = (Vec::new(), plan.parameters());
    for (block, slots) in plan.slots.iter().enumerate() {
        let Some(at) = plan.place(block) else { continue };
        let [first, second] = store.moments(block);
        let own = store.adapter_weights(block);
        let (weight, moment) = (kinds.weight, kinds.moment);
        let rows = [("", own, weight), ("first.", first, moment), ("second.", second, moment)];
        for (prefix, rows, kind) in rows {
            let names = slots.iter().flat_map(names).zip(&parameters[at]);
            for ((name, parameter), values) in names.zip(rows) {
                let (name, shape) = (format!("{prefix}{name}"), parameter.shape.to_vec());
                state.push(Named { name, shape, values: Kept::new(values, kind) });
            }
        }
        let frozen = store.frozen(block);
        for slot in slots {
            let (name, shape) = (format!("base.{}", slot.tensor.name), slot.tensor.shape.clone());
            let values = Kept::new(slot.of(&frozen).to_vec(), weight);
            state.push(Named { name, shape, values });
        }
    }
    state
}

impl Snapshot for Copied {
    fn save_model(&self, dir: &Path) -> Result<()> {
        let bits = |one: &FileTensor| self.weights[one.parameter].bits(one.elements.clone());
        self.model.save(dir, FILE_BYTES, bits)
    }

    fn export(&self, dir: &Path) -> Result<()> {
        self.model.save(dir, FILE_BYTES, |one| {
            self.weights[one.parameter].computed(one.elements.clone(), self.precision)
        })
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

/// The bytes of a folder's state, mapped.
pub(crate) fn read(dir: &Path) -> Result<Mmap> {
    let path = dir.join(STATE);
    let mapped = File::open(&path).and_then(|file| map(&file));
    mapped.map_err(|source| files::io(&path, source))
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
        if found.shape() != shape || !matches!(found.dtype(), Dtype::F32 | Dtype::BF16) {
            return Err(broken(format!("`{name}` does not fit the model")));
        }
        weights::convert(found.data(), found.dtype(), target).map_err(broken)
    }

    /// Both moments of the parameters of a block.
    pub(crate) fn moments(
        &self,
        tensors: &[FileTensor],
        (range, parameters): (&Range<usize>, &[Parameter]),
    ) -> Result<[Values; 2]> {
        let zeros = || parameters.iter().map(|one| vec![0.0; one.length()]).collect();
        let mut both: [Values; 2] = [zeros(), zeros()];
        for (moment, values) in MOMENTS.iter().zip(&mut both) {
            for tensor in tensors.iter().filter(|tensor| range.contains(&tensor.parameter)) {
                let target = &mut values[tensor.parameter - range.start][tensor.elements.clone()];
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
