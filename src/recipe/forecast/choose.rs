//! Which way of training fits, and which of those is the fastest.

use serde::Serialize;

use super::memory::Choice;
use super::shape::Shape;
use crate::train::{Keep, Offload, Shard, StateLayout};

/// Every layout, the most exact first: exact f32 AdamW, then rounded moments, then rounded weights.
const STATES: [StateLayout; 7] = [
    StateLayout::APlus,
    StateLayout::A,
    StateLayout::Dx,
    StateLayout::DPlus,
    StateLayout::APrime,
    StateLayout::D,
    StateLayout::B,
];

/// What copying layer inputs to the host and back costs where it is hidden behind computing: nothing
/// but a little bandwidth. Decides between ways that are as fast otherwise.
const OFFLOAD_COST: f64 = 1.02;

/// What fits into one GPU of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) gpus: u64,
    /// Bytes of one that a process can have.
    pub(super) usable: u64,
}

impl Room {
    fn holds(&self, shape: &Shape, choice: &Choice) -> bool {
        choice.device_bytes(shape, self.gpus).total <= self.usable
    }
}

/// One line of the table: a state layout, and what each way of keeping the forward pass takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// As `train.state` names it.
    pub state: &'static str,
    /// Bytes of one GPU, by way of keeping.
    pub ways: Vec<Way>,
}

/// One way of keeping the forward pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    /// `whole logits`, or as `train.keep` and `train.offload` name it.
    pub name: &'static str,
    /// Bytes of one GPU.
    pub bytes: u64,
    /// Whether it fits.
    pub fits: bool,
}

/// Ways of keeping in the order of the table.
const WAYS: [(&str, Keep, Offload); 4] = [
    ("inputs", Keep::Inputs, Offload::None),
    ("inputs on the host", Keep::Inputs, Offload::Activations),
    ("attention", Keep::Attention, Offload::None),
    ("all", Keep::All, Offload::None),
];

/// What each state layout takes with `asked`'s other settings. The first way is that of a trainer that
/// holds all logits of a micro-batch at once, in three copies, one of them f32: what chunks save.
pub(super) fn table(shape: &Shape, asked: Choice, room: Room) -> Vec<Row> {
    let way = |name, bytes| Way { name, bytes, fits: bytes <= room.usable };
    let row = |state| {
        let choice = Choice { state, ..asked };
        let inputs = Choice { keep: Keep::Inputs, offload: Offload::None, ..choice };
        let whole = inputs.device_bytes(shape, room.gpus);
        // Logits and their gradient in bf16, logits and probabilities in f32, and a copy shifted by
        // one: 14 bytes each. The layers' working set is free by then.
        let logits = 14 * asked.tokens * shape.vocabulary;
        let whole = whole.total - whole.logits - whole.working_set + logits.max(whole.working_set);
        let kept = WAYS.iter().map(|(name, keep, offload)| {
            let choice = Choice { keep: *keep, offload: *offload, ..choice };
            way(*name, choice.device_bytes(shape, room.gpus).total)
        });
        Row {
            state: state.name(),
            ways: std::iter::once(way("whole logits", whole)).chain(kept).collect(),
        }
    };
    STATES.into_iter().map(row).collect()
}

/// The fastest way that fits, with the layout that was asked for. None if none does.
pub(super) fn fastest(shape: &Shape, asked: Choice, room: Room) -> Option<Choice> {
    let ways =
        WAYS.iter().map(|(_, keep, offload)| Choice { keep: *keep, offload: *offload, ..asked });
    let cost = |choice: &Choice| match choice.offload {
        Offload::None => choice.repeated(shape),
        Offload::Optimizer | Offload::Activations => choice.repeated(shape) * OFFLOAD_COST,
    };
    ways.filter(|choice| room.holds(shape, choice)).min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

/// The cheapest change to a choice that does not fit and then does: settings with their new values.
/// Computing again costs time, offloading bandwidth, a smaller layout exactness, a shorter cutoff
/// examples: they are tried in this order.
pub(super) fn cheapest_change(
    shape: &Shape,
    asked: Choice,
    room: Room,
) -> Option<Vec<(&'static str, String)>> {
    let sharded = Choice { shard: Shard::Parameters, ..asked };
    let again = Choice { keep: Keep::Inputs, ..sharded };
    let aside = Choice { offload: Offload::Activations, ..again };
    let smaller = |from: Choice| {
        let at = STATES.iter().position(|state| *state == from.state).unwrap_or(0);
        STATES[at + 1..].iter().map(move |state| Choice { state: *state, ..from })
    };
    let kept = Choice { keep: Keep::Attention, ..sharded };
    let tries =
        [sharded, kept, again, aside].into_iter().chain(smaller(again)).chain(smaller(aside));
    let halves = (1..6).map(|times| Choice { tokens: asked.tokens >> times, ..aside });
    let found = tries.chain(halves).find(|choice| room.holds(shape, choice))?;
    Some(changes(&asked, &found))
}

/// What is different in `new`, as settings of `[train]`.
pub(super) fn changes(old: &Choice, new: &Choice) -> Vec<(&'static str, String)> {
    let all = [
        ("shard", old.shard.name().to_owned(), new.shard.name().to_owned()),
        ("keep", old.keep.name().to_owned(), new.keep.name().to_owned()),
        ("offload", old.offload.name().to_owned(), new.offload.name().to_owned()),
        ("state", old.state.name().to_owned(), new.state.name().to_owned()),
        ("cutoff_len", old.tokens.to_string(), new.tokens.to_string()),
    ];
    all.into_iter().filter(|(_, old, new)| old != new).map(|(name, _, new)| (name, new)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::forecast::memory::LOGITS_CHUNK;
    use crate::recipe::forecast::shape::of_model;

    const ROOM: Room = Room { gpus: 8, usable: 76 << 30 };

    fn choice(state: StateLayout, keep: Keep) -> Choice {
        Choice {
            state,
            keep,
            shard: Shard::Parameters,
            offload: Offload::None,
            half: true,
            tokens: 16_384,
            chunk: LOGITS_CHUNK,
            adapters: 0,
        }
    }

    #[track_caller]
    fn check(model: &str, asked: Choice, room: Room, expected: &[(&str, &str)]) {
        let shape = of_model(model).unwrap();
        let found = cheapest_change(&shape, asked, room).unwrap();
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_cheapest_change_is_the_first_that_helps() {
        let all = choice(StateLayout::DPlus, Keep::All);
        check("qwen2.5-32b", all, ROOM, &[("keep", "inputs")]);
        check("qwen2.5-14b", all, ROOM, &[("keep", "attention")]);
        let a = choice(StateLayout::A, Keep::Inputs);
        check("qwen2.5-32b", a, ROOM, &[("offload", "activations")]);
        let exact = choice(StateLayout::APlus, Keep::Inputs);
        check("qwen2.5-32b", exact, ROOM, &[("state", "D+")]);
        let whole = Choice { shard: Shard::None, ..a };
        check("qwen2.5-7b", whole, ROOM, &[("shard", "parameters")]);
        let two = Room { gpus: 4, usable: 76 << 30 };
        let short = choice(StateLayout::B, Keep::Inputs);
        check("qwen2.5-32b", short, two, &[("offload", "activations")]);
    }

    #[test]
    fn nothing_helps_a_model_whose_weights_do_not_fit() {
        let shape = of_model("qwen2.5-32b").unwrap();
        let one = Room { gpus: 1, usable: 76 << 30 };
        assert_eq!(cheapest_change(&shape, choice(StateLayout::B, Keep::Inputs), one), None);
        assert_eq!(fastest(&shape, choice(StateLayout::B, Keep::Inputs), one), None);
    }

    #[test]
    fn the_fastest_way_computes_as_little_again_as_there_is_room_for() {
        let rows = [
            ("qwen2.5-7b", StateLayout::A, Keep::All),
            ("qwen2.5-14b", StateLayout::A, Keep::Attention),
            ("qwen2.5-32b", StateLayout::DPlus, Keep::Inputs),
        ];
        for (model, state, keep) in rows {
            let shape = of_model(model).unwrap();
            let found = fastest(&shape, choice(state, Keep::Inputs), ROOM).unwrap();
            assert_eq!((found.keep, found.offload), (keep, Offload::None), "{model}");
        }
        let shape = of_model("qwen2.5-32b").unwrap();
        let exact = fastest(&shape, choice(StateLayout::Dx, Keep::Inputs), ROOM).unwrap();
        assert_eq!(exact.offload, Offload::Activations);
    }

    #[test]
    fn logits_that_are_not_cut_into_chunks_take_what_was_computed() {
        let shape = of_model("qwen2.5-32b").unwrap();
        let rows = table(&shape, choice(StateLayout::A, Keep::Inputs), ROOM);
        let expected = [
            ("A+", 120.7),
            ("A", 113.0),
            ("DX", 105.4),
            ("D+", 97.8),
            ("A'", 97.8),
            ("D", 90.3),
            ("B", 82.5),
        ];
        for (row, (state, gib)) in rows.iter().zip(expected) {
            assert_eq!(row.state, state);
            let found = row.ways[0].bytes as f64 / f64::from(1 << 30);
            assert!((found - gib).abs() < 0.3, "{state}: {found}, computed {gib}");
        }
    }
}
