//! Attention beside the plain way, sequence by sequence.

use super::*;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mixed = |at: u32| (at.wrapping_mul(2_654_435_761) ^ seed).wrapping_mul(0x85eb_ca6b) >> 8;
    (0..count as u32).map(|at| mixed(at) as f32 / 8_388_608.0 - 1.0).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_sequence_is_the_same_alone_as_beside_others_and_on_every_processor() {
    let heads = Heads { query: 4, kv: 2, size: 40 };
    let (width, out_width) = (width(heads), heads.query_width());
    let mut end = 0;
    let ranges: Vec<Range<usize>> = [1, 7, 0, 97, 300]
        .map(|length| {
            end += length;
            end - length..end
        })
        .to_vec();
    let (qkv, gradient) = (numbers(end * width, 1), numbers(end * out_width, 2));
    let (out, of_qkv) = (forward(&qkv, &ranges, heads), backward(&qkv, &gradient, &ranges, heads));
    for path in Path::available() {
        let mut again = vec![0.0; out.len()];
        run(*path, (&qkv, &[]), &mut again, &ranges, heads);
        assert!(bits(&again) == bits(&out), "{path:?} forward");
        let mut again = vec![0.0; of_qkv.len()];
        run(*path, (&qkv, &gradient), &mut again, &ranges, heads);
        assert!(bits(&again) == bits(&of_qkv), "{path:?} backward");
    }
    for range in ranges {
        let own = &qkv[range.start * width..range.end * width];
        let slopes = &gradient[range.start * out_width..range.end * out_width];
        let whole = 0..range.len();
        let whole = std::slice::from_ref(&whole);
        let alone = forward(own, whole, heads);
        assert!(bits(&alone) == bits(&out[range.start * out_width..range.end * out_width]));
        let alone = backward(own, slopes, whole, heads);
        assert!(bits(&alone) == bits(&of_qkv[range.start * width..range.end * width]));
    }
}
