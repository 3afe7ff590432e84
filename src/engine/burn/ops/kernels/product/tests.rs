//! Products of every kind and path beside sums in f64.

use super::path::Path;
use super::*;

/// Numbers between -1 and 1 that look random.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

const KINDS: [Kind; 5] = [Kind::F32, Kind::F16, Kind::Bf16, Kind::Bf16Rounded, Kind::Int8];

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn packed(kind: Kind, shape: [usize; 2], values: &[f32]) -> Packed {
    let bytes = bytes_of(values);
    let segment = segment(0..shape[0], shape[1], (&bytes, Kind::F32));
    Packed::new(kind, shape, &[segment])
}

/// Whole rows of so many numbers.
fn segment<'a>(
    rows: std::ops::Range<usize>,
    width: usize,
    (bytes, kind): (&'a [u8], Kind),
) -> Segment<'a> {
    Segment { rows, bytes, width, first: 0, kind }
}

fn on(path: Path, x: &[f32], weight: &Packed) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / weight.inputs() * weight.outputs()];
    product_on(path, &mut out, x, weight, Then::Set);
    out
}

/// The numbers that a packed weight stands for.
fn unpacked(weight: &Packed) -> Vec<f32> {
    let mut values = vec![0.0; weight.outputs() * weight.inputs()];
    let rows = values.chunks_exact_mut(weight.inputs()).enumerate();
    rows.for_each(|(row, out)| weight.row(row, out));
    values
}

/// Shapes with and without whole panels, pairs, blocks and parts.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 64, 64),
    (2, 65, 31),
    (3, 48, 33),
    (5, 130, 512),
    (7, 200, 515),
    (8, 64, 1100),
    (13, 70, 96),
    (200, 96, 160),
];

/// The largest difference from the sum in f64, in units of the sum of absolute products.
fn error(got: &[f32], x: &[f32], weight: &[f32], inputs: usize) -> f64 {
    let outputs = weight.len() / inputs;
    let mut worst = 0.0_f64;
    for (x, got) in x.chunks_exact(inputs).zip(got.chunks_exact(outputs)) {
        for (weight, got) in weight.chunks_exact(inputs).zip(got) {
            let products = || x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let size: f64 = products().map(f64::abs).sum();
            worst = worst.max((f64::from(*got) - products().sum::<f64>()).abs() / size.max(1e-30));
        }
    }
    worst
}

#[test]
fn every_path_is_as_good_as_its_type_allows() {
    for path in Path::available() {
        for (rows, outputs, inputs) in SHAPES {
            let x = numbers(rows * inputs, 1);
            let values = numbers(outputs * inputs, 2);
            for kind in KINDS {
                let weight = packed(kind, [outputs, inputs], &values);
                let error = error(&on(*path, &x, &weight), &x, &unpacked(&weight), inputs);
                // Sums of up to 512 in f32; activations of 8 bits, and of 7 behind the point.
                let bound = match kind {
                    Kind::Bf16Rounded if path.has_bf16_products() => 1.0 / 256.0,
                    Kind::F32 | Kind::F16 | Kind::Bf16 | Kind::Bf16Rounded => 2e-6,
                    Kind::Int8 => 1.0 / 127.0,
                };
                assert!(error <= bound, "{path:?} {kind:?} {rows}x{outputs}x{inputs}: {error}");
            }
        }
    }
}

#[test]
fn every_path_gives_the_same_bits() {
    for (rows, outputs, inputs) in SHAPES {
        let x = numbers(rows * inputs, 3);
        let values = numbers(outputs * inputs, 4);
        for kind in [Kind::F32, Kind::F16, Kind::Bf16, Kind::Int8] {
            let weight = packed(kind, [outputs, inputs], &values);
            let right = on(Path::Portable, &x, &weight);
            for path in Path::available() {
                let got = on(*path, &x, &weight);
                assert_eq!(got, right, "{path:?} {kind:?} {rows}x{outputs}x{inputs}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_in_a_batch_and_on_more_threads() {
    let (rows, outputs, inputs) = (400, 192, 1056);
    let x = numbers(rows * inputs, 5);
    let values = numbers(outputs * inputs, 6);
    let threads = |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
    let (one, three) = (threads(1), threads(3));
    for kind in KINDS {
        let weight = packed(kind, [outputs, inputs], &values);
        for path in Path::available().iter().filter(|path| **path != Path::Portable) {
            let whole = one.install(|| on(*path, &x, &weight));
            assert_eq!(three.install(|| on(*path, &x, &weight)), whole);
            for (first, count) in [(0, 1), (1, 2), (3, 4), (191, 2), (100, 5), (7, 8), (8, 300)] {
                let part = on(*path, &x[first * inputs..][..count * inputs], &weight);
                let right = &whole[first * outputs..][..count * outputs];
                assert!(part == right, "{path:?} {kind:?}: rows {first}+{count}");
            }
        }
    }
}

#[test]
fn packing_keeps_every_number_that_its_type_can() {
    for (_, outputs, inputs) in SHAPES {
        let values = numbers(outputs * inputs, 7);
        for kind in KINDS {
            for (value, kept) in
                values.iter().zip(unpacked(&packed(kind, [outputs, inputs], &values)))
            {
                let bound = match kind {
                    Kind::F32 => 0.0,
                    Kind::F16 => value.abs() / 2048.0,
                    Kind::Bf16 | Kind::Bf16Rounded => value.abs() / 256.0,
                    Kind::Int8 => 1.01 / 254.0,
                };
                assert!((value - kept).abs() <= bound, "{kind:?}: {value} became {kept}");
            }
        }
    }
}

#[test]
fn columns_of_a_wider_matrix_are_packed_as_if_they_were_alone() {
    let (outputs, width) = (70, 96);
    let values = numbers(outputs * width, 9);
    let bytes = bytes_of(&values);
    for (kind, columns) in KINDS.into_iter().flat_map(|kind| [0..32, 32..96].map(|c| (kind, c))) {
        let inputs = columns.len();
        let alone: Vec<f32> =
            values.chunks(width).flat_map(|row| row[columns.clone()].to_vec()).collect();
        let whole = segment(0..outputs, width, (&bytes, Kind::F32));
        let part =
            Packed::new(kind, [outputs, inputs], &[Segment { first: columns.start, ..whole }]);
        assert_eq!(unpacked(&part), unpacked(&packed(kind, [outputs, inputs], &alone)));
    }
}

#[test]
fn a_sum_in_parts_has_the_bits_of_the_sums_of_its_parts() {
    let (outputs, width, bounds) = (70, 640, [0, 64, 224, 288, 640]);
    let values = numbers(outputs * width, 13);
    let bytes = bytes_of(&values);
    for (rows, kind) in [1, 7, 40].into_iter().flat_map(|rows| KINDS.map(|kind| (rows, kind))) {
        let x = numbers(rows * width, 14);
        let segment = |first| Segment { first, ..segment(0..outputs, width, (&bytes, Kind::F32)) };
        let whole = Packed::new(kind, [outputs, width], &[segment(0)]).summed_in(bounds.to_vec());
        for path in Path::available() {
            let part = |ends: &[usize]| {
                let inputs = ends[1] - ends[0];
                let weight = Packed::new(kind, [outputs, inputs], &[segment(ends[0])]);
                let x: Vec<f32> =
                    x.chunks(width).flat_map(|row| row[ends[0]..ends[1]].to_vec()).collect();
                on(*path, &x, &weight)
            };
            let parts: Vec<Vec<f32>> = bounds.windows(2).map(part).collect();
            for (at, sum) in on(*path, &x, &whole).iter().enumerate() {
                let pairs = (parts[0][at] + parts[1][at]) + (parts[2][at] + parts[3][at]);
                assert_eq!(*sum, pairs, "{path:?} {kind:?} {rows} rows");
            }
        }
    }
}

#[test]
fn types_of_files_are_packed_as_they_are() {
    let values = numbers(70 * 33, 8);
    let f16: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let bf16: Vec<u8> =
        values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    for (from, bytes) in [(Kind::F16, &f16), (Kind::Bf16, &bf16)] {
        let (upper, lower) = bytes.split_at(20 * 33 * 2);
        let segments = [segment(0..20, 33, (upper, from)), segment(20..70, 33, (lower, from))];
        let same = unpacked(&Packed::new(from, [70, 33], &segments));
        assert_eq!(unpacked(&Packed::new(Kind::F32, [70, 33], &segments)), same);
        for (value, kept) in values.iter().zip(same) {
            assert!((value - kept).abs() <= value.abs() / 256.0);
        }
    }
}

#[test]
fn residuals_and_gates_are_as_if_done_after() {
    let (rows, outputs, inputs) = (3, 140, 96);
    let x = numbers(rows * inputs, 9);
    let values = numbers(outputs * inputs, 10);
    let before = numbers(rows * outputs, 12);
    for kind in KINDS {
        let weight = packed(kind, [outputs, inputs], &values);
        let plain = on(Path::best(), &x, &weight);
        let mut added = before.clone();
        product(&mut added, &x, &weight, Then::Add);
        for (at, plain) in plain.iter().enumerate() {
            assert_eq!(added[at], before[at] + plain);
        }
        let bytes = bytes_of(&values);
        let segment = segment(0..outputs, inputs, (&bytes, Kind::F32));
        let weight = Packed::gated(kind, [outputs, inputs], &[segment]);
        let mut gated = vec![0.0; rows * outputs / 2];
        product(&mut gated, &x, &weight, Then::Gate);
        for (gated, plain) in gated.chunks_exact(outputs / 2).zip(plain.chunks_exact(outputs)) {
            for (at, gated) in gated.iter().enumerate() {
                assert_eq!(*gated, plain[at] * sigmoid(plain[at]) * plain[at + outputs / 2]);
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for kind in KINDS {
        for path in Path::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let weight = packed(kind, [65, 64], &numbers(65 * 64, 13));
                let mut x = numbers(3 * 64, 14);
                x[64 + 40] = bad;
                let out = on(*path, &x, &weight);
                let finite =
                    |row: usize| out[row * 65..][..65].iter().filter(|v| v.is_finite()).count();
                assert_eq!((finite(0), finite(1), finite(2)), (65, 0, 65), "{path:?} {kind:?}");
            }
            let mut values = numbers(65 * 64, 15);
            values[64 * 3 + 7] = f32::NAN;
            let out = on(*path, &numbers(64, 16), &packed(kind, [65, 64], &values));
            assert!(out[3].is_nan() && out[4].is_finite(), "{path:?} {kind:?}");
        }
    }
}
