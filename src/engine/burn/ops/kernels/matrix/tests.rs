//! Products beside the plain way: every shape of tile, every instruction path.

use super::*;

/// Numbers without a pattern, between -1 and 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mixed = |at: u32| (at.wrapping_mul(2_654_435_761) ^ seed).wrapping_mul(0x85eb_ca6b) >> 8;
    (0..count as u32).map(|at| mixed(at) as f32 / 8_388_608.0 - 1.0).collect()
}

/// A matrix and the same turned, as views of one matrix.
fn both<'a>(
    values: &'a [f32],
    turned: &'a mut Vec<f32>,
    (rows, columns): (usize, usize),
) -> [View<'a>; 2] {
    *turned = (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect();
    [View::whole(values, columns), View::whole(turned, rows).transposed()]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What a number is defined to be: parts of the depth, each a chain of fused multiply-adds.
fn defined(left: View<'_>, right: View<'_>) -> Vec<f32> {
    let depth = left.columns;
    let each = depth.div_ceil(depth.div_ceil(DEPTH));
    let number = |at: usize| {
        let (row, column) = (at / right.columns, at % right.columns);
        let mut sum = None;
        for start in (0..depth).step_by(each) {
            let part = (start..(start + each).min(depth)).fold(0.0_f32, |sum, at| {
                let left = left.values[row * left.row_stride + at * left.column_stride];
                let right = right.values[at * right.row_stride + column * right.column_stride];
                right.mul_add(left, sum)
            });
            sum = Some(sum.map_or(part, |sum: f32| sum + part));
        }
        sum.unwrap_or(0.0)
    };
    (0..left.rows * right.columns).map(number).collect()
}

#[test]
fn a_product_is_the_same_whichever_side_is_turned_and_on_every_processor() {
    for (rows, depth, columns) in
        [(1, 1, 1), (7, 129, 47), (9, 300, 96), (150, 128, 49), (300, 40, 500)]
    {
        let (left, right) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
        let (mut left_turned, mut right_turned) = (Vec::new(), Vec::new());
        let lefts = both(&left, &mut left_turned, (rows, depth));
        let rights = both(&right, &mut right_turned, (depth, columns));
        let wanted = bits(&defined(lefts[0], rights[0]));
        for (left, right) in
            lefts.iter().flat_map(|left| rights.iter().map(move |right| (*left, *right)))
        {
            for path in Path::available() {
                let mut values = vec![f32::NAN; rows * columns];
                let start = values.as_mut_ptr();
                let out = Out { start, stride: columns, to: std::ptr::null() };
                run(*path, out, left, right);
                assert!(bits(&values) == wanted, "{path:?} {rows} × {depth} × {columns}");
            }
            assert!(bits(&multiplied(left, right)) == wanted, "{rows} × {depth} × {columns}");
        }
    }
}

#[test]
fn a_row_is_the_same_beside_any_others_and_on_any_number_of_threads() {
    let (rows, depth, columns) = (270, 200, 100);
    let (left, right) = (numbers(rows * depth, 3), numbers(depth * columns, 4));
    let right = View::whole(&right, depth).transposed();
    let all = multiplied(View::whole(&left, depth), right);
    for (from, to) in [(0, 1), (5, 14), (100, 270)] {
        let some = multiplied(View::whole(&left[from * depth..to * depth], depth), right);
        assert!(bits(&some) == bits(&all[from * columns..to * columns]), "rows {from} to {to}");
    }
    for threads in [1, 2, 3, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let again = pool.install(|| multiplied(View::whole(&left, depth), right));
        assert!(bits(&again) == bits(&all), "{threads} threads");
    }
}

#[test]
fn a_product_is_added_to_what_is_there_and_a_sum_of_nothing_is_nothing() {
    let (left, right) = (numbers(10 * 300, 5), numbers(300 * 50, 6));
    let (left, right) = (View::whole(&left, 300), View::whole(&right, 50));
    let plain = multiplied(left, right);
    let mut sum = vec![1.0; 10 * 50];
    add_product(&mut sum, left, right);
    assert!(sum.iter().zip(&plain).all(|(sum, plain)| (sum - 1.0 - plain).abs() < 1e-5));
    let again = multiplied_added(&[1.0; 10 * 50], left, right);
    assert!(bits(&again) == bits(&sum), "the sum may be elsewhere");
    let none = View::whole(&[], 0);
    let (left, right) = (View { rows: 10, ..none }, View { columns: 50, ..none });
    let before = sum.clone();
    add_product(&mut sum, left, right);
    assert_eq!(sum, before);
    assert_eq!(multiplied(left, right), vec![0.0; 10 * 50]);
    assert_eq!(multiplied_added(&before, left, right), before);
}
