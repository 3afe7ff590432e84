//! Matrix products on the processor, on slices.
//!
//! The `gemm` crate is what burn's own products run on; called directly it adds to what is there
//! and takes parts of matrices without copying them.

use gemm::Parallelism;

/// Below this many multiplications a product stays on its thread.
const PARALLEL_MIN: usize = 192 * 192 * 192;

/// A matrix in a slice: rows, columns, and how far apart they are.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> View<'a> {
    /// A whole matrix, row by row.
    pub(crate) fn whole(values: &'a [f32], columns: usize) -> Self {
        Self::part(values, values.len() / columns.max(1), columns, columns)
    }

    /// Columns of a wider matrix: `rows` rows that begin `row_stride` apart.
    pub(crate) fn part(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Rows for columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Whether all of it lies inside its slice.
    pub(crate) fn is_inside(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
                < self.values.len()
    }
}

/// Where a product goes: rows `row_stride` apart, added to what is there or not.
pub(crate) struct Target<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) row_stride: usize,
    pub(crate) add: bool,
}

impl<'a> Target<'a> {
    /// Overwrites.
    pub(crate) fn set(values: &'a mut [f32], row_stride: usize) -> Self {
        Self { values, row_stride, add: false }
    }

    /// Adds to what is there.
    pub(crate) fn add(values: &'a mut [f32], row_stride: usize) -> Self {
        Self { values, row_stride, add: true }
    }
}

/// `target (+)= scale * left · right`.
#[expect(unsafe_code, reason = "the gemm crate takes pointers")]
pub(crate) fn product(target: Target<'_>, left: View<'_>, right: View<'_>, scale: f32) {
    let Target { values, row_stride, add } = target;
    let (rows, columns, depth) = (left.rows, right.columns, left.columns);
    assert_eq!(depth, right.rows, "the inner sizes of a product agree");
    assert!(left.is_inside() && right.is_inside(), "the operands lie inside their slices");
    if rows == 0 || columns == 0 {
        return;
    }
    let last = (rows - 1) * row_stride + columns - 1;
    assert!(last < values.len(), "the product lies inside its slice");
    assert!(row_stride >= columns || rows == 1, "rows of the product do not overlap");
    let parallel = rows * columns * depth >= PARALLEL_MIN && rayon::current_num_threads() > 1;
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: the three matrices lie inside their slices (asserted above), the target is borrowed
    // mutably and its rows do not overlap.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            values.as_mut_ptr(),
            1,
            row_stride as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
