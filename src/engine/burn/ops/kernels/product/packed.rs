//! Weights as the kernels read them.
//!
//! A panel of [`PANEL`] outputs holds, for every two inputs, four groups of sixteen outputs: in f16
//! and bf16 a word per output with both inputs, in f32 sixteen of the first input and sixteen of the
//! second. In int8 a panel holds blocks of [`BLOCK`] inputs: the scales of the block (bf16, one per
//! output), then for every four inputs four groups of sixteen outputs, a word with four bytes each.
//! The bytes are `round(weight / scale) + 128`, which are unsigned, as the instructions want one side
//! to be; the kernels take off `128 * sum(x)`.

use std::ops::Range;

use rayon::prelude::*;

use super::PANEL;
use super::simd::{BLOCK, LANES};
use super::tile::{BLOCK_BYTES, SCALE_BYTES};

/// What weights are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
    /// As [`Self::Bf16`]; the activations are rounded to bf16 too where the processor multiplies
    /// those (twice as many at a time), as other software does when a model runs in bf16.
    Bf16Rounded,
    /// Bytes with a scale for each 32 of an output; activations are rounded likewise.
    Int8,
}

impl Kind {
    /// Bytes of a number in a file.
    fn element_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 | Self::Bf16Rounded => 2,
            Self::Int8 => 1,
        }
    }

    /// Bytes of a panel with so many inputs.
    fn panel_bytes(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs.div_ceil(2) * 8 * PANEL,
            Self::F16 | Self::Bf16 | Self::Bf16Rounded => inputs.div_ceil(2) * 4 * PANEL,
            Self::Int8 => inputs.div_ceil(BLOCK) * BLOCK_BYTES,
        }
    }
}

/// Some rows of a weight `[outputs, inputs]` as a file holds them: little-endian, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Segment<'a> {
    /// The rows of the weight that it fills.
    pub(crate) rows: Range<usize>,
    /// Their numbers, as many in a row as `width` says.
    pub(crate) bytes: &'a [u8],
    /// Numbers of a row in the file.
    pub(crate) width: usize,
    /// The first of a row's that is wanted; there are `inputs` of them.
    pub(crate) first: usize,
    /// What they are: not int8.
    pub(crate) kind: Kind,
}

impl<'a> Segment<'a> {
    /// The numbers of a row of the weight.
    fn row(&self, row: usize, inputs: usize) -> &'a [u8] {
        let bytes = self.kind.element_bytes();
        let start = ((row - self.rows.start) * self.width + self.first) * bytes;
        &self.bytes[start..start + inputs * bytes]
    }
}

/// A cache line: kernels read whole ones.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[expect(unsafe_code, reason = "to be looked at as bytes")]
// SAFETY: all zeros are a line.
unsafe impl bytemuck::Zeroable for Line {}

#[expect(unsafe_code, reason = "to be looked at as bytes")]
// SAFETY: 64 bytes of any content, without padding.
unsafe impl bytemuck::Pod for Line {}

/// A weight, packed.
pub(crate) struct Packed {
    kind: Kind,
    outputs: usize,
    inputs: usize,
    gated: bool,
    /// Where the parts begin and end in which inputs are added up.
    bounds: Vec<usize>,
    panel_lines: usize,
    lines: Vec<Line>,
}

impl Packed {
    /// Packs a weight of `[outputs, inputs]`, of which the segments are all rows in order.
    pub(crate) fn new(kind: Kind, shape: [usize; 2], segments: &[Segment<'_>]) -> Self {
        Self::pack(kind, shape, segments, false)
    }

    /// Packs `[gate | up]`, the first half of the rows and the second, panel beside panel.
    pub(crate) fn gated(kind: Kind, shape: [usize; 2], segments: &[Segment<'_>]) -> Self {
        Self::pack(kind, shape, segments, true)
    }

    /// Bytes that a weight of `[outputs, inputs]` takes.
    pub(crate) fn bytes_needed(kind: Kind, [outputs, inputs]: [usize; 2]) -> usize {
        outputs.div_ceil(PANEL) * kind.panel_bytes(inputs)
    }

    fn pack(kind: Kind, shape: [usize; 2], segments: &[Segment<'_>], gated: bool) -> Self {
        let [outputs, inputs] = shape;
        assert!(inputs > 0 && outputs > 0, "a weight has numbers");
        check(shape, segments);
        let panels = match gated {
            true => 2 * (outputs / 2).div_ceil(PANEL),
            false => outputs.div_ceil(PANEL),
        };
        let panel_lines = kind.panel_bytes(inputs) / size_of::<Line>();
        let lines = vec![Line([0; 64]); panels * panel_lines];
        let bounds = vec![0, inputs];
        let mut packed = Self { kind, outputs, inputs, gated, bounds, panel_lines, lines };
        let mut lines = std::mem::take(&mut packed.lines);
        lines.par_chunks_mut(panel_lines).enumerate().for_each(|(panel, lines)| {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(lines);
            for (lane, row) in
                (0..PANEL).filter_map(|lane| Some((lane, packed.row_at(panel, lane)?)))
            {
                let at = segments.partition_point(|segment| segment.rows.end <= row);
                let segment = &segments[at];
                write_lane(kind, bytes, lane, segment.kind, segment.row(row, inputs));
            }
        });
        packed.lines = lines;
        packed
    }

    /// Adds up the inputs in these parts, of which there are 1, 2, 4 or 8, and the parts two and two.
    /// In one where a part would not begin with a whole pair, or a block of int8.
    pub(crate) fn summed_in(self, bounds: Vec<usize>) -> Self {
        assert_eq!(bounds.last(), Some(&self.inputs), "parts hold all inputs");
        assert!((bounds.len() - 1).is_power_of_two(), "parts are added up two and two");
        let unit = if self.kind == Kind::Int8 { BLOCK } else { 2 };
        let inner = &bounds[1..bounds.len() - 1];
        match inner.iter().all(|bound| bound.is_multiple_of(unit)) {
            true => Self { bounds, ..self },
            false => self,
        }
    }

    /// In how many parts its inputs are added up.
    pub(super) fn parts(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The inputs of a part.
    pub(super) fn part(&self, part: usize) -> Range<usize> {
        self.bounds[part]..self.bounds[part + 1]
    }

    /// What comes of a panel with the inputs from `first` on.
    pub(super) fn panel_from(&self, panel: usize, first: usize) -> &[u8] {
        &self.panel(panel)[self.kind.panel_bytes(first)..]
    }

    /// The row of the weight that is this lane of this panel; the last panels have fewer rows.
    fn row_at(&self, panel: usize, lane: usize) -> Option<usize> {
        let half = self.outputs / 2;
        match self.gated {
            true => Some(panel / 2 * PANEL + lane)
                .filter(|row| *row < half)
                .map(|row| row + panel % 2 * half),
            false => Some(panel * PANEL + lane).filter(|row| *row < self.outputs),
        }
    }

    /// What its numbers are kept as.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Rows of the weight.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the weight.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Writes a row of the weight, as an embedding wants it.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        assert!(
            row < self.outputs && !self.gated && out.len() == self.inputs,
            "a row of the weight"
        );
        let (panel, lane) = (self.panel(row / PANEL), row % PANEL);
        let bits = |at: usize| u32::from(u16::from_le_bytes([panel[at], panel[at + 1]]));
        let value = |index: usize| match self.kind {
            Kind::F32 => {
                let at = place_f32(lane, index);
                f32::from_le_bytes([panel[at], panel[at + 1], panel[at + 2], panel[at + 3]])
            }
            Kind::F16 => half::f16::from_bits(bits(place_half(lane, index)) as u16).to_f32(),
            Kind::Bf16 | Kind::Bf16Rounded => f32::from_bits(bits(place_half(lane, index)) << 16),
            Kind::Int8 => {
                let scale = f32::from_bits(bits(index / BLOCK * BLOCK_BYTES + 2 * lane) << 16);
                scale * (f32::from(panel[place_byte(lane, index)]) - 128.0)
            }
        };
        out.iter_mut().enumerate().for_each(|(index, out)| *out = value(index));
    }

    /// Whether it holds gates and what they open.
    pub(crate) fn is_gated(&self) -> bool {
        self.gated
    }

    pub(super) fn panels(&self) -> usize {
        self.lines.len() / self.panel_lines
    }

    pub(super) fn panel(&self, panel: usize) -> &[u8] {
        bytemuck::cast_slice(&self.lines[panel * self.panel_lines..(panel + 1) * self.panel_lines])
    }
}

fn check([outputs, inputs]: [usize; 2], segments: &[Segment<'_>]) {
    let mut next = 0;
    for segment in segments {
        assert_eq!(segment.rows.start, next, "segments follow each other");
        let bytes = segment.rows.len() * segment.width * segment.kind.element_bytes();
        assert_eq!(segment.bytes.len(), bytes, "a segment holds its rows");
        assert!(segment.first + inputs <= segment.width, "its rows hold what is wanted of them");
        next = segment.rows.end;
    }
    assert_eq!(next, outputs, "segments hold all rows");
}

fn place_f32(lane: usize, index: usize) -> usize {
    index / 2 * 8 * PANEL + lane / LANES * 128 + index % 2 * 64 + lane % LANES * 4
}

fn place_half(lane: usize, index: usize) -> usize {
    index / 2 * 4 * PANEL + lane * 4 + index % 2 * 2
}

fn place_byte(lane: usize, index: usize) -> usize {
    let (block, index) = (index / BLOCK, index % BLOCK);
    block * BLOCK_BYTES + SCALE_BYTES + index / 4 * 4 * PANEL + lane * 4 + index % 4
}

/// Writes one output's numbers, as a file holds them, to its lane of a panel.
fn write_lane(kind: Kind, panel: &mut [u8], lane: usize, from: Kind, row: &[u8]) {
    let bf16 = |kind| matches!(kind, Kind::Bf16 | Kind::Bf16Rounded);
    if kind.element_bytes() == 2 && (kind == from || bf16(kind) && bf16(from)) {
        for (index, bytes) in row.chunks_exact(2).enumerate() {
            let at = place_half(lane, index);
            panel[at..at + 2].copy_from_slice(bytes);
        }
        return;
    }
    let values = floats(from, row);
    let values = values.iter().enumerate();
    match kind {
        Kind::F32 => values.for_each(|(index, value)| {
            let at = place_f32(lane, index);
            panel[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }),
        Kind::F16 => values.for_each(|(index, value)| {
            let at = place_half(lane, index);
            panel[at..at + 2].copy_from_slice(&half::f16::from_f32(*value).to_le_bytes());
        }),
        Kind::Bf16 | Kind::Bf16Rounded => values.for_each(|(index, value)| {
            let at = place_half(lane, index);
            panel[at..at + 2].copy_from_slice(&half::bf16::from_f32(*value).to_le_bytes());
        }),
        Kind::Int8 => floats(from, row).chunks(BLOCK).enumerate().for_each(|(block, values)| {
            write_block(&mut panel[block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES], lane, values);
        }),
    }
}

/// Rounds a block of one output to bytes. The scale is rounded up to a bf16 first, so that it adds no
/// error of its own.
fn write_block(block: &mut [u8], lane: usize, values: &[f32]) {
    let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let finite = values.iter().all(|value| value.is_finite());
    let bits =
        if finite { (most / 127.0).to_bits().saturating_add(0xffff) } else { f32::NAN.to_bits() };
    let scale = f32::from_bits(bits & !0xffff);
    block[2 * lane..2 * lane + 2].copy_from_slice(&((bits >> 16) as u16).to_le_bytes());
    for (index, value) in values.iter().enumerate() {
        let rounded = if scale > 0.0 { (value / scale).round_ties_even() as i32 } else { 0 };
        block[place_byte(lane, index)] = (rounded + 128) as u8;
    }
}

fn floats(kind: Kind, row: &[u8]) -> Vec<f32> {
    let halves = || row.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
    match kind {
        Kind::F32 => {
            row.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Kind::F16 => halves().map(|bytes| half::f16::from_le_bytes(bytes).to_f32()).collect(),
        Kind::Bf16 | Kind::Bf16Rounded => {
            halves().map(|bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect()
        }
        Kind::Int8 => unreachable!("files hold numbers, not blocks"),
    }
}
