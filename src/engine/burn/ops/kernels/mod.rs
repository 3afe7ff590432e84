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

/// Rows that one task takes: fixed, so that sums over rows do not depend on the number of threads.
const TASK_ROWS: usize = 256;
