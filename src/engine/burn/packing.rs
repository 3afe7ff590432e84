//! Sequences of different lengths side by side in one matrix, without padding.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::rotary::Rotary;
use crate::Piece;

/// Where each sequence stands in a packed batch.
#[derive(Clone)]
pub(crate) struct Packing {
    ids: Arc<[usize]>,
    ranges: Arc<[Range<usize>]>,
    rotary: Rotary,
    /// The ids where they are on the device already.
    prepared: Option<Tensor<1, Int>>,
}

impl Packing {
    /// Packs whole sequences, each from its first position on.
    pub(crate) fn new<'a>(
        sequences: impl IntoIterator<Item = &'a [u32]>,
        tables: &super::rotary::Tables,
        device: &Device,
    ) -> Self {
        let mut ids = Vec::new();
        let mut ranges = Vec::new();
        let mut positions = Vec::new();
        for sequence in sequences {
            let start = ids.len();
            ids.extend(sequence.iter().map(|id| *id as usize));
            positions.extend(0..sequence.len());
            ranges.push(start..ids.len());
        }
        let rotary = tables.at(&positions, device);
        Self { ids: ids.into(), ranges: ranges.into(), rotary, prepared: None }
    }

    /// Packs pieces of sequences, each from its own position on.
    pub(crate) fn pieces(
        pieces: &[Piece<'_>],
        tables: &super::rotary::Tables,
        device: &Device,
    ) -> Self {
        let mut ids = Vec::new();
        let mut ranges = Vec::with_capacity(pieces.len());
        let mut positions = Vec::new();
        for piece in pieces {
            let start = ids.len();
            ids.extend(piece.tokens.iter().map(|id| *id as usize));
            positions.extend(piece.start..piece.start + piece.tokens.len());
            ranges.push(start..ids.len());
        }
        let rotary = tables.at(&positions, device);
        Self { ids: ids.into(), ranges: ranges.into(), rotary, prepared: None }
    }

    /// Rows whose ids and angles are on the device, where a recorded step reads them.
    pub(crate) fn prepared(ids: Tensor<1, Int>, rotary: Rotary) -> Self {
        let ranges = (0..ids.dims()[0]).map(|row| row..row + 1).collect();
        Self { ids: Arc::new([]), ranges, rotary, prepared: Some(ids) }
    }

    /// The rows of each sequence.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// The rows of each sequence, to be kept.
    pub(crate) fn shared_ranges(&self) -> Arc<[Range<usize>]> {
        Arc::clone(&self.ranges)
    }

    /// The token ids, to be kept.
    pub(crate) fn shared_ids(&self) -> Arc<[usize]> {
        Arc::clone(&self.ids)
    }

    /// Cosines and sines for each row.
    pub(crate) fn rotary(&self) -> &Rotary {
        &self.rotary
    }

    /// The token ids as burn takes them.
    pub(crate) fn ids(&self, device: &Device) -> Tensor<1, Int> {
        if let Some(ids) = &self.prepared {
            return ids.clone();
        }
        let ids: Vec<i64> = self.ids.iter().map(|id| *id as i64).collect();
        Tensor::from_data(TensorData::new(ids, [self.ids.len()]), device)
    }

    /// The longest sequence.
    pub(crate) fn longest(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
    }

    /// For each place of a padded `[sequences, longest]` batch the packed row that fills it; places
    /// after a sequence's end repeat row 0 and are never looked at.
    pub(crate) fn padded_rows(&self, device: &Device) -> Tensor<1, Int> {
        let longest = self.longest();
        let mut rows = Vec::with_capacity(self.ranges.len() * longest);
        for range in self.ranges.iter() {
            let row_at = |place: usize| if place < range.len() { range.start + place } else { 0 };
            rows.extend((0..longest).map(|place| row_at(place) as i64));
        }
        let count = rows.len();
        Tensor::from_data(TensorData::new(rows, [count]), device)
    }

    /// For each packed row its place in the padded batch.
    pub(crate) fn places(&self, device: &Device) -> Tensor<1, Int> {
        let longest = self.longest();
        let places: Vec<i64> = (self.ranges.iter().enumerate())
            .flat_map(|(sequence, range)| {
                (0..range.len()).map(move |place| (sequence * longest + place) as i64)
            })
            .collect();
        let count = places.len();
        Tensor::from_data(TensorData::new(places, [count]), device)
    }
}
