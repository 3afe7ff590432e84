//! The models that can be asked: offered by name, loaded when first asked.
//!
//! Over a data folder the finished runs are offered by themselves, looked up at every request, so
//! that a model can be talked to the moment its training ends.

mod loaded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

pub use self::loaded::{Copied, Loaded};

use self::loaded::OnItsWay;
use super::Error;
use super::answers::Asking;
use super::gate::Gate;
use super::meters::{Meters, Rejections};
use crate::chat::Model;
use crate::chat::local::{LocalModel, Place};
use crate::engine::Device;
use crate::engine::worker::{Health, Load, Meter, QUEUE_MAX};
use crate::hint;
use crate::store::Store;

/// Models held in memory at a time; the one that was not asked for longest goes first.
const LOADED_MAX: usize = 2;

/// Requests in flight at a time, over all models, unless it is told otherwise: as many as an engine
/// lets wait.
pub const REQUESTS_MAX: usize = QUEUE_MAX;

/// How long an engine may go without a step while there is work. The longest step that we know of,
/// 512 tokens of a prompt through 32B on a processor of two cores, takes 20 s.
const STEP_TIME: Duration = Duration::from_secs(30);

/// A model that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What to call it.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// When it was made, in Unix seconds.
    pub created: i64,
}

/// What `/v1/models` says of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// What to call it.
    pub name: String,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// Whether it answers where no model is named.
    pub served: bool,
    /// Tokens of conversation and answer at most, if it is loaded.
    pub context: Option<usize>,
}

/// The models that can be asked.
pub struct Models {
    place: Place,
    /// Where finished runs are looked up.
    store: Option<Store>,
    entries: Mutex<Entries>,
    /// Held while a model is loaded, so that it is loaded once.
    loading: Mutex<()>,
    requests: Arc<Semaphore>,
    gate: Arc<Gate>,
    step_time: Duration,
    rejections: Rejections,
}

/// How much a server takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight at a time.
    pub requests: usize,
    /// How long an engine may go without a step while there is work, before it counts as stuck.
    pub step_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: REQUESTS_MAX, step_time: STEP_TIME }
    }
}

#[derive(Default)]
struct Entries {
    /// In the order of preference: the first answers where none is named.
    offers: Vec<Offer>,
    /// The one asked last is last.
    loaded: Vec<(Offer, Arc<LocalModel>)>,
    /// The one that is being loaded.
    coming: Option<String>,
    /// Counters of those that were unloaded and may still be writing answers.
    leaving: Vec<(Engine, Meter)>,
    /// What those did that are gone: counters never fall.
    past: BTreeMap<Engine, Load>,
    /// What was measured of requests, by model.
    meters: BTreeMap<String, Arc<Meters>>,
}

/// An engine: the name of its model, and which of the model's it is.
pub type Engine = (String, usize);

impl Entries {
    /// Unloads those that `unwanted` names. Answers that are being written keep their model until
    /// they end.
    fn unload(&mut self, unwanted: impl Fn(usize, &Offer) -> bool) {
        let loaded = std::mem::take(&mut self.loaded);
        for (at, (offer, model)) in loaded.into_iter().enumerate() {
            if unwanted(at, &offer) {
                self.leaving.extend(engines(&offer, &model));
            } else {
                self.loaded.push((offer, model));
            }
        }
    }

    /// What each engine has done.
    fn loads(&mut self) -> BTreeMap<Engine, Load> {
        let (gone, leaving) =
            std::mem::take(&mut self.leaving).into_iter().partition(|(_, meter)| meter.is_final());
        self.leaving = leaving;
        let gone: Vec<(Engine, Meter)> = gone;
        for (engine, meter) in gone {
            *self.past.entry(engine).or_default() += meter.load();
        }
        let mut loads = self.past.clone();
        let here = self.loaded.iter().flat_map(|(offer, model)| engines(offer, model));
        for (engine, meter) in self.leaving.iter().cloned().chain(here) {
            *loads.entry(engine).or_default() += meter.load();
        }
        loads
    }
}

/// A model's engines with their counters.
fn engines(offer: &Offer, model: &LocalModel) -> Vec<(Engine, Meter)> {
    let meters = model.meters().into_iter().enumerate();
    meters.map(|(number, meter)| ((offer.name.clone(), number), meter)).collect()
}

impl Models {
    /// None yet. They will be loaded at `place`.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            store: None,
            entries: Mutex::default(),
            loading: Mutex::default(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            gate: Gate::opened(),
            step_time: Limits::default().step_time,
            rejections: Rejections::default(),
        }
    }

    /// None yet, behind a closed gate.
    pub fn loading(place: Place, limits: Limits) -> Self {
        let requests = Arc::new(Semaphore::new(limits.requests));
        Self { gate: Gate::loading(), requests, step_time: limits.step_time, ..Self::new(place) }
    }

    /// The finished runs of `store`, now and later.
    pub fn of_store(store: Store, device: Device) -> Self {
        Self { store: Some(store), ..Self::new(Place::on(device)) }
    }

    /// Offers a model, before all others. One of the same name is replaced.
    pub fn offer(&self, offer: Offer) {
        let mut entries = self.entries();
        entries.offers.retain(|other| other.name != offer.name);
        entries.offers.insert(0, offer);
    }

    /// Offers a model that is loaded already.
    pub fn add_loaded(&self, offer: Offer, model: LocalModel) {
        self.entries().loaded.push((offer.clone(), Arc::new(model)));
        self.offer(offer);
    }

    /// Every model that is offered, the one that answers by default first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn cards(&self) -> Result<Vec<Card>, Error> {
        let offers = self.offers()?;
        let entries = self.entries();
        let card = |(index, offer): (usize, Offer)| {
            let loaded = entries.loaded.iter().find(|(other, _)| *other == offer);
            Card {
                context: loaded.map(|(_, model)| model.context()),
                name: offer.name,
                created: offer.created,
                served: index == 0,
            }
        };
        Ok(offers.into_iter().enumerate().map(card).collect())
    }

    /// The model called `name`, or the one that answers by default; loads it if need be. Blocks.
    ///
    /// # Errors
    /// If there is none, or it cannot be loaded.
    pub fn get(&self, name: Option<&str>) -> Result<Arc<LocalModel>, Error> {
        let offers = self.offers()?;
        let offer = match name {
            Some(name) => offers.into_iter().find(|offer| offer.name == name),
            None => offers.into_iter().next(),
        };
        let offer = offer.ok_or_else(|| match name {
            Some(name) => Error::NoModel(name.to_owned()),
            None => Error::NoModels,
        })?;
        if let Some(model) = self.loaded(&offer) {
            return Ok(model);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = self.loaded(&offer) {
            return Ok(model);
        }
        // Outlives the lock below: it is taken again when this is dropped.
        let _coming = OnItsWay::new(self, &offer.name);
        let model = LocalModel::open(&offer.name, &offer.dir, self.place);
        let model = Arc::new(model.map_err(|error| not_loadable(&offer, &error))?);
        info!(model.name = %offer.name, "loaded the model `{}`", offer.name);
        let mut entries = self.entries();
        entries.unload(|_, other| other.name == offer.name);
        let surplus = (entries.loaded.len() + 1).saturating_sub(LOADED_MAX);
        entries.unload(|at, _| at < surplus);
        entries.loaded.push((offer, Arc::clone(&model)));
        Ok(model)
    }

    /// The door that requests come through.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// How long an engine may go without a step while there is work.
    pub(super) fn step_time(&self) -> Duration {
        self.step_time
    }

    /// Who answers a request for the model called `name` that came at `begun`. Blocks.
    ///
    /// # Errors
    /// As [`Models::get`].
    pub(super) fn ask(&self, name: Option<&str>, begun: Instant) -> Result<Asking, Error> {
        let model = self.get(name)?;
        let meters = Arc::clone(self.entries().meters.entry(model.name().to_owned()).or_default());
        Ok(Asking { model, meters, begun })
    }

    /// Whether there is a place for one more request.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        if self.requests.available_permits() == 0 { Err(Error::Busy) } else { Ok(()) }
    }

    /// A place for one more request.
    pub(super) fn admit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Error::Busy)
    }

    /// Counts a request that is turned away.
    pub(super) fn refuse(&self, error: Error) -> Error {
        self.rejections.count(error.status().as_u16());
        error
    }

    /// How many requests were turned away, by reason.
    pub(super) fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// How busy all models are together.
    pub fn load(&self) -> Load {
        let mut sum = Load::default();
        self.loads().into_values().for_each(|load| sum += load);
        sum
    }

    /// How busy each engine is that was ever loaded, and what it has done.
    pub fn loads(&self) -> BTreeMap<Engine, Load> {
        self.entries().loads()
    }

    /// What was measured of the requests to each model.
    pub(super) fn meters(&self) -> BTreeMap<String, Arc<Meters>> {
        self.entries().meters.clone()
    }

    /// Whether each loaded engine does its work.
    pub fn health(&self) -> BTreeMap<Engine, Health> {
        let entries = self.entries();
        let here = entries.loaded.iter().flat_map(|(offer, model)| engines(offer, model));
        here.map(|(engine, meter)| (engine, meter.health())).collect()
    }

    fn loaded(&self, offer: &Offer) -> Option<Arc<LocalModel>> {
        let mut entries = self.entries();
        let at = entries.loaded.iter().position(|(other, _)| other == offer)?;
        let entry = entries.loaded.remove(at);
        let model = Arc::clone(&entry.1);
        entries.loaded.push(entry);
        Some(model)
    }

    /// What is offered: what somebody offered, then the models of the store in its order.
    fn offers(&self) -> Result<Vec<Offer>, Error> {
        let mut offers = self.entries().offers.clone();
        let Some(store) = &self.store else { return Ok(offers) };
        for model in store.models().map_err(|error| Error::Internal(error.into()))? {
            if !offers.iter().any(|offer| offer.name == model.name) {
                let created = model.created_at.parse().map_or(0, jiff::Timestamp::as_second);
                let dir = store.absolute(&model.path);
                offers.push(Offer { name: model.name, dir, created });
            }
        }
        Ok(offers)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Entries are replaced whole: a panic elsewhere leaves nothing half-written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_loadable(offer: &Offer, error: &anyhow::Error) -> Error {
    let hint = hint::of(error).map(|hint| format!(" ({hint})")).unwrap_or_default();
    tracing::error!("could not load the model `{}`: {error:#}", offer.name);
    Error::BadModel { name: offer.name.clone(), why: format!("{error:#}{hint}") }
}
