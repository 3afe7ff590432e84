//! Kernels of our own for GPUs, in cubecl: one pass over memory where plain operations take several.
//!
//! Each computes in f32 whatever its tensors hold, and is written a second time in plain operations
//! (`ops::plain`, `ops::device_pages`), which the processor's tests hold to the references;
//! `thinkery gpu-check` holds the two to each other on a GPU. Tensors are contiguous unless said.

use cubecl::prelude::*;

/// Units of a cube that adds up a row.
pub(super) const ROW_UNITS: u32 = 256;

/// Units of a cube elsewhere.
pub(super) const UNITS: u32 = 256;

/// The sum of a number of each unit of the cube, for all of them.
#[cube]
fn cube_sum(value: f32) -> f32 {
    let mut parts = Shared::<[f32]>::new_slice(comptime!(ROW_UNITS as usize));
    let unit = UNIT_POS_X as usize;
    parts[unit] = value;
    sync_cube();
    let mut half = comptime!(ROW_UNITS as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = parts[unit + half];
            parts[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    parts[0]
}

/// One over the root of the mean square of a row.
#[cube]
fn inverse_root<F: Float>(x: &Tensor<F>, start: usize, columns: usize, epsilon: f32) -> f32 {
    let mut sum = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < columns {
        let value = f32::cast_from(x[start + at]);
        sum += value * value;
        at += CUBE_DIM_X as usize;
    }
    let mean = cube_sum(sum) / f32::cast_from(columns as u32);
    (mean + epsilon).inverse_sqrt()
}

/// A row `[columns]` per cube: divided by its root mean square, times the weight.
#[cube(launch)]
pub(super) fn norm<F: Float>(
    x: &Tensor<F>,
    weight: &Tensor<F>,
    out: &mut Tensor<F>,
    columns: usize,
    epsilon: f32,
    #[define(F)] _number: ElemType,
) {
    let start = CUBE_POS_X as usize * columns;
    let scale = inverse_root::<F>(x, start, columns, epsilon);
    let mut at = UNIT_POS_X as usize;
    while at < columns {
        let normed = f32::cast_from(x[start + at]) * scale;
        out[start + at] = F::cast_from(normed * f32::cast_from(weight[at]));
        at += CUBE_DIM_X as usize;
    }
}

/// The gradient of a normed row for its input, and what its weight's gradient has of it, in f32.
#[cube(launch)]
pub(super) fn norm_back<F: Float>(
    x: &Tensor<F>,
    weight: &Tensor<F>,
    gradient: &Tensor<F>,
    of_x: &mut Tensor<F>,
    of_weight: &mut Tensor<f32>,
    columns: usize,
    epsilon: f32,
    #[define(F)] _number: ElemType,
) {
    let start = CUBE_POS_X as usize * columns;
    let scale = inverse_root::<F>(x, start, columns, epsilon);
    let mut dot = 0.0f32;
    let mut at = UNIT_POS_X as usize;
    while at < columns {
        let slope = f32::cast_from(gradient[start + at]) * f32::cast_from(weight[at]);
        dot += slope * f32::cast_from(x[start + at]);
        at += CUBE_DIM_X as usize;
    }
    // Units still read the first sum's memory.
    sync_cube();
    let shared = cube_sum(dot) * scale * scale * scale / f32::cast_from(columns as u32);
    let mut at = UNIT_POS_X as usize;
    while at < columns {
        let (value, slope) = (f32::cast_from(x[start + at]), f32::cast_from(gradient[start + at]));
        let own = slope * f32::cast_from(weight[at]) * scale;
        of_x[start + at] = F::cast_from(own - value * shared);
        of_weight[start + at] = slope * value * scale;
        at += CUBE_DIM_X as usize;
    }
}

/// Adds a bias, if there is one, and turns the first `turned` heads by their row's angles; `sign` -1
/// turns back. Unit by unit a pair of numbers half a head apart.
#[cube(launch)]
pub(super) fn turn<F: Float>(
    qkv: &Tensor<F>,
    bias: &Tensor<F>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    out: &mut Tensor<F>,
    pairs: usize,
    turned: usize,
    sign: f32,
    #[comptime] half: usize,
    #[comptime] has_bias: bool,
    #[define(F)] _number: ElemType,
) {
    let unit = ABSOLUTE_POS;
    if unit < pairs {
        let columns = qkv.shape(1);
        let (row, pair) = (unit / (columns / 2), unit % (columns / 2));
        let (head, at) = (pair / half, pair % half);
        let column = head * 2 * half + at;
        let low = row * columns + column;
        let mut first = f32::cast_from(qkv[low]);
        let mut second = f32::cast_from(qkv[low + half]);
        if has_bias {
            first += f32::cast_from(bias[column]);
            second += f32::cast_from(bias[column + half]);
        }
        if head < turned {
            let (c, s) = (cos[row * half + at], sin[row * half + at] * sign);
            out[low] = F::cast_from(first * c - second * s);
            out[low + half] = F::cast_from(second * c + first * s);
        } else {
            out[low] = F::cast_from(first);
            out[low + half] = F::cast_from(second);
        }
    }
}

/// `silu(gate) * up` of rows `[gate | up]`.
#[cube(launch)]
pub(super) fn gated<F: Float>(
    gate_up: &Tensor<F>,
    out: &mut Tensor<F>,
    count: usize,
    columns: usize,
    #[define(F)] _number: ElemType,
) {
    let unit = ABSOLUTE_POS;
    if unit < count {
        let at = unit / columns * 2 * columns + unit % columns;
        let gate = f32::cast_from(gate_up[at]);
        let open = gate / (1.0f32 + (-gate).exp());
        out[unit] = F::cast_from(open * f32::cast_from(gate_up[at + columns]));
    }
}

/// Its gradient.
#[cube(launch)]
pub(super) fn gated_back<F: Float>(
    gate_up: &Tensor<F>,
    gradient: &Tensor<F>,
    out: &mut Tensor<F>,
    count: usize,
    columns: usize,
    #[define(F)] _number: ElemType,
) {
    let unit = ABSOLUTE_POS;
    if unit < count {
        let at = unit / columns * 2 * columns + unit % columns;
        let (gate, up) = (f32::cast_from(gate_up[at]), f32::cast_from(gate_up[at + columns]));
        let slope = f32::cast_from(gradient[unit]);
        let sigmoid = 1.0f32 / (1.0f32 + (-gate).exp());
        let steep = sigmoid * (1.0f32 + gate * (1.0f32 - sigmoid));
        out[at] = F::cast_from(slope * up * steep);
        out[at + columns] = F::cast_from(slope * gate * sigmoid);
    }
}

/// Writes keys and values of new rows `[queries | keys | values]` to their places in the pages
/// `[pages, heads, page, head size]` of both pools.
#[cube(launch)]
pub(super) fn write_pages<F: Float>(
    qkv: &Tensor<F>,
    places: &Tensor<u32>,
    keys: &mut Tensor<F>,
    values: &mut Tensor<F>,
    count: usize,
    from: usize,
    #[comptime] page: usize,
    #[comptime] heads: usize,
    #[comptime] size: usize,
    #[define(F)] _number: ElemType,
) {
    let unit = ABSOLUTE_POS;
    if unit < count {
        let width = heads * size;
        let (row, column) = (unit / width, unit % width);
        let place = places[row] as usize;
        let (head, at) = (column / size, column % size);
        let target = ((place / page * heads + head) * page + place % page) * size + at;
        let source = row * qkv.shape(1) + from + column;
        keys[target] = qkv[source];
        values[target] = qkv[source + width];
    }
}

/// Copies numbers into a tensor that keeps its place in memory.
#[cube(launch)]
pub(super) fn copy<F: Numeric>(
    source: &Tensor<F>,
    target: &mut Tensor<F>,
    count: usize,
    #[define(F)] _number: ElemType,
) {
    let unit = ABSOLUTE_POS;
    if unit < count {
        target[unit] = source[unit];
    }
}

/// One step of AdamW on f32 numbers, in place; the gradient may be f32 or bf16.
#[cube(launch)]
pub(super) fn adamw<F: Float>(
    weight: &mut Tensor<f32>,
    first: &mut Tensor<f32>,
    second: &mut Tensor<f32>,
    gradient: &Tensor<F>,
    count: usize,
    factors: &Tensor<f32>,
    #[define(F)] _number: ElemType,
) {
    let unit = ABSOLUTE_POS;
    if unit < count {
        let slope = f32::cast_from(gradient[unit]) * factors[0];
        let m = first[unit] * factors[1] + slope * (1.0f32 - factors[1]);
        let v = second[unit] * factors[2] + slope * slope * (1.0f32 - factors[2]);
        let root = v.sqrt() * factors[3] + factors[4];
        first[unit] = m;
        second[unit] = v;
        weight[unit] = weight[unit] * factors[5] - factors[6] * m / root;
    }
}
