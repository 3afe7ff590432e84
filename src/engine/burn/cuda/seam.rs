//! What the rest of the engine calls on GPUs: tensors in, tensors out.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, StreamId, Tensor, TensorData};

use super::gemm::Turns;
use super::memory;
use super::ops::{Gpu, GpuBack};
use crate::burn::adamw::{Step, Trained};
use crate::burn::decoder::Heads;
use crate::burn::rotary::Rotary;

/// A queue of kernels. Whoever runs on it waits for what it reads of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(StreamId);

impl Stream {
    /// Queues there what `queue` computes.
    pub(crate) fn run<T>(self, queue: impl FnOnce() -> T) -> T {
        self.0.executes(queue)
    }
}

/// The operations of GPUs. There is one only where a GPU was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ops(());

impl Ops {
    /// For a GPU that was opened.
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// A stream of its own.
    pub(crate) fn stream(self) -> Stream {
        Stream(StreamId::allocate())
    }

    /// Bytes that a GPU has free.
    pub(crate) fn free_bytes(self, device: &Device) -> Option<u64> {
        memory::free_bytes(device)
    }

    /// `x · weightᵀ`.
    pub(crate) fn linear(self, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        let out = <Dispatch as Gpu>::gpu_linear(x.into_dispatch(), weight.into_dispatch());
        Tensor::from_dispatch(out)
    }

    /// `sum + x · weightᵀ`: the residual is added where the product ends.
    pub(crate) fn linear_added(self, sum: Tensor<2>, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        let (sum, x, weight) = (sum.into_dispatch(), x.into_dispatch(), weight.into_dispatch());
        Tensor::from_dispatch(<Dispatch as Gpu>::gpu_linear_added(sum, x, weight))
    }

    /// Each row divided by its root mean square, times the weight `[1, columns]`.
    pub(crate) fn rms_norm(self, x: Tensor<2>, weight: Tensor<2>, epsilon: f64) -> Tensor<2> {
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        Tensor::from_dispatch(<Dispatch as Gpu>::gpu_norm(x, weight, epsilon as f32))
    }

    /// Adds the bias, if there is one, and turns queries and keys by their position.
    pub(crate) fn bias_and_rotate(
        self,
        qkv: Tensor<2>,
        bias: Option<Tensor<2>>,
        rotary: &Rotary,
        heads: Heads,
    ) -> Tensor<2> {
        let (cos, sin) = (rotary.cos.clone().into_dispatch(), rotary.sin.clone().into_dispatch());
        let qkv = qkv.into_dispatch();
        Tensor::from_dispatch(match bias {
            Some(bias) => {
                <Dispatch as Gpu>::gpu_turn_biased(qkv, bias.into_dispatch(), cos, sin, heads)
            }
            None => <Dispatch as Gpu>::gpu_turn(qkv, cos, sin, heads, 1.0),
        })
    }

    /// `silu(gate) * up` of `[gate | up]`.
    pub(crate) fn swiglu(self, gate_up: Tensor<2>) -> Tensor<2> {
        Tensor::from_dispatch(<Dispatch as Gpu>::gpu_gated(gate_up.into_dispatch()))
    }

    /// `sum + left · right`, or with the left one turned, in the type of the sum. On no tape.
    pub(crate) fn product_added(
        self,
        sum: Tensor<2>,
        left: Tensor<2>,
        right: Tensor<2>,
        turn: bool,
    ) -> Tensor<2> {
        let (sum, left, right) = (sum.into_dispatch(), left.into_dispatch(), right.into_dispatch());
        let turns = Turns { left: turn, right: false };
        Tensor::from_dispatch(<Dispatch as GpuBack>::gpu_product_added(sum, left, right, turns))
    }

    /// Writes keys and values of new rows to their places in the pages of both pools.
    pub(crate) fn write_pages(
        self,
        qkv: Tensor<2>,
        places: Tensor<1, Int>,
        (keys, values): (Tensor<4>, Tensor<4>),
        heads: Heads,
    ) -> (Tensor<4>, Tensor<4>) {
        let (keys, values) = <Dispatch as GpuBack>::gpu_write_pages(
            qkv.into_dispatch(),
            places.into_dispatch(),
            keys.into_dispatch(),
            values.into_dispatch(),
            heads,
        );
        (Tensor::from_dispatch(keys), Tensor::from_dispatch(values))
    }

    /// Attention of the last rows of sequences, as many of each, over their pages.
    pub(crate) fn attend_pages(
        self,
        qkv: Tensor<2>,
        (keys, values): (&Tensor<4>, &Tensor<4>),
        (table, lengths): (Tensor<2, Int>, Tensor<1, Int>),
    ) -> Tensor<2> {
        Tensor::from_dispatch(<Dispatch as GpuBack>::gpu_attend_pages(
            qkv.into_dispatch(),
            keys.clone().into_dispatch(),
            values.clone().into_dispatch(),
            table.into_dispatch(),
            lengths.into_dispatch(),
        ))
    }

    /// Places, pages and lengths as the kernels take them.
    pub(crate) fn counters<const D: usize>(
        self,
        values: Vec<u32>,
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D, Int> {
        Tensor::from_data(TensorData::new(values, shape), (device, DType::U32))
    }

    /// New numbers in the place of old ones, which a recorded step reads.
    pub(crate) fn refill<const D: usize>(self, target: &mut Tensor<D>, source: Tensor<D>) {
        target.inplace(|target| {
            let (target, source) = (target.into_dispatch(), source.into_dispatch());
            Tensor::from_dispatch(<Dispatch as GpuBack>::gpu_refill(target, source))
        });
    }

    /// The same for integers.
    pub(crate) fn refill_int<const D: usize>(
        self,
        target: &mut Tensor<D, Int>,
        source: Tensor<D, Int>,
    ) {
        target.inplace(|target| {
            let (target, source) = (target.into_dispatch(), source.into_dispatch());
            Tensor::from_dispatch(<Dispatch as GpuBack>::gpu_refill_int(target, source))
        });
    }

    /// One step of AdamW, in the place of the old numbers.
    pub(crate) fn adamw(
        self,
        old: Trained,
        gradient: Tensor<2>,
        decays: bool,
        step: &Step,
    ) -> Trained {
        let adam = step.adam;
        let factors = [
            step.scale,
            adam.beta1,
            adam.beta2,
            1.0 / step.second_correction().sqrt(),
            adam.epsilon,
            step.kept(decays),
            step.size(),
        ];
        let factors = factors.map(|factor| factor as f32).to_vec();
        let factors = TensorData::new(factors, [7]);
        let factors = Tensor::<1>::from_data(factors, (&old.weight.device(), DType::F32));
        let (weight, first, second) = <Dispatch as GpuBack>::gpu_adamw(
            old.weight.into_dispatch(),
            old.first.into_dispatch(),
            old.second.into_dispatch(),
            gradient.into_dispatch(),
            factors.into_dispatch(),
        );
        Trained {
            weight: Tensor::from_dispatch(weight),
            first: Tensor::from_dispatch(first),
            second: Tensor::from_dispatch(second),
        }
    }
}
