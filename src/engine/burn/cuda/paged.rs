//! Attention over a paged cache by cubek's kernels, which burn does not offer.
//!
//! Queries are read where they lie among queries, keys and values; lengths and page tables are on the
//! device, so that a recorded step serves any later one. cubek measures its kernels at the capacity of
//! the table once per shape, which warming up does before the first request.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::Shape;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::TensorBinding;
use cubek::attention::kernels::select::selector::QueryPositions;
use cubek::attention::kernels::tune::{AttentionTuneInputs, launch_tuned};
use cubek::attention::kernels::{AttentionScoring, AttentionVisibility, QueryPlacement};
use cubek::matmul::kernels::tensor::PlainTensor;
use cubek::std::autotune::GroupPriority;

use crate::burn::decoder::Heads;

/// Attention of the last rows of sequences over their pages `[pages, heads, page, head size]`: rows of
/// `qkv [sequences * rows, width]`, a table `[sequences, pages]`, and lengths `[sequences]`, the new
/// rows among them. Gives `[sequences * rows, query width]`.
pub(super) fn attend(
    qkv: CubeTensor,
    (keys, values): (CubeTensor, CubeTensor),
    (table, lengths): (CubeTensor, CubeTensor),
) -> CubeTensor {
    let [qkv, table, lengths] = [qkv, table, lengths].map(into_contiguous);
    let (client, device, dtype) = (qkv.client.clone(), qkv.device.clone(), qkv.dtype);
    let (all, width) = (qkv.shape()[0], qkv.shape()[1]);
    let (kv, size) = (keys.shape()[1], keys.shape()[3]);
    let heads = Heads { query: width / size - 2 * kv, kv, size };
    let sequences = lengths.shape()[0];
    let rows = all / sequences;
    let binding = qkv.binding();
    let query = TensorBinding {
        handle: binding.handle,
        shape: [sequences, heads.query, rows, heads.size].into(),
        strides: [rows * width, heads.size, width, 1].into(),
        tiling: binding.tiling,
    };
    let query = PlainTensor::new(query, dtype_to_storage_type(dtype));
    // The rows are the last of what is attended to, each seeing itself and what is before it.
    let visibility = AttentionVisibility::new(true, None, QueryPlacement::Last);
    let inputs = AttentionTuneInputs::new(
        &client,
        query,
        plain(keys),
        plain(values),
        Some(plain(table)),
        plain(lengths),
        None,
        AttentionScoring::standard(visibility, heads.size),
    );
    let inputs = inputs.expect("heads come in whole groups, and numbers are f32 or bf16");
    let positions = QueryPositions::of(rows);
    let out = launch_tuned(positions, &device, inputs, GroupPriority::DEFAULT);
    // `[sequences, rows, heads, head size]`, without gaps.
    let shape = Shape::new([all, heads.query_width()]);
    CubeTensor::new_contiguous(client, device, shape, out.handle, dtype)
}

fn plain(tensor: CubeTensor) -> PlainTensor {
    let element = dtype_to_storage_type(tensor.dtype);
    PlainTensor::new(tensor.binding(), element)
}
