//! The gradients of the fused operations, and how the tape finds them.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata};

use super::{Fused, Host, dims, host, into_values};
use crate::burn::decoder::Heads;
use crate::burn::ops::kernels::matrix::multiplied;
use crate::burn::ops::kernels::rotate::Angles;
use crate::burn::ops::kernels::{attention, gated, norm, rotate};
use crate::burn::views::View;

/// What the tape calls; never itself on a tape.
pub(crate) trait FusedBack: Backend {
    fn rows_back(gradient: FloatTensor<Self>, rows: &[usize], count: usize) -> FloatTensor<Self>;

    /// `left · right`, or with the left one turned.
    fn product(left: FloatTensor<Self>, right: FloatTensor<Self>, turn: bool) -> FloatTensor<Self>;

    fn norm_back(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f32,
    ) -> [FloatTensor<Self>; 2];

    fn turn_back(
        gradient: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
    ) -> [FloatTensor<Self>; 2];

    fn attention_back(
        qkv: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        ranges: &[Range<usize>],
        heads: Heads,
    ) -> FloatTensor<Self>;

    fn gated_back(gate_up: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl FusedBack for Flex {
    fn rows_back(gradient: Host, rows: &[usize], count: usize) -> Host {
        let (gradient, [_, width]) = (gradient.to_contiguous(), dims(&gradient));
        let mut out = vec![0.0; count * width];
        for (row, gradient) in rows.iter().zip(gradient.storage::<f32>().chunks_exact(width)) {
            let target = &mut out[row * width..(row + 1) * width];
            target.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
        }
        host(out, [count, width])
    }

    fn product(left: Host, right: Host, turn: bool) -> Host {
        let ([_, left_width], [_, columns]) = (dims(&left), dims(&right));
        let (left, right) = (left.to_contiguous(), right.to_contiguous());
        let view = View::whole(left.storage(), left_width);
        let rows = if turn { left_width } else { dims(&left)[0] };
        let left = if turn { view.transposed() } else { view };
        host(multiplied(left, View::whole(right.storage(), columns)), [rows, columns])
    }

    fn norm_back(x: Host, weight: Host, gradient: Host, epsilon: f32) -> [Host; 2] {
        let (x, weight, shape) = (x.to_contiguous(), weight.to_contiguous(), dims(&x));
        let gradient = gradient.to_contiguous();
        let (of_x, of_weight) =
            norm::backward(x.storage(), weight.storage(), gradient.storage(), epsilon);
        [host(of_x, shape), host(of_weight, [1, shape[1]])]
    }

    fn turn_back(gradient: Host, cos: Host, sin: Host, heads: Heads) -> [Host; 2] {
        let shape = dims(&gradient);
        let mut values = into_values(gradient);
        let angles = Angles { cos: cos.storage(), sin: sin.storage() };
        let of_bias = rotate::backward(&mut values, angles, heads);
        [host(values, shape), host(of_bias, [1, shape[1]])]
    }

    fn attention_back(qkv: Host, gradient: Host, ranges: &[Range<usize>], heads: Heads) -> Host {
        let (qkv, gradient, shape) = (qkv.to_contiguous(), gradient.to_contiguous(), dims(&qkv));
        host(attention::backward(qkv.storage(), gradient.storage(), ranges, heads), shape)
    }

    fn gated_back(gate_up: Host, gradient: Host) -> Host {
        let (gate_up, shape) = (gate_up.to_contiguous(), dims(&gate_up));
        let gradient = gradient.to_contiguous();
        host(gated::backward(gate_up.storage(), gradient.storage(), shape[1] / 2), shape)
    }
}

#[derive(Debug)]
struct RowsBack;

impl<B: FusedBack> Backward<B, 1> for RowsBack {
    type State = (Arc<[usize]>, usize);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (rows, count) = ops.state;
        if let [Some(x)] = ops.parents {
            grads.register::<B>(x.id, B::rows_back(gradient, &rows, count));
        }
    }
}

#[derive(Debug)]
struct LinearBack;

impl<B: FusedBack> Backward<B, 2> for LinearBack {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [of_x, of_weight] = ops.parents;
        let (x, weight) = ops.state;
        if let Some(node) = of_weight {
            grads.register::<B>(node.id, B::product(gradient.clone(), x, true));
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, B::product(gradient, weight, false));
        }
    }
}

#[derive(Debug)]
struct LinearAddedBack;

impl<B: FusedBack> Backward<B, 3> for LinearAddedBack {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [of_sum, of_x, of_weight] = ops.parents;
        let (x, weight) = ops.state;
        if let Some(node) = of_weight {
            grads.register::<B>(node.id, B::product(gradient.clone(), x, true));
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, B::product(gradient.clone(), weight, false));
        }
        if let Some(node) = of_sum {
            grads.register::<B>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct NormBack;

impl<B: FusedBack> Backward<B, 2> for NormBack {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let both = B::norm_back(x, weight, gradient, epsilon);
        register_two::<B>(grads, ops.parents.map(|node| node.map(|node| node.id)), both);
    }
}

#[derive(Debug)]
struct TurnBack;

impl<B: FusedBack> Backward<B, 2> for TurnBack {
    type State = (FloatTensor<B>, FloatTensor<B>, Heads);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (cos, sin, heads) = ops.state;
        let both = B::turn_back(gradient, cos, sin, heads);
        register_two::<B>(grads, ops.parents.map(|node| node.map(|node| node.id)), both);
    }
}

fn register_two<B: Backend>(
    grads: &mut Gradients,
    nodes: [Option<NodeId>; 2],
    gradients: [FloatTensor<B>; 2],
) {
    for (node, gradient) in nodes.into_iter().zip(gradients) {
        if let Some(node) = node {
            grads.register::<B>(node, gradient);
        }
    }
}

#[derive(Debug)]
struct AttentionBack;

impl<B: FusedBack> Backward<B, 1> for AttentionBack {
    type State = (FloatTensor<B>, Arc<[Range<usize>]>, Heads);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (qkv, ranges, heads) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::attention_back(qkv, gradient, &ranges, heads));
        }
    }
}

#[derive(Debug)]
struct GatedBack;

impl<B: FusedBack> Backward<B, 1> for GatedBack {
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::gated_back(ops.state, gradient));
        }
    }
}

#[derive(Debug)]
struct DotBack;

impl<B: FusedBack> Backward<B, 1> for DotBack {
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        // What it is the beginning of has the gradient 1.
        drop(grads.consume::<B>(&ops.node));
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, ops.state);
        }
    }
}

impl<B: Fused + FusedBack, C: CheckpointStrategy> Fused for Autodiff<B, C> {
    fn own_rows(x: FloatTensor<Self>, rows: Arc<[usize]>) -> FloatTensor<Self> {
        match RowsBack.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(tape) => {
                let count = x.primitive().shape()[0];
                let out = B::own_rows(x.into_primitive(), Arc::clone(&rows));
                tape.finish((rows, count), out)
            }
            OpsKind::UnTracked(tape) => tape.finish(B::own_rows(x.into_primitive(), rows)),
        }
    }

    fn own_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        match LinearBack.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(tape) => {
                let state = (x.primitive().clone(), weight.primitive().clone());
                tape.finish(state, B::own_linear(x.into_primitive(), weight.into_primitive()))
            }
            OpsKind::UnTracked(tape) => {
                tape.finish(B::own_linear(x.into_primitive(), weight.into_primitive()))
            }
        }
    }

    fn own_linear_added(
        sum: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [sum.node(), x.node(), weight.node()];
        let prepared = LinearAddedBack.prepare::<C>(nodes).compute_bound().stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let out = B::own_linear_added(sum.into_primitive(), x.clone(), weight.clone());
        match prepared {
            OpsKind::Tracked(tape) => tape.finish((x, weight), out),
            OpsKind::UnTracked(tape) => tape.finish(out),
        }
    }

    fn own_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        match NormBack.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(tape) => {
                let state = (x.primitive().clone(), weight.primitive().clone(), epsilon);
                tape.finish(
                    state,
                    B::own_norm(x.into_primitive(), weight.into_primitive(), epsilon),
                )
            }
            OpsKind::UnTracked(tape) => {
                tape.finish(B::own_norm(x.into_primitive(), weight.into_primitive(), epsilon))
            }
        }
    }

    fn own_turn(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        let prepared = TurnBack.prepare::<C>([qkv.node(), bias.node()]).compute_bound().stateful();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let (qkv, bias) = (qkv.into_primitive(), bias.into_primitive());
        let out = B::own_turn(qkv, bias, cos.clone(), sin.clone(), heads);
        match prepared {
            OpsKind::Tracked(tape) => tape.finish((cos, sin, heads), out),
            OpsKind::UnTracked(tape) => tape.finish(out),
        }
    }

    fn own_attention(
        qkv: FloatTensor<Self>,
        ranges: Arc<[Range<usize>]>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        match AttentionBack.prepare::<C>([qkv.node()]).compute_bound().stateful() {
            OpsKind::Tracked(tape) => {
                let qkv = qkv.into_primitive();
                let out = B::own_attention(qkv.clone(), Arc::clone(&ranges), heads);
                tape.finish((qkv, ranges, heads), out)
            }
            OpsKind::UnTracked(tape) => {
                tape.finish(B::own_attention(qkv.into_primitive(), ranges, heads))
            }
        }
    }

    fn own_gated(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        match GatedBack.prepare::<C>([gate_up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(tape) => {
                let gate_up = gate_up.into_primitive();
                tape.finish(gate_up.clone(), B::own_gated(gate_up))
            }
            OpsKind::UnTracked(tape) => tape.finish(B::own_gated(gate_up.into_primitive())),
        }
    }
    fn own_dot(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = DotBack.prepare::<C>([y.node()]).compute_bound().stateful();
        let gradient = gradient.into_primitive();
        let out = B::own_dot(y.into_primitive(), gradient.clone());
        match prepared {
            OpsKind::Tracked(tape) => tape.finish(gradient, out),
            OpsKind::UnTracked(tape) => tape.finish(out),
        }
    }
}
