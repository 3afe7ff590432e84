//! Spreads the examples of one step over ranks and micro-batches.
//!
//! Decides nothing about the loss: each example has a weight of its own, so which of them run
//! together, and where, changes only how long it takes. Nothing is cut and nothing is left out.
//! Examples of a micro-batch lie end to end without padding and do not see each other.

/// What an example costs: every token once, and once more for each token that it looks back at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Cost of attention to one token, relative to all else that is computed for a token: layers ×
    /// hidden size / parameters that are multiplied. Qwen2.5-7B: 1.4e-5.
    pub quadratic: f64,
}

impl Cost {
    /// Of a model with so many layers of this width and so many parameters in matrices.
    pub fn of_model(layers: u64, hidden_size: u64, matrix_parameters: u64) -> Self {
        Self { quadratic: (layers * hidden_size) as f64 / matrix_parameters.max(1) as f64 }
    }

    /// Of an example, in tokens that see nothing.
    pub fn of(&self, tokens: usize) -> f64 {
        let tokens = tokens as f64;
        tokens + self.quadratic * tokens * tokens
    }
}

/// What a micro-batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Examples at most.
    pub examples: usize,
    /// Tokens at most; one longer example still runs alone.
    pub tokens: usize,
}

/// A step's examples, by their positions in the list of lengths: `rounds[round][rank]` is a
/// micro-batch. Every round has a micro-batch, perhaps an empty one, for each rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// The rounds in order; the one that takes most memory comes first, so that whatever does not
    /// fit shows at once.
    pub rounds: Vec<Vec<Vec<usize>>>,
}

/// Cost of a round besides its tokens, as part of a full micro-batch: what is gathered and started
/// anew. Keeps a step from falling into more rounds than help.
const ROUND_COST: f64 = 0.01;

/// Rounds more than the fewest that are tried.
const ROUNDS_TRIED: usize = 4;

/// Exchanges per step at most.
const EXCHANGES: usize = 64;

/// Spreads examples of the given lengths over `ranks` so that all of them work for as long as each
/// other in every round: the ranks wait for each other at every layer.
pub fn spread(lengths: &[usize], ranks: usize, limits: Limits, cost: Cost) -> Spread {
    let ranks = ranks.max(1);
    // One longer than the limit fills a micro-batch, no more.
    let tokens: usize = lengths.iter().map(|tokens| (*tokens).min(limits.tokens)).sum();
    let by_tokens = tokens.div_ceil(ranks * limits.tokens.max(1));
    let by_examples = lengths.len().div_ceil(ranks.saturating_mul(limits.examples.max(1)));
    let fewest = by_tokens.max(by_examples).max(1);
    let mut best: Option<(f64, Spread)> = None;
    let mut tried = 0;
    // With one micro-batch per example everything fits, so this ends.
    for rounds in fewest..=fewest.max(lengths.len()) {
        let Some(bins) = fill(lengths, rounds * ranks, limits, cost) else { continue };
        let mut spread = in_rounds(bins, lengths, ranks, cost);
        if ranks > 1 {
            even_out(&mut spread, lengths, limits, cost);
        }
        let time = spread.time(lengths, cost)
            + spread.rounds.len() as f64 * ROUND_COST * limits.tokens as f64;
        if best.as_ref().is_none_or(|(least, _)| time < *least) {
            best = Some((time, spread));
        }
        tried += 1;
        if tried > ROUNDS_TRIED {
            break;
        }
    }
    best.map(|(_, spread)| spread).unwrap_or(Spread { rounds: Vec::new() })
}

/// Puts examples into so many micro-batches, the dearest first, each into the cheapest that has
/// room; none if one finds no room.
fn fill(lengths: &[usize], bins: usize, limits: Limits, cost: Cost) -> Option<Vec<Vec<usize>>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // Ties keep their order: the same step is always spread the same way.
    order.sort_by_key(|position| std::cmp::Reverse(lengths[*position]));
    let mut filled: Vec<(f64, usize, Vec<usize>)> = vec![(0.0, 0, Vec::new()); bins];
    for position in order {
        let tokens = lengths[position];
        let has_room = |bin: &&mut (f64, usize, Vec<usize>)| {
            bin.2.is_empty() || (bin.2.len() < limits.examples && bin.1 + tokens <= limits.tokens)
        };
        let cheapest = filled.iter_mut().filter(has_room).min_by(|a, b| a.0.total_cmp(&b.0))?;
        cheapest.0 += cost.of(tokens);
        cheapest.1 += tokens;
        cheapest.2.push(position);
    }
    Some(filled.into_iter().map(|(_, _, bin)| bin).collect())
}

/// Micro-batches that cost alike run at the same time.
fn in_rounds(mut bins: Vec<Vec<usize>>, lengths: &[usize], ranks: usize, cost: Cost) -> Spread {
    let of = |bin: &[usize]| -> f64 { bin.iter().map(|at| cost.of(lengths[*at])).sum() };
    bins.sort_by(|a, b| of(b).total_cmp(&of(a)));
    let mut rounds: Vec<Vec<Vec<usize>>> = Vec::new();
    for round in bins.chunks(ranks) {
        if round.iter().any(|bin| !bin.is_empty()) {
            let mut round = round.to_vec();
            round.resize(ranks, Vec::new());
            rounds.push(round);
        }
    }
    Spread { rounds }
}

/// A micro-batch while examples are exchanged.
#[derive(Debug, Clone, Copy)]
struct Load {
    cost: f64,
    tokens: usize,
    examples: usize,
}

impl Load {
    /// The same with other examples in it.
    fn with(self, given: usize, taken: Option<usize>, cost: Cost) -> Self {
        let change = cost.of(given) - taken.map_or(0.0, |taken| cost.of(taken));
        Self {
            cost: self.cost + change,
            tokens: self.tokens + given - taken.unwrap_or(0),
            examples: self.examples + 1 - usize::from(taken.is_some()),
        }
    }
}

/// An example that changes places: round, rank, and which of the micro-batch; for the second place
/// none if nothing comes back.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    from: (usize, usize, usize),
    to: (usize, usize, Option<usize>),
}

/// Exchanges examples between the dearest micro-batch of a round and any other for as long as that
/// makes the step shorter.
fn even_out(spread: &mut Spread, lengths: &[usize], limits: Limits, cost: Cost) {
    for _ in 0..EXCHANGES {
        let best = Exchanges::new(spread, lengths, limits, cost).best();
        let Some(Exchange { from, to }) = best else { return };
        let given = spread.rounds[from.0][from.1].remove(from.2);
        if let Some(at) = to.2 {
            let taken = spread.rounds[to.0][to.1].remove(at);
            spread.rounds[from.0][from.1].push(taken);
        }
        spread.rounds[to.0][to.1].push(given);
    }
}

/// Everything that may change places.
struct Exchanges<'a> {
    spread: &'a Spread,
    lengths: &'a [usize],
    limits: Limits,
    cost: Cost,
    /// By round and rank.
    loads: Vec<Vec<Load>>,
}

impl<'a> Exchanges<'a> {
    fn new(spread: &'a Spread, lengths: &'a [usize], limits: Limits, cost: Cost) -> Self {
        let load = |bin: &Vec<usize>| Load {
            cost: bin.iter().map(|at| cost.of(lengths[*at])).sum(),
            tokens: bin.iter().map(|at| lengths[*at]).sum(),
            examples: bin.len(),
        };
        let round = |round: &Vec<Vec<usize>>| round.iter().map(load).collect();
        let loads = spread.rounds.iter().map(round).collect();
        Self { spread, lengths, limits, cost, loads }
    }

    /// The exchange that shortens the step most.
    fn best(&self) -> Option<Exchange> {
        let mut best: Option<(f64, Exchange)> = None;
        for (round, ranks) in self.loads.iter().enumerate() {
            let dearest =
                (0..ranks.len()).max_by(|a, b| ranks[*a].cost.total_cmp(&ranks[*b].cost))?;
            for (other, rank) in self.bins().filter(|bin| *bin != (round, dearest)) {
                let there = self.spread.rounds[other][rank].len();
                for at in 0..self.spread.rounds[round][dearest].len() {
                    for to in (0..there).map(Some).chain([None]) {
                        let exchange =
                            Exchange { from: (round, dearest, at), to: (other, rank, to) };
                        let gain = self.gain(exchange);
                        if gain > best.map_or(ranks[dearest].cost * 1e-6, |best| best.0) {
                            best = Some((gain, exchange));
                        }
                    }
                }
            }
        }
        best.map(|(_, exchange)| exchange)
    }

    fn bins(&self) -> impl Iterator<Item = (usize, usize)> {
        let rounds = self.loads.iter().enumerate();
        rounds.flat_map(|(round, ranks)| (0..ranks.len()).map(move |rank| (round, rank)))
    }

    /// By how much an exchange shortens the step; 0 if there is no room for it.
    fn gain(&self, Exchange { from, to }: Exchange) -> f64 {
        let length = |round: usize, rank: usize, at: usize| {
            self.lengths[self.spread.rounds[round][rank][at]]
        };
        let given = length(from.0, from.1, from.2);
        let taken = to.2.map(|at| length(to.0, to.1, at));
        if taken.unwrap_or(0) >= given {
            return 0.0;
        }
        let more = self.loads[to.0][to.1].with(given, taken, self.cost);
        let before = self.loads[from.0][from.1];
        let less = Load {
            cost: before.cost - (more.cost - self.loads[to.0][to.1].cost),
            tokens: before.tokens - given + taken.unwrap_or(0),
            examples: before.examples - 1 + usize::from(taken.is_some()),
        };
        let fits = |load: Load| {
            let within =
                |limits: Limits| load.examples <= limits.examples && load.tokens <= limits.tokens;
            load.examples <= 1 || within(self.limits)
        };
        if !fits(more) || !fits(less) {
            return 0.0;
        }
        let changed = [(from.0, from.1, less.cost), (to.0, to.1, more.cost)];
        let gain = |round| self.longest(round, &[]) - self.longest(round, &changed);
        gain(from.0) + if to.0 == from.0 { 0.0 } else { gain(to.0) }
    }

    /// The cost of a round's dearest micro-batch where some cost something else.
    fn longest(&self, round: usize, changed: &[(usize, usize, f64)]) -> f64 {
        let cost = |(rank, load): (usize, &Load)| {
            let other = changed.iter().find(|(r, at, _)| (*r, *at) == (round, rank));
            other.map_or(load.cost, |other| other.2)
        };
        self.loads[round].iter().enumerate().map(cost).fold(0.0, f64::max)
    }
}

impl Spread {
    /// `held` examples at a time on each rank, in their order.
    pub fn in_order(examples: usize, ranks: usize, held: usize) -> Self {
        let (ranks, held) = (ranks.max(1), held.max(1));
        let places: Vec<usize> = (0..examples).collect();
        let round = |places: &[usize]| {
            let mut round: Vec<Vec<usize>> = places.chunks(held).map(<[usize]>::to_vec).collect();
            round.resize(ranks, Vec::new());
            round
        };
        Self { rounds: places.chunks(ranks * held).map(round).collect() }
    }

    /// How long it takes, in tokens that see nothing: each round as long as its dearest
    /// micro-batch.
    pub fn time(&self, lengths: &[usize], cost: Cost) -> f64 {
        let of = |bin: &Vec<usize>| -> f64 { bin.iter().map(|at| cost.of(lengths[*at])).sum() };
        let longest = |round: &Vec<Vec<usize>>| round.iter().map(of).fold(0.0, f64::max);
        self.rounds.iter().map(longest).sum()
    }

    /// Part of that time that a rank works, on average; 1 = no rank ever waits.
    pub fn balance(&self, lengths: &[usize], cost: Cost) -> f64 {
        let work: f64 = lengths.iter().map(|tokens| cost.of(*tokens)).sum();
        let ranks = self.rounds.first().map_or(1, Vec::len);
        let time = self.time(lengths, cost) * ranks as f64;
        if time > 0.0 { work / time } else { 1.0 }
    }
}

#[cfg(test)]
mod tests;
