//! Decode steps on a device: of few sizes, each recorded once and replayed.
//!
//! A step launches some three hundred kernels; a replay is one launch. Recorded kernels read and write
//! where they did when they were recorded, so ids, angles, places, page tables and lengths of a size
//! are refilled in their place. Steps are filled up to the next size with rows that see only the spare
//! page. Where nothing can be recorded, the same step runs kernel by kernel, and a line says why.

use burn::backend::{Backend, BackendGraph, Dispatch};
use burn::tensor::{Int, Tensor, TensorData};

use crate::burn::device::Place;
use crate::burn::ops::device_pages::{DevicePlaces, Places, refill, refill_int, table_width};
use crate::burn::ops::{Kernels, Span};
use crate::burn::packing::Packing;
use crate::burn::rotary::{Rotary, Tables};
use crate::{BLOCK_TOKENS, Piece};

/// Sequences of a step, as recorded.
const ROWS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Pages of the narrowest tables, 1024 tokens; others are four times as wide each.
const WIDTH_MIN: usize = 64;

/// Runs before a recording: cubecl measures kernels, and fusion settles, in the first ones.
const RUNS_BEFORE: usize = 3;

/// Rows, and pages of each.
pub(super) type Size = (usize, usize);

/// The sizes of steps for a context of so many tokens, smallest first.
pub(super) fn sizes(context: usize) -> Vec<Size> {
    let widest = table_width(context.div_ceil(BLOCK_TOKENS));
    let mut widths = Vec::new();
    let mut width = WIDTH_MIN.min(widest);
    while width < widest {
        widths.push(width);
        width *= 4;
    }
    widths.push(widest);
    widths.iter().flat_map(|width| ROWS.map(|rows| (rows, *width))).collect()
}

/// The smallest size for so many rows that see so many tokens at most.
pub(super) fn fitting(sizes: &[Size], rows: usize, tokens: usize) -> Option<Size> {
    let pages = tokens.div_ceil(BLOCK_TOKENS);
    sizes.iter().copied().find(|(most, width)| rows <= *most && pages <= *width)
}

/// What a step of a size reads, and its recording.
pub(super) struct Bucket {
    pub(super) size: Size,
    ids: Tensor<1, Int>,
    rotary: Rotary,
    pub(super) places: DevicePlaces,
    recording: Option<Recording>,
}

/// A recorded step and where it leaves its logits.
struct Recording {
    graph: BackendGraph<Dispatch>,
    logits: Tensor<2>,
}

impl Bucket {
    /// A size without sequences.
    pub(super) fn new(size: Size, tables: &Tables, place: &Place, spare: u32) -> Self {
        let places = Places::decode(&[], size, spare);
        let zeros = TensorData::new(vec![0_i64; size.0], [size.0]);
        Self {
            size,
            ids: Tensor::from_data(zeros, &place.device),
            rotary: tables.at(&vec![0; size.0], &place.device),
            places: DevicePlaces::new(&places, place.kernels, &place.device),
            recording: None,
        }
    }

    /// What it computes with.
    pub(super) fn packing(&self) -> Packing {
        Packing::prepared(self.ids.clone(), self.rotary.clone())
    }

    /// Takes in pieces of one token each.
    pub(super) fn refill(
        &mut self,
        pieces: &[Piece<'_>],
        tables: &Tables,
        place: &Place,
        spare: u32,
    ) {
        let (rows, kernels, device) = (self.size.0, place.kernels, &place.device);
        let span = |(row, piece): (usize, &Piece<'_>)| Span {
            row,
            rows: 1,
            start: piece.start,
            blocks: piece.blocks.to_vec(),
        };
        let spans: Vec<Span> = pieces.iter().enumerate().map(span).collect();
        let mut ids: Vec<i64> = pieces.iter().map(|piece| i64::from(piece.tokens[0])).collect();
        let mut positions: Vec<usize> = pieces.iter().map(|piece| piece.start).collect();
        ids.resize(rows, 0);
        positions.resize(rows, 0);
        let ids = Tensor::from_data(TensorData::new(ids, [rows]), device);
        refill_int(kernels, &mut self.ids, ids);
        let rotary = tables.at(&positions, device);
        refill(kernels, &mut self.rotary.cos, rotary.cos);
        refill(kernels, &mut self.rotary.sin, rotary.sin);
        self.places.refill(&Places::decode(&spans, self.size, spare), kernels, device);
    }

    /// Logits of the step that was recorded, if one was.
    pub(super) fn replayed(&self, place: &Place) -> Option<Tensor<2>> {
        let Recording { graph, logits } = self.recording.as_ref()?;
        let device = place.device.as_dispatch();
        #[expect(unsafe_code, reason = "a recording reads and writes where it did")]
        // SAFETY: inputs and output are this bucket's, weights and pages the generator's that owns it;
        // all steps are on the generator's one stream, and none is run beside another.
        let replayed = unsafe { Dispatch::graph_replay(device, graph) };
        replayed.expect("a step that was recorded can be replayed");
        Some(logits.clone())
    }

    /// Records a step; gives why it could not be.
    pub(super) fn record(
        &mut self,
        place: &Place,
        mut step: impl FnMut(&Self) -> Tensor<2>,
    ) -> Result<(), String> {
        if !matches!(place.kernels, Kernels::Cuda(_)) {
            return Err("only GPUs record steps".to_owned());
        }
        let device = place.device.as_dispatch();
        let said = |error: burn::backend::ExecutionError| error.to_string();
        Dispatch::graph_prepare(device).map_err(said)?;
        for _ in 0..RUNS_BEFORE {
            // Held until it ran: what is dropped before is never computed.
            let logits = step(self);
            Dispatch::sync(device).map_err(said)?;
            drop(logits);
        }
        Dispatch::graph_start_capture(device).map_err(said)?;
        let logits = step(self);
        let graph = Dispatch::graph_stop_capture(device).map_err(said)?;
        self.recording = Some(Recording { graph, logits });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_up_to_the_largest_has_a_size() {
        let sizes = sizes(32_768);
        assert_eq!(sizes.len(), 4 * ROWS.len());
        for (rows, tokens, expected) in [
            (1, 1, Some((1, 64))),
            (1, 1024, Some((1, 64))),
            (3, 1025, Some((4, 256))),
            (64, 16_385, Some((64, 2048))),
            (5, 32_768, Some((8, 2048))),
            (65, 10, None),
            (1, 32_769, None),
        ] {
            assert_eq!(fitting(&sizes, rows, tokens), expected, "{rows} rows of {tokens}");
        }
    }

    #[test]
    fn short_contexts_have_one_width() {
        assert_eq!(sizes(100), ROWS.map(|rows| (rows, 8)));
    }
}
