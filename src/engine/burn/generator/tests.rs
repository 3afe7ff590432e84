//! Whatever a step is made of, a sequence's logits are the same.

use std::time::Duration;

use super::BurnGenerator;
use crate::burn::cache;
use crate::burn::decoder::Heads;
use crate::burn::device::{self, Place};
use crate::burn::ops::Kernels;
use crate::burn::plan::Plan;
use crate::burn::source::Source;
use crate::burn::tests::{check_close, config, place};
use crate::burn::weights::Model;
use crate::worker::{Event, Events, Request, Worker};
use crate::{BLOCK_TOKENS, CacheType, Error, Generator, Piece, Room, Sampling};

/// Sequences and the blocks that a test gives them, scattered over the cache.
struct Tables(Vec<Vec<u32>>);

impl Tables {
    fn new(sequences: u32, tokens: usize) -> Self {
        let blocks = tokens.div_ceil(BLOCK_TOKENS) as u32;
        let block = |sequence: u32, at: u32| (at * sequences + sequence) ^ 1;
        let table = |sequence| (0..blocks).map(|at| block(sequence, at)).collect();
        Self((0..sequences).map(table).collect())
    }

    /// Some tokens of a sequence of its ids; logits after the last `wanted` of them.
    fn piece<'a>(
        &'a self,
        sequence: usize,
        ids: &'a [u32],
        range: std::ops::Range<usize>,
        wanted: usize,
    ) -> Piece<'a> {
        let logits = range.len() - wanted..range.len();
        Piece { start: range.start, tokens: &ids[range], blocks: &self.0[sequence], logits }
    }
}

fn generator(heads: (usize, usize), kernels: Kernels, room: Room) -> BurnGenerator {
    let config = config(heads.0, heads.1, true);
    open(&config, Place { kernels, ..place() }, room)
}

fn open(config: &serde_json::Value, place: Place, room: Room) -> BurnGenerator {
    let mut model = Model::random(config, 5).unwrap();
    let source = Source::values_of(&std::mem::take(&mut model.values));
    let plan = Plan::new(&model.config, 0, room, None).unwrap();
    BurnGenerator::new(vec![place], model, &source, (plan, room)).unwrap()
}

fn ids(count: usize, step: usize) -> Vec<u32> {
    (0..count).map(|at| (at * step % 61) as u32).collect()
}

#[test]
fn the_cache_gives_the_logits_of_the_whole_sequence() {
    for kernels in [Kernels::Fused, Kernels::Plain] {
        for heads in [(4, 2), (6, 1), (3, 3)] {
            let mut generator = generator(heads, kernels, Room::default());
            let (ids, tables) = (ids(300, 11), Tables::new(4, 300));
            let whole = generator.logits(&ids).unwrap();
            let row = |at: usize| &whole[at * 61..(at + 1) * 61];
            let pieces = [tables.piece(3, &ids, 0..7, 7), tables.piece(0, &ids, 0..250, 1)];
            let first = generator.step(&pieces).unwrap();
            for (at, logits) in first[..7].iter().enumerate() {
                check_close("the short prompt", logits, row(at), 1e-5);
            }
            check_close("the long prompt", &first[7], row(249), 1e-5);
            for step in 0..20 {
                let short = 7 + 3 * step..10 + 3 * step;
                let pieces = [
                    tables.piece(0, &ids, 250 + step..251 + step, 1),
                    tables.piece(3, &ids, short.clone(), 1),
                    tables.piece(1, &ids, step..step + 1, 0),
                ];
                let next = generator.step(&pieces).unwrap();
                assert_eq!(next.len(), 2);
                check_close("decode long", &next[0], row(250 + step), 1e-5);
                check_close("short in pieces", &next[1], row(short.end - 1), 1e-5);
            }
        }
    }
}

#[test]
fn steps_of_one_token_each_are_filled_up_and_give_the_same_logits() {
    let mut generator = generator((4, 2), Kernels::Plain, Room::default());
    let (ids, tables) = (ids(90, 7), Tables::new(4, 90));
    let whole = generator.logits(&ids).unwrap();
    for sequence in 0..3 {
        let prompt = tables.piece(sequence, &ids, 0..40 + 7 * sequence, 0);
        assert!(generator.step(&[prompt]).unwrap().is_empty());
    }
    for step in 0..20 {
        let at = |sequence: usize| 40 + 7 * sequence + step;
        let piece = |sequence| tables.piece(sequence, &ids, at(sequence)..at(sequence) + 1, 1);
        let pieces: Vec<Piece<'_>> = (0..3).map(piece).collect();
        let logits = generator.step(&pieces).unwrap();
        assert_eq!(logits.len(), 3);
        for (sequence, logits) in logits.iter().enumerate() {
            let row = at(sequence) * 61;
            check_close("a filled up step", logits, &whole[row..row + 61], 1e-5);
        }
    }
}

/// A sequence's logits after its last token, its tokens given in pieces of these lengths with
/// `others` beside it.
fn in_pieces(
    generator: &mut BurnGenerator,
    ids: &[u32],
    lengths: &[usize],
    others: usize,
) -> Vec<f32> {
    let tables = Tables::new(others as u32 + 1, ids.len());
    let mut start = 0;
    let mut last = Vec::new();
    for length in lengths.iter().cycle() {
        let end = (start + length).min(ids.len());
        // In the middle of the batch, between sequences that are elsewhere.
        let mut pieces: Vec<Piece<'_>> = (1..=others)
            .map(|other| tables.piece(other, ids, start / 2..start / 2 + 1 + other % 3, 1))
            .collect();
        pieces.insert(others / 2, tables.piece(0, ids, start..end, 1));
        last = generator.step(&pieces).unwrap().swap_remove(others / 2);
        start = end;
        if start == ids.len() {
            return last;
        }
    }
    last
}

#[test]
fn logits_are_bit_for_bit_the_same_in_any_batch_and_cut_into_any_pieces() {
    for (cache_type, heads) in [
        (CacheType::F32, (4, 2)),
        (CacheType::Bf16, (4, 2)),
        (CacheType::F32, (6, 1)),
        (CacheType::F32, (3, 3)),
    ] {
        let room = Room { cache_type, ..Room::default() };
        let mut generator = generator(heads, Kernels::Fused, room);
        let ids = ids(150, 7);
        let alone = in_pieces(&mut generator, &ids, &[150], 0);
        for (lengths, others) in [
            (&[1][..], 0),
            (&[16], 0),
            (&[7, 30, 2], 0),
            (&[150], 3),
            (&[64, 1, 1, 9], 1),
            (&[33], 31),
            (&[1], 7),
            (&[100, 50], 40),
        ] {
            let logits = in_pieces(&mut generator, &ids, lengths, others);
            assert!(logits == alone, "{cache_type:?} {heads:?} {lengths:?} with {others} others");
        }
    }
}

#[test]
fn a_long_sequence_reads_its_cache_segment_by_segment() {
    let mut config = config(4, 2, true);
    config["max_position_embeddings"] = 2000.into();
    let with = |cache_type| {
        let room = Room { cache_type, ..Room::default() };
        open(&config, place(), room)
    };
    let ids = ids(1300, 13);
    let mut generator = with(CacheType::F32);
    let whole = generator.logits(&ids).unwrap();
    let alone = in_pieces(&mut generator, &ids, &[512], 0);
    check_close("in f32", &alone, &whole[1299 * 61..], 2e-5);
    for (lengths, others) in [(&[1299, 1][..], 0), (&[509], 5), (&[1200, 1], 1)] {
        assert!(in_pieces(&mut generator, &ids, lengths, others) == alone, "{lengths:?}");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let logits = pool.install(|| in_pieces(&mut generator, &ids, &[1299, 1], 0));
        assert!(logits == alone, "on {threads} threads");
    }
    let halved = in_pieces(&mut with(CacheType::Bf16), &ids, &[512], 0);
    assert!(halved != alone);
    check_close("in bf16", &halved, &alone, 0.05);
}

/// The rows of a product with a weight of this shape, of which the first is always the same, for
/// some numbers of rows.
#[test]
fn a_product_has_the_same_rows_however_many_there_are() {
    for (outputs, inputs) in
        [(1152, 896), (9728, 896), (896, 4864), (512, 128), (61, 32), (48, 1500)]
    {
        let number = |at: usize| ((at * 7919 % 1009) as f32 - 504.0) / 300.0;
        let matrix = |rows: usize, columns: usize, from: usize| {
            let values = (0..rows * columns).map(|at| number(at + from)).collect();
            device::matrix(values, [rows, columns], &place().device)
        };
        let weight = matrix(outputs, inputs, 3);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let mut first = None;
        for rows in [1, 2, 3, 7, 8, 9, 16, 31, 64, 65, 100, 256, 512] {
            let product = || Kernels::Fused.linear(matrix(rows, inputs, 0), weight.clone());
            let row = device::numbers(product().narrow(0, 0, 1));
            let expected = first.get_or_insert_with(|| row.clone());
            assert!(row == *expected, "{outputs} by {inputs} with {rows} rows");
            let alone = device::numbers(one.install(product).narrow(0, 0, 1));
            assert!(alone == *expected, "{outputs} by {inputs} with {rows} rows on one thread");
        }
    }
}

#[test]
fn a_piece_that_cannot_be_is_refused() {
    let mut generator = generator((4, 2), Kernels::Fused, Room::default());
    let (ids, tables) = (vec![1; 600], Tables::new(1, 600));
    for piece in [
        tables.piece(0, &ids, 0..600, 1),
        tables.piece(0, &[61], 0..1, 1),
        Piece { tokens: &ids[..17], start: 0, blocks: &[0], logits: 0..0 },
        Piece { tokens: &ids[..1], start: 0, blocks: &[1 << 30], logits: 0..0 },
        Piece { tokens: &ids[..1], start: 0, blocks: &[0], logits: 0..2 },
        Piece { tokens: &[], start: 0, blocks: &[0], logits: 0..0 },
    ] {
        let result = generator.step(std::slice::from_ref(&piece));
        assert!(matches!(result, Err(Error::BadInput(_))), "{piece:?}");
    }
    assert!(generator.logits(&[0; 513]).is_err());
}

/// The tokens of an answer.
fn answer(worker: &Worker, request: &Request) -> Events {
    worker.submit(request.clone()).unwrap()
}

fn tokens(events: &Events) -> Vec<u32> {
    let mut tokens = Vec::new();
    loop {
        match events.recv_timeout(Duration::from_secs(60)).unwrap() {
            Event::Token(token) => tokens.push(token.id),
            Event::Prompt(_) => {}
            Event::Finished { .. } => return tokens,
            Event::Failed(why) => panic!("{why}"),
        }
    }
}

fn request(number: usize) -> Request {
    let sampling = Sampling {
        temperature: 1.0,
        top_p: 0.95,
        presence_penalty: 0.1 * (number % 3) as f32,
        seed: number as u64,
        max_tokens: 40 + number % 13,
        ignore_eos: true,
        ..Sampling::default()
    };
    Request { prompt: ids(3 + number * 5 % 60, 1 + number), sampling }
}

#[test]
fn same_request_and_seed_give_the_same_tokens_alone_together_preempted_and_restarted() {
    let worker = |blocks: u64| {
        let heads = Heads { query: 4, kv: 2, size: 8 };
        let block = cache::block_bytes(2, heads, CacheType::F32);
        let room = Room { cache_bytes: Some(blocks * block), ..Room::default() };
        Worker::start(Box::new(generator((4, 2), Kernels::Fused, room))).unwrap()
    };
    let requests: Vec<Request> = (0..32).map(request).collect();
    let first = worker(1000);
    let alone: Vec<Vec<u32>> = requests.iter().map(|one| tokens(&answer(&first, one))).collect();
    // Another engine: nothing is left of the first.
    let second = worker(1000);
    let together: Vec<Events> = requests.iter().map(|one| answer(&second, one)).collect();
    for (number, (events, alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!(&tokens(events), alone, "request {number} in a batch of 32");
    }
    assert_eq!(second.load().preemptions, 0);
    // Too few blocks for all: some give way again and again.
    let narrow = worker(20);
    let together: Vec<Events> = requests.iter().map(|one| answer(&narrow, one)).collect();
    for (number, (events, alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!(&tokens(events), alone, "request {number} with few blocks");
    }
    let load = narrow.load();
    assert!(load.preemptions > 5, "{load:?}");
    assert!(alone.windows(2).any(|pair| pair[0] != pair[1]));
}
