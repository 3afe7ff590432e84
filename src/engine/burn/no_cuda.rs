//! Stands in for `cuda` in a binary without it.

use burn::tensor::{Device, Int, Tensor};

use crate::burn::adamw::{Step, Trained};
use crate::burn::decoder::Heads;
use crate::burn::rotary::Rotary;
use crate::{Error, Facts, Result};

/// There is none.
pub(crate) fn open(_index: usize) -> Result<(Device, Ops)> {
    Err(Error::NoBackend { feature: "cuda" })
}

/// There are none.
pub(crate) fn ensure_collectives() -> Result<()> {
    Err(Error::NoBackend { feature: "cuda" })
}

/// There is none.
pub(crate) fn use_library(_on: bool) -> bool {
    false
}

/// Adds nothing.
pub(crate) fn facts(_facts: &mut Facts) {}

/// The operations of GPUs: there never are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ops(Never);

/// A queue of kernels: there never is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(Never);

/// What there is nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Never {}

impl Stream {
    pub(crate) fn run<T>(self, _queue: impl FnOnce() -> T) -> T {
        match self.0 {}
    }
}

impl Ops {
    pub(crate) fn stream(self) -> Stream {
        match self.0 {}
    }

    pub(crate) fn free_bytes(self, _device: &Device) -> Option<u64> {
        match self.0 {}
    }

    pub(crate) fn linear(self, _x: Tensor<2>, _weight: Tensor<2>) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn linear_added(
        self,
        _sum: Tensor<2>,
        _x: Tensor<2>,
        _weight: Tensor<2>,
    ) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn rms_norm(self, _x: Tensor<2>, _weight: Tensor<2>, _epsilon: f64) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn bias_and_rotate(
        self,
        _qkv: Tensor<2>,
        _bias: Option<Tensor<2>>,
        _rotary: &Rotary,
        _heads: Heads,
    ) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn swiglu(self, _gate_up: Tensor<2>) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn product_added(
        self,
        _sum: Tensor<2>,
        _left: Tensor<2>,
        _right: Tensor<2>,
        _turn: bool,
    ) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn write_pages(
        self,
        _qkv: Tensor<2>,
        _places: Tensor<1, Int>,
        _pools: (Tensor<4>, Tensor<4>),
        _heads: Heads,
    ) -> (Tensor<4>, Tensor<4>) {
        match self.0 {}
    }

    pub(crate) fn attend_pages(
        self,
        _qkv: Tensor<2>,
        _pools: (&Tensor<4>, &Tensor<4>),
        _pages: (Tensor<2, Int>, Tensor<1, Int>),
    ) -> Tensor<2> {
        match self.0 {}
    }

    pub(crate) fn counters<const D: usize>(
        self,
        _values: Vec<u32>,
        _shape: [usize; D],
        _device: &Device,
    ) -> Tensor<D, Int> {
        match self.0 {}
    }

    pub(crate) fn refill<const D: usize>(self, _target: &mut Tensor<D>, _source: Tensor<D>) {
        match self.0 {}
    }

    pub(crate) fn refill_int<const D: usize>(
        self,
        _target: &mut Tensor<D, Int>,
        _source: Tensor<D, Int>,
    ) {
        match self.0 {}
    }

    pub(crate) fn adamw(
        self,
        _old: Trained,
        _gradient: Tensor<2>,
        _decays: bool,
        _step: &Step,
    ) -> Trained {
        match self.0 {}
    }
}
