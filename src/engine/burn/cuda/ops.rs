//! The operations of a decoder on GPUs: our own kernels as burn's backends take them.
//!
//! `Gpu` stands on the tape (`backward`), `GpuBack` is what the tape calls.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::gemm::{self, Turns};
use super::kernels::{self, ROW_UNITS, UNITS};
use super::paged;
use crate::BLOCK_TOKENS;
use crate::burn::decoder::Heads;

/// What stands on the tape. Tensors hold f32 or bf16; results hold what the first operand does.
#[backend_extension(Cube, Autodiff, Fusion)]
pub(crate) trait Gpu: Backend {
    /// `x · weightᵀ`.
    #[fusion(dtype = x, shape = Turns::LINEAR.shape(x, weight))]
    fn gpu_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `sum + x · weightᵀ`.
    #[fusion(dtype = sum, shape = sum)]
    fn gpu_linear_added(
        sum: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Rows divided by their root mean square, times the weight.
    #[fusion(dtype = x, shape = x)]
    fn gpu_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f32)
    -> FloatTensor<Self>;

    /// Adds a bias and turns queries and keys.
    #[fusion(dtype = qkv, shape = qkv)]
    fn gpu_turn_biased(
        qkv: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
    ) -> FloatTensor<Self>;

    /// Turns queries and keys; by a negative sign back.
    #[fusion(dtype = qkv, shape = qkv)]
    fn gpu_turn(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: Heads,
        sign: f32,
    ) -> FloatTensor<Self>;

    /// `silu(gate) * up` of `[gate | up]`.
    #[fusion(dtype = gate_up, shape = Shape::new([gate_up[0], gate_up[1] / 2]))]
    fn gpu_gated(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What never stands on the tape.
#[backend_extension(Cube, Fusion)]
pub(crate) trait GpuBack: Backend {
    #[fusion(dtype = left, shape = turns.shape(left, right))]
    fn gpu_product(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        turns: Turns,
    ) -> FloatTensor<Self>;

    /// `sum + left · right`, in the type of the sum.
    #[fusion(dtype = sum, shape = sum)]
    fn gpu_product_added(
        sum: FloatTensor<Self>,
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        turns: Turns,
    ) -> FloatTensor<Self>;

    /// The gradient of the input, and row by row that of the weight in f32.
    #[fusion(meta = |x: &TensorSpec, _weight, _gradient, _epsilon| (x.clone(), TensorSpec::new(x.shape.clone(), DType::F32)))]
    fn gpu_norm_back(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(dtype = gate_up, shape = gate_up)]
    fn gpu_gated_back(gate_up: FloatTensor<Self>, gradient: FloatTensor<Self>)
    -> FloatTensor<Self>;

    /// Writes keys and values of new rows to their places in both pools, which stay where they are.
    #[fusion(meta = |_qkv, _places, keys, values, _heads| (keys.clone(), values.clone()))]
    fn gpu_write_pages(
        qkv: FloatTensor<Self>,
        places: IntTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        heads: Heads,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Attention of the last rows of sequences, as many of each, over their pages; how many heads there
    /// are is in the shapes.
    #[fusion(dtype = qkv, shape = Shape::new([qkv[0], qkv[1] - 2 * keys[1] * keys[3]]))]
    fn gpu_attend_pages(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        table: IntTensor<Self>,
        lengths: IntTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Copies floats into a tensor that stays where it is.
    #[fusion(dtype = target, shape = target)]
    fn gpu_refill(target: FloatTensor<Self>, source: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The same for integers.
    #[fusion(dtype = target, shape = target)]
    fn gpu_refill_int(target: IntTensor<Self>, source: IntTensor<Self>) -> IntTensor<Self>;

    /// One step of AdamW on weight, first and second moment, in place.
    #[fusion(meta = |weight, first, second, _gradient, _factors| {
        (weight.clone(), first.clone(), second.clone())
    })]
    fn gpu_adamw(
        weight: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factors: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn empty_like(tensor: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(tensor.client.clone(), tensor.device.clone(), shape, dtype)
}

/// Cubes of [`UNITS`] that give each of `count` numbers a unit.
fn cubes(tensor: &CubeTensor, count: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(UNITS);
    (cubecl::calculate_cube_count_elemwise(&tensor.client, count, dim), dim)
}

/// A cube for each of `rows` rows.
fn row_cubes(rows: usize) -> (CubeCount, CubeDim) {
    (CubeCount::Static(rows as u32, 1, 1), CubeDim::new_1d(ROW_UNITS))
}

fn float(tensor: &CubeTensor) -> ElemType {
    dtype_to_storage_type(tensor.dtype)
}

fn turned(
    qkv: CubeTensor,
    bias: Option<CubeTensor>,
    (cos, sin): (CubeTensor, CubeTensor),
    heads: Heads,
    sign: f32,
) -> CubeTensor {
    let [qkv, cos, sin] = [qkv, cos, sin].map(into_contiguous);
    let out = empty_like(&qkv, qkv.shape(), qkv.dtype);
    let pairs = qkv.shape().num_elements() / 2;
    if pairs == 0 {
        return out;
    }
    let (count, dim) = cubes(&qkv, pairs);
    let has_bias = bias.is_some();
    let bias = bias.map_or_else(|| qkv.clone(), into_contiguous);
    let (client, number) = (qkv.client.clone(), float(&qkv));
    kernels::turn::launch(
        &client,
        count,
        dim,
        qkv.into_tensor_arg(),
        bias.into_tensor_arg(),
        cos.into_tensor_arg(),
        sin.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        pairs,
        heads.query + heads.kv,
        sign,
        heads.size / 2,
        has_bias,
        number,
    );
    out
}

impl Gpu for CubeBackend {
    fn gpu_linear(x: CubeTensor, weight: CubeTensor) -> CubeTensor {
        Self::gpu_product(x, weight, Turns::LINEAR)
    }

    fn gpu_linear_added(sum: CubeTensor, x: CubeTensor, weight: CubeTensor) -> CubeTensor {
        Self::gpu_product_added(sum, x, weight, Turns::LINEAR)
    }

    fn gpu_norm(x: CubeTensor, weight: CubeTensor, epsilon: f32) -> CubeTensor {
        let [x, weight] = [x, weight].map(into_contiguous);
        let out = empty_like(&x, x.shape(), x.dtype);
        let (rows, columns) = (x.shape()[0], x.shape()[1]);
        if rows == 0 {
            return out;
        }
        let ((count, dim), client, number) = (row_cubes(rows), x.client.clone(), float(&x));
        let (x, weight) = (x.into_tensor_arg(), weight.into_tensor_arg());
        let target = out.clone().into_tensor_arg();
        kernels::norm::launch(&client, count, dim, x, weight, target, columns, epsilon, number);
        out
    }

    fn gpu_turn_biased(
        qkv: CubeTensor,
        bias: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        heads: Heads,
    ) -> CubeTensor {
        turned(qkv, Some(bias), (cos, sin), heads, 1.0)
    }

    fn gpu_turn(
        qkv: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        heads: Heads,
        sign: f32,
    ) -> CubeTensor {
        turned(qkv, None, (cos, sin), heads, sign)
    }

    fn gpu_gated(gate_up: CubeTensor) -> CubeTensor {
        let gate_up = into_contiguous(gate_up);
        let (rows, columns) = (gate_up.shape()[0], gate_up.shape()[1] / 2);
        let out = empty_like(&gate_up, Shape::new([rows, columns]), gate_up.dtype);
        let numbers = rows * columns;
        if numbers == 0 {
            return out;
        }
        let ((count, dim), client) = (cubes(&gate_up, numbers), gate_up.client.clone());
        let number = float(&gate_up);
        let (source, target) = (gate_up.into_tensor_arg(), out.clone().into_tensor_arg());
        kernels::gated::launch(&client, count, dim, source, target, numbers, columns, number);
        out
    }
}

impl GpuBack for CubeBackend {
    fn gpu_product(left: CubeTensor, right: CubeTensor, turns: Turns) -> CubeTensor {
        gemm::product(&left, &right, None, turns).unwrap_or_else(|| own_product(left, right, turns))
    }

    fn gpu_product_added(
        sum: CubeTensor,
        left: CubeTensor,
        right: CubeTensor,
        turns: Turns,
    ) -> CubeTensor {
        use burn::backend::ops::FloatTensorOps;
        gemm::product(&left, &right, Some(&sum), turns).unwrap_or_else(|| {
            let product = own_product(left, right, turns);
            let product = match sum.dtype == product.dtype {
                true => product,
                false => burn_cubecl::kernel::cast(product, sum.dtype),
            };
            Self::float_add(sum, product)
        })
    }

    fn gpu_norm_back(
        x: CubeTensor,
        weight: CubeTensor,
        gradient: CubeTensor,
        epsilon: f32,
    ) -> (CubeTensor, CubeTensor) {
        let [x, weight, gradient] = [x, weight, gradient].map(into_contiguous);
        let of_x = empty_like(&x, x.shape(), x.dtype);
        let of_weight = empty_like(&x, x.shape(), DType::F32);
        let (rows, columns) = (x.shape()[0], x.shape()[1]);
        if rows == 0 {
            return (of_x, of_weight);
        }
        let ((count, dim), client, number) = (row_cubes(rows), x.client.clone(), float(&x));
        kernels::norm_back::launch(
            &client,
            count,
            dim,
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            gradient.into_tensor_arg(),
            of_x.clone().into_tensor_arg(),
            of_weight.clone().into_tensor_arg(),
            columns,
            epsilon,
            number,
        );
        (of_x, of_weight)
    }

    fn gpu_gated_back(gate_up: CubeTensor, gradient: CubeTensor) -> CubeTensor {
        let [gate_up, gradient] = [gate_up, gradient].map(into_contiguous);
        let out = empty_like(&gate_up, gate_up.shape(), gate_up.dtype);
        let (numbers, columns) = (gradient.shape().num_elements(), gradient.shape()[1]);
        if numbers == 0 {
            return out;
        }
        let ((count, dim), client) = (cubes(&gate_up, numbers), gate_up.client.clone());
        let number = float(&gate_up);
        kernels::gated_back::launch(
            &client,
            count,
            dim,
            gate_up.into_tensor_arg(),
            gradient.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            numbers,
            columns,
            number,
        );
        out
    }

    fn gpu_write_pages(
        qkv: CubeTensor,
        places: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        heads: Heads,
    ) -> (CubeTensor, CubeTensor) {
        let (qkv, places) = (into_contiguous(qkv), into_contiguous(places));
        let numbers = qkv.shape()[0] * heads.kv_width();
        let ((count, dim), client) = (cubes(&qkv, numbers), qkv.client.clone());
        let number = float(&qkv);
        kernels::write_pages::launch(
            &client,
            count,
            dim,
            qkv.into_tensor_arg(),
            places.into_tensor_arg(),
            keys.clone().into_tensor_arg(),
            values.clone().into_tensor_arg(),
            numbers,
            heads.query_width(),
            BLOCK_TOKENS,
            heads.kv,
            heads.size,
            number,
        );
        (keys, values)
    }

    fn gpu_attend_pages(
        qkv: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        table: CubeTensor,
        lengths: CubeTensor,
    ) -> CubeTensor {
        paged::attend(qkv, (keys, values), (table, lengths))
    }

    fn gpu_refill(target: CubeTensor, source: CubeTensor) -> CubeTensor {
        refill(target, source)
    }

    fn gpu_refill_int(target: CubeTensor, source: CubeTensor) -> CubeTensor {
        refill(target, source)
    }

    fn gpu_adamw(
        weight: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        gradient: CubeTensor,
        factors: CubeTensor,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [weight, first, second, gradient] =
            [weight, first, second, gradient].map(into_contiguous);
        let numbers = weight.shape().num_elements();
        let ((count, dim), client) = (cubes(&weight, numbers), weight.client.clone());
        let number = float(&gradient);
        kernels::adamw::launch(
            &client,
            count,
            dim,
            weight.clone().into_tensor_arg(),
            first.clone().into_tensor_arg(),
            second.clone().into_tensor_arg(),
            gradient.into_tensor_arg(),
            numbers,
            factors.into_tensor_arg(),
            number,
        );
        (weight, first, second)
    }
}

/// burn's own product.
fn own_product(left: CubeTensor, right: CubeTensor, turns: Turns) -> CubeTensor {
    use burn::backend::ops::FloatTensorOps;
    let turn = |turns: bool, x| if turns { CubeBackend::float_transpose(x) } else { x };
    CubeBackend::float_matmul(turn(turns.left, left), turn(turns.right, right))
}

fn refill(target: CubeTensor, source: CubeTensor) -> CubeTensor {
    let source = into_contiguous(source);
    let numbers = target.shape().num_elements();
    let ((count, dim), client) = (cubes(&target, numbers), target.client.clone());
    let number = dtype_to_storage_type(target.dtype);
    let (from, to) = (source.into_tensor_arg(), target.clone().into_tensor_arg());
    kernels::copy::launch(&client, count, dim, from, to, numbers, number);
    target
}
