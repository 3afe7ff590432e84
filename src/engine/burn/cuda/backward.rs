//! The gradients of the operations on GPUs.

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::FloatDType;

use super::gemm::Turns;
use super::ops::{Gpu, GpuBack};
use crate::burn::decoder::Heads;

#[derive(Debug)]
struct LinearBack;

impl<B: GpuBack> Backward<B, 2> for LinearBack {
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
            let product = B::gpu_product(gradient.clone(), x, Turns::OF_WEIGHT);
            grads.register::<B>(node.id, product);
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, B::gpu_product(gradient, weight, Turns::OF_INPUT));
        }
    }
}

#[derive(Debug)]
struct AddedBack;

impl<B: GpuBack> Backward<B, 3> for AddedBack {
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
            let product = B::gpu_product(gradient.clone(), x, Turns::OF_WEIGHT);
            grads.register::<B>(node.id, product);
        }
        if let Some(node) = of_x {
            let product = B::gpu_product(gradient.clone(), weight, Turns::OF_INPUT);
            grads.register::<B>(node.id, product);
        }
        if let Some(node) = of_sum {
            grads.register::<B>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct NormBack;

impl<B: GpuBack> Backward<B, 2> for NormBack {
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [of_x, of_weight] = ops.parents;
        let (x, weight, epsilon) = ops.state;
        let kept = FloatDType::from(weight.dtype());
        let (dx, rows) = B::gpu_norm_back(x, weight, gradient, epsilon);
        if let Some(node) = of_weight {
            // Added up in f32: there are as many rows as tokens.
            let sum = B::float_cast(B::float_sum_dim(rows, 0), kept);
            grads.register::<B>(node.id, sum);
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, dx);
        }
    }
}

#[derive(Debug)]
struct TurnBiasedBack;

impl<B: Gpu> Backward<B, 2> for TurnBiasedBack {
    type State = (FloatTensor<B>, FloatTensor<B>, Heads);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [of_qkv, of_bias] = ops.parents;
        let (cos, sin, heads) = ops.state;
        let back = B::gpu_turn(gradient, cos, sin, heads, -1.0);
        if let Some(node) = of_bias {
            let kept = FloatDType::from(back.dtype());
            let rows = B::float_cast(back.clone(), FloatDType::F32);
            let sum = B::float_cast(B::float_sum_dim(rows, 0), kept);
            grads.register::<B>(node.id, sum);
        }
        if let Some(node) = of_qkv {
            grads.register::<B>(node.id, back);
        }
    }
}

#[derive(Debug)]
struct TurnBack;

impl<B: Gpu> Backward<B, 1> for TurnBack {
    type State = (FloatTensor<B>, FloatTensor<B>, Heads, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (cos, sin, heads, sign) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::gpu_turn(gradient, cos, sin, heads, -sign));
        }
    }
}

#[derive(Debug)]
struct GatedBack;

impl<B: GpuBack> Backward<B, 1> for GatedBack {
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::gpu_gated_back(ops.state, gradient));
        }
    }
}

impl<B: Gpu + GpuBack, C: CheckpointStrategy> Gpu for Autodiff<B, C> {
    fn gpu_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared =
            LinearBack.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(tape) => {
                tape.finish((x.clone(), weight.clone()), B::gpu_linear(x, weight))
            }
            OpsKind::UnTracked(tape) => tape.finish(B::gpu_linear(x, weight)),
        }
    }

    fn gpu_linear_added(
        sum: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [sum.node(), x.node(), weight.node()];
        let prepared = AddedBack.prepare::<C>(nodes).compute_bound().stateful();
        let (sum, x, weight) = (sum.into_primitive(), x.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(tape) => {
                tape.finish((x.clone(), weight.clone()), B::gpu_linear_added(sum, x, weight))
            }
            OpsKind::UnTracked(tape) => tape.finish(B::gpu_linear_added(sum, x, weight)),
        }
    }

    fn gpu_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let prepared = NormBack.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match prepared {
            OpsKind::Tracked(tape) => {
                let state = (x.clone(), weight.clone(), epsilon);
                tape.finish(state, B::gpu_norm(x, weight, epsilon))
            }
            OpsKind::UnTracked(tape) => tape.finish(B::gpu_norm(x, weight, epsilon)),
        }
    }

    fn gpu_turn_biased(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self> {
        let nodes = [qkv.node(), bias.node()];
        let prepared = TurnBiasedBack.prepare::<C>(nodes).compute_bound().stateful();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let (qkv, bias) = (qkv.into_primitive(), bias.into_primitive());
        let out = B::gpu_turn_biased(qkv, bias, cos.clone(), sin.clone(), heads);
        match prepared {
            OpsKind::Tracked(tape) => tape.finish((cos, sin, heads), out),
            OpsKind::UnTracked(tape) => tape.finish(out),
        }
    }

    fn gpu_turn(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
        sign: f32,
    ) -> FloatTensor<Self> {
        let prepared = TurnBack.prepare::<C>([qkv.node()]).compute_bound().stateful();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let out = B::gpu_turn(qkv.into_primitive(), cos.clone(), sin.clone(), heads, sign);
        match prepared {
            OpsKind::Tracked(tape) => tape.finish((cos, sin, heads, sign), out),
            OpsKind::UnTracked(tape) => tape.finish(out),
        }
    }

    fn gpu_gated(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = GatedBack.prepare::<C>([gate_up.node()]).compute_bound().stateful();
        let gate_up = gate_up.into_primitive();
        match prepared {
            OpsKind::Tracked(tape) => tape.finish(gate_up.clone(), B::gpu_gated(gate_up)),
            OpsKind::UnTracked(tape) => tape.finish(B::gpu_gated(gate_up)),
        }
    }
}
