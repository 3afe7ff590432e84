//! Operations with packed weights, on tensors of the processor: they stand on no tape.

use burn::backend::Flex;
use burn::tensor::Tensor;

use super::fused::{dims, host, into_values};
use super::kernels::product::{Packed, Then, product};

/// Rows of a table.
pub(crate) fn embedding(table: &Packed, ids: &[usize]) -> Tensor<2> {
    let width = table.inputs();
    let mut out = vec![0.0; ids.len() * width];
    out.chunks_exact_mut(width).zip(ids).for_each(|(out, id)| table.row(*id, out));
    Tensor::from_primitive::<Flex>(host(out, [ids.len(), width]))
}

/// The same where some rows are elsewhere: zeros.
pub(crate) fn known_rows(table: &Packed, ids: &[Option<usize>]) -> Tensor<2> {
    let width = table.inputs();
    let mut out = vec![0.0; ids.len() * width];
    for (out, id) in out.chunks_exact_mut(width).zip(ids) {
        if let Some(id) = id {
            table.row(*id, out);
        }
    }
    Tensor::from_primitive::<Flex>(host(out, [ids.len(), width]))
}

/// `x · weightᵀ`.
pub(crate) fn linear(x: Tensor<2>, weight: &Packed) -> Tensor<2> {
    computed(x, weight, weight.outputs(), Then::Set)
}

/// `silu(gate) * up` of a weight that holds both.
pub(crate) fn gated(x: Tensor<2>, weight: &Packed) -> Tensor<2> {
    computed(x, weight, weight.outputs() / 2, Then::Gate)
}

/// `sum + x · weightᵀ`, in the place of the sum.
pub(crate) fn linear_added(sum: Tensor<2>, x: Tensor<2>, weight: &Packed) -> Tensor<2> {
    let shape = sum.dims();
    let sum = sum.try_into_primitive::<Flex>();
    let sum = sum.expect("packed weights are used on the processor only").to_contiguous();
    let mut values = into_values(sum);
    multiplied(&mut values, x, weight, Then::Add);
    Tensor::from_primitive::<Flex>(host(values, shape))
}

fn computed(x: Tensor<2>, weight: &Packed, columns: usize, then: Then) -> Tensor<2> {
    let rows = x.dims()[0];
    let mut out = vec![0.0; rows * columns];
    multiplied(&mut out, x, weight, then);
    Tensor::from_primitive::<Flex>(host(out, [rows, columns]))
}

fn multiplied(out: &mut [f32], x: Tensor<2>, weight: &Packed, then: Then) {
    let x = x.try_into_primitive::<Flex>();
    let x = x.expect("packed weights are used on the processor only").to_contiguous();
    assert_eq!(dims(&x)[1], weight.inputs(), "the weight takes these activations");
    product(out, x.storage(), weight, then);
}
