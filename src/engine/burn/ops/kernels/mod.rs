//! What the fused operations do, on slices: pure functions, row-major matrices.

pub(crate) mod attention;
pub(crate) mod cross_entropy;
pub(crate) mod gated;
mod keys;
pub(crate) mod matrix;
pub(crate) mod norm;
pub(crate) mod optimizer;
pub(crate) mod paged;
pub(crate) mod product;
pub(crate) mod rotate;
mod vector;

/// So many numbers of a kernel that writes all of them: nobody has to clear them before.
#[expect(unsafe_code, reason = "numbers exist only after the kernel")]
fn written(count: usize, kernel: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(count);
    let room = values.spare_capacity_mut();
    // SAFETY: there is room for them; kernels write every number, and read none before.
    kernel(unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), count) });
    // SAFETY: as above.
    unsafe { values.set_len(count) };
    values
}

/// Rows that one task takes: fixed, so that sums over rows do not depend on the number of threads.
const TASK_ROWS: usize = 256;
