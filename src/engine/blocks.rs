//! Who holds which block of the cache, and which blocks hold beginnings that come again.
//!
//! A block holds the keys and values of [`size`](Blocks::size) tokens. Full blocks are remembered
//! under what they hold: their tokens and the [`Content`] before them, a chain from the first token
//! on. The map compares both, so a collision of hashes finds nothing wrong. A block that nobody
//! holds keeps its content until it is given out again, the longest unused first.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A block of the cache.
pub type Block = u32;

/// Names what a chain of full blocks holds. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content(u64);

impl Content {
    /// What stands before the first block: nothing.
    pub const EMPTY: Self = Self(0);
}

/// What a block holds: the tokens in it, after what stands before them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    before: Content,
    tokens: Box<[u32]>,
}

#[derive(Debug, Default)]
struct State {
    /// Sequences that hold it.
    holders: u32,
    /// When it was freed; orders the free ones.
    freed: u64,
    /// What it is remembered under.
    known: Option<Key>,
}

/// All blocks of a cache. `H` hashes what they hold; tests pass a bad one.
#[derive(Debug)]
pub struct Blocks<H = BuildHasherDefault<DefaultHasher>> {
    size: usize,
    states: Vec<State>,
    /// The blocks that nobody holds, the longest unused first.
    free: BTreeSet<(u64, Block)>,
    known: HashMap<Key, (Block, Content), H>,
    clock: u64,
    contents: u64,
}

impl<H: BuildHasher + Default> Blocks<H> {
    /// `count` blocks of `size` tokens, all free.
    ///
    /// # Panics
    /// If `size` is 0 or there are more blocks than [`Block`] can number.
    pub fn new(size: usize, count: usize) -> Self {
        assert!(size > 0, "a block holds at least a token");
        let numbers = 0..Block::try_from(count).expect("blocks are numbered in 32 bits");
        Self {
            size,
            states: (0..count).map(|_| State::default()).collect(),
            free: numbers.map(|block| (0, block)).collect(),
            known: HashMap::default(),
            clock: 0,
            contents: 0,
        }
    }

    /// Tokens in a block.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Blocks in all.
    pub fn count(&self) -> usize {
        self.states.len()
    }

    /// Blocks that nobody holds.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Takes a free block; what it was remembered for is forgotten.
    pub fn take(&mut self) -> Option<Block> {
        let (_, block) = self.free.pop_first()?;
        self.forget(block);
        self.states[block as usize].holders = 1;
        Some(block)
    }

    /// Lets a block go. One that holds nothing worth finding is the next to be given out: memory
    /// that was never used stays so for as long as possible.
    ///
    /// # Panics
    /// If nobody holds it.
    pub fn release(&mut self, block: Block) {
        let state = &mut self.states[block as usize];
        assert!(state.holders > 0, "block {block} is freed twice");
        state.holders -= 1;
        if state.holders == 0 {
            self.clock += 1;
            state.freed = if state.known.is_some() { self.clock } else { 0 };
            self.free.insert((state.freed, block));
        }
    }

    /// Remembers a full block under what it holds after `before`, unless another is already; gives
    /// the name of the content, by which the next block is remembered.
    pub fn remember(&mut self, block: Block, before: Content, tokens: &[u32]) -> Content {
        debug_assert_eq!(tokens.len(), self.size, "only full blocks are remembered");
        let key = Key { before, tokens: tokens.into() };
        if let Some((_, content)) = self.known.get(&key) {
            return *content;
        }
        self.contents += 1;
        let content = Content(self.contents);
        self.forget(block);
        self.states[block as usize].known = Some(key.clone());
        self.known.insert(key, (block, content));
        content
    }

    /// Forgets what a block holds: it may be wrong.
    pub fn forget(&mut self, block: Block) {
        if let Some(key) = self.states[block as usize].known.take() {
            self.known.remove(&key);
        }
    }

    /// The longest chain of blocks that hold the beginning of `tokens`, each with the name of its
    /// content. They are not taken yet.
    pub fn find(&self, tokens: &[u32]) -> Vec<(Block, Content)> {
        let mut before = Content::EMPTY;
        let mut found = Vec::new();
        for tokens in tokens.chunks_exact(self.size) {
            let Some(entry) = self.known.get(&Key { before, tokens: tokens.into() }) else { break };
            found.push(*entry);
            before = entry.1;
        }
        found
    }

    /// How many of these blocks nobody holds.
    pub fn idle(&self, blocks: &[(Block, Content)]) -> usize {
        blocks.iter().filter(|(block, _)| self.states[*block as usize].holders == 0).count()
    }

    /// Takes a block that was found, together with whoever holds it.
    pub fn share(&mut self, block: Block) {
        let state = &mut self.states[block as usize];
        if state.holders == 0 {
            self.free.remove(&(state.freed, block));
        }
        state.holders += 1;
    }

    /// Forgets everything that no sequence holds.
    pub fn clear(&mut self) {
        let idle: Vec<Block> = self.free.iter().map(|(_, block)| *block).collect();
        idle.into_iter().for_each(|block| self.forget(block));
    }

    /// Checks the books against what sequences hold: each block has as many holders as `held` has
    /// of it, and is free if it has none.
    ///
    /// # Panics
    /// If they do not agree.
    pub fn check(&self, held: impl IntoIterator<Item = Block>) {
        let mut holders = vec![0; self.states.len()];
        held.into_iter().for_each(|block| holders[block as usize] += 1);
        for (block, (state, holders)) in self.states.iter().zip(holders).enumerate() {
            assert_eq!(state.holders, holders, "holders of block {block}");
            let free = self.free.contains(&(state.freed, block as Block));
            assert_eq!(free, holders == 0, "whether block {block} is free");
            let known = state.known.as_ref().map(|key| self.known[key].0);
            assert!(known.is_none_or(|known| known as usize == block), "what block {block} holds");
        }
        let known = self.states.iter().filter(|state| state.known.is_some()).count();
        assert_eq!(known, self.known.len(), "blocks that are remembered");
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;

    /// Eight bits of a hash: everything collides soon.
    #[derive(Debug, Default)]
    pub(crate) struct EightBits(DefaultHasher);

    impl Hasher for EightBits {
        fn finish(&self) -> u64 {
            self.0.finish() & 0xFF
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.write(bytes);
        }
    }

    type Colliding = Blocks<BuildHasherDefault<EightBits>>;

    /// Remembers a chain of new blocks that hold `tokens`.
    fn keep<H: BuildHasher + Default>(blocks: &mut Blocks<H>, tokens: &[u32]) -> Vec<Block> {
        let mut before = Content::EMPTY;
        let size = blocks.size();
        tokens
            .chunks_exact(size)
            .map(|tokens| {
                let block = blocks.take().unwrap();
                before = blocks.remember(block, before, tokens);
                block
            })
            .collect()
    }

    fn found<H: BuildHasher + Default>(blocks: &Blocks<H>, tokens: &[u32]) -> Vec<Block> {
        blocks.find(tokens).into_iter().map(|(block, _)| block).collect()
    }

    #[test]
    fn a_beginning_is_found_block_by_block_also_after_it_was_freed() {
        let mut blocks = Blocks::<BuildHasherDefault<DefaultHasher>>::new(2, 8);
        let held = keep(&mut blocks, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&blocks, &[1, 2, 3, 4, 9, 9]), held[..2]);
        held.iter().for_each(|block| blocks.release(*block));
        assert_eq!(blocks.available(), 8);
        assert_eq!(found(&blocks, &[1, 2, 3, 4, 5, 6, 7]), held);
        assert!(found(&blocks, &[3, 4]).is_empty(), "the same tokens after others");
        blocks.share(held[0]);
        assert_eq!(blocks.available(), 7);
        blocks.check([held[0]]);
    }

    #[test]
    fn the_longest_unused_is_given_out_first_and_forgotten() {
        let mut blocks = Blocks::<BuildHasherDefault<DefaultHasher>>::new(2, 2);
        let held = keep(&mut blocks, &[1, 2, 3, 4]);
        // The end of a sequence first, as its beginning is worth more.
        held.iter().rev().for_each(|block| blocks.release(*block));
        assert_eq!(blocks.take(), Some(held[1]));
        assert_eq!(found(&blocks, &[1, 2, 3, 4]), held[..1]);
        assert_eq!(blocks.take(), Some(held[0]));
        assert_eq!(blocks.take(), None);
        blocks.check(held);
    }

    #[test]
    fn content_that_two_hold_is_remembered_once() {
        let mut blocks = Blocks::<BuildHasherDefault<DefaultHasher>>::new(2, 8);
        let first = keep(&mut blocks, &[1, 2, 3, 4]);
        let second = keep(&mut blocks, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&blocks, &[1, 2, 3, 4, 5, 6]), [first[0], first[1], second[2]]);
        blocks.forget(first[1]);
        assert_eq!(found(&blocks, &[1, 2, 3, 4]), first[..1]);
        blocks.check(first.into_iter().chain(second));
    }

    #[test]
    fn hashes_that_collide_find_nothing_wrong() {
        let mut blocks = Colliding::new(2, 4096);
        let chain = |number: u32| [number, 1, 7, 7, number / 3, 2];
        let held: Vec<Vec<Block>> =
            (0..1000).map(|number| keep(&mut blocks, &chain(number))).collect();
        for (number, held) in (0..1000).zip(&held) {
            assert_eq!(&found(&blocks, &chain(number)), held);
        }
        assert!(found(&blocks, &[1000, 1, 7, 7]).is_empty());
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_block_freed_twice_is_a_bug() {
        let mut blocks = Blocks::<BuildHasherDefault<DefaultHasher>>::new(2, 2);
        let block = blocks.take().unwrap();
        blocks.release(block);
        blocks.release(block);
    }
}
