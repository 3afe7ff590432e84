//! What needs no tape, on tensors of the processor in place.

use burn::backend::Flex;
use burn::tensor::Tensor;

use super::{Host, dims, host, into_values};
use crate::burn::ops::kernels::cross_entropy::losses;
use crate::burn::ops::kernels::matrix::{add_product, multiplied};
use crate::burn::views::View;

fn primitive(tensor: Tensor<2>) -> Host {
    let tensor = tensor.try_into_primitive::<Flex>();
    tensor.expect("fused operations are called on tensors of the processor only")
}

fn tensor(primitive: Host) -> Tensor<2> {
    Tensor::from_primitive::<Flex>(primitive)
}

/// Of each row of logits its loss, and the gradient of their weighted sum in the logits' place.
pub(crate) fn cross_entropy(
    logits: Tensor<2>,
    targets: &[usize],
    factors: &[f32],
) -> (Vec<f64>, Tensor<2>) {
    let shape = logits.dims();
    let mut values = into_values(primitive(logits).to_contiguous());
    let losses = losses(&mut values, targets, factors);
    (losses, tensor(host(values, shape)))
}

/// `left · right`.
pub(crate) fn product(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let [left, right] = [left, right].map(|x| primitive(x).to_contiguous());
    let ([rows, depth], [_, columns]) = (dims(&left), dims(&right));
    let (left, right) = (View::whole(left.storage(), depth), View::whole(right.storage(), columns));
    tensor(host(multiplied(left, right), [rows, columns]))
}

/// `sum + left · right`, or with the left one turned, in the place of the sum.
pub(crate) fn product_added(
    sum: Tensor<2>,
    left: Tensor<2>,
    right: Tensor<2>,
    turn: bool,
) -> Tensor<2> {
    let [sum, left, right] = [sum, left, right].map(|x| primitive(x).to_contiguous());
    let shape = dims(&sum);
    let mut values = into_values(sum);
    let view = View::whole(left.storage(), dims(&left)[1]);
    let view = if turn { view.transposed() } else { view };
    add_product(&mut values, view, View::whole(right.storage(), shape[1]));
    tensor(host(values, shape))
}

/// Rows of gradients added to rows of a table, in its place.
pub(crate) fn rows_added(table: Tensor<2>, gradient: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let [table, gradient] = [table, gradient].map(|x| primitive(x).to_contiguous());
    let shape = dims(&table);
    let mut values = into_values(table);
    let gradients = gradient.storage::<f32>().chunks_exact(shape[1]);
    for (row, gradient) in rows.iter().zip(gradients) {
        let target = &mut values[row * shape[1]..(row + 1) * shape[1]];
        target.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
    }
    tensor(host(values, shape))
}
