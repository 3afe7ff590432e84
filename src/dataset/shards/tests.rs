//! What is written is read back, and damage is found.

use std::fs;

use super::{Shards, Writer};
use crate::engine::{IGNORE, Sequence};

fn sequence(first: u32, tokens: u32) -> Sequence {
    let input_ids: Vec<u32> = (first..first + tokens).collect();
    let labels = input_ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
    Sequence { input_ids, labels: [vec![IGNORE; 2], labels[2..].to_vec()].concat() }
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("shards");
    let mut writer = Writer::new(&dir, "abc").unwrap();
    for id in 0..5 {
        writer.push(id * 10, &sequence(id as u32, 3 + id as u32), id == 4).unwrap();
    }
    writer.drop_example();
    let shards = writer.finish().unwrap();
    let counts = shards.counts();
    assert_eq!((counts.examples, counts.tokens, counts.trained_tokens), (5, 25, 15));
    assert_eq!((counts.truncated, counts.dropped, counts.largest_id), (1, 1, 10));
    assert_eq!(
        counts.told(),
        "5 examples of 25 tokens, of which 15 are trained on; 1 cut to train.cutoff_len; \
         1 left out, being longer than train.cutoff_len"
    );
    let again = Shards::open(&dir, "abc").unwrap().unwrap();
    for position in 0..5 {
        assert_eq!(again.get(position).unwrap(), sequence(position as u32, 3 + position as u32));
        assert_eq!(again.id(position), position as i64 * 10);
    }
    assert_eq!(again.hash(), shards.hash());
}

#[test]
fn shards_of_something_else_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("shards");
    assert!(Shards::open(&dir, "abc").unwrap().is_none());
    Writer::new(&dir, "abc").unwrap().finish().unwrap();
    assert!(Shards::open(&dir, "abd").unwrap().is_none());
    let mut writer = Writer::new(&dir, "abd").unwrap();
    writer.push(1, &sequence(0, 4), false).unwrap();
    assert_eq!(writer.finish().unwrap().len(), 1);
}

#[test]
fn a_flipped_bit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("shards");
    let mut writer = Writer::new(&dir, "abc").unwrap();
    writer.push(1, &sequence(0, 4), false).unwrap();
    writer.finish().unwrap();
    let path = dir.join("tokens-00000.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Shards::open(&dir, "abc").unwrap().unwrap().get(0).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    fs::write(&path, &bytes[1..]).unwrap();
    let error = Shards::open(&dir, "abc").unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    fs::write(&path, &bytes).unwrap();
    let mut index = fs::read(dir.join("index.bin")).unwrap();
    index[21] ^= 4;
    fs::write(dir.join("index.bin"), index).unwrap();
    let error = Shards::open(&dir, "abc").unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
}

#[test]
fn memory_and_files_hold_the_same() {
    let shards = Shards::from_memory(vec![(7, sequence(3, 5))], super::Counts::default());
    assert_eq!(shards.get(0).unwrap(), sequence(3, 5));
    assert_eq!((shards.id(0), shards.tokens(0), shards.trained_tokens(0)), (7, 5, 3));
}
