//! Whether the next request can be paid for: what is spent, plus what is reserved for requests
//! under way, must stay within the budget.

/// Money, in US dollars.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    limit: Option<f64>,
    spent: f64,
    /// What one request is taken to cost: the dearest so far, or the dearest possible.
    each: f64,
    settled: bool,
    under_way: u64,
}

impl Budget {
    /// A budget of `limit`, of which `spent` is gone, for requests that cost at most `each_max`.
    pub fn new(limit: Option<f64>, spent: f64, each_max: f64) -> Self {
        Self { limit, spent, each: each_max, settled: false, under_way: 0 }
    }

    /// Whether another request may be sent; if so, money is set aside for it.
    pub fn reserve(&mut self) -> bool {
        let reserved = self.each * self.under_way as f64;
        // Before anything is known about real costs one request is sent alone: the dearest possible
        // one would otherwise rule out every budget that is small but enough.
        let fits = |limit: f64| {
            let next = if self.settled { self.each } else { 0.0 };
            self.spent + reserved + next <= limit && self.spent < limit
        };
        let fits = self.limit.is_none_or(fits);
        self.under_way += u64::from(fits);
        fits
    }

    /// A request has ended and cost this much.
    pub fn settle(&mut self, cost: f64) {
        self.under_way = self.under_way.saturating_sub(1);
        self.spent += cost;
        if cost > 0.0 {
            self.each = if self.settled { self.each.max(cost) } else { cost };
            self.settled = true;
        }
    }

    /// Somebody else has spent this much of the same money in the meantime.
    pub fn spend(&mut self, cost: f64) {
        self.spent += cost;
    }

    /// Whether nothing is under way: if no request fits then, none ever will.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn without_a_limit_everything_fits() {
        let mut budget = Budget::new(None, 1e9, 1.0);
        assert!((0..1_000).all(|_| budget.reserve()));
    }

    #[test]
    fn the_first_request_goes_alone_and_then_as_many_as_fit() {
        let mut budget = Budget::new(Some(1.0), 0.0, 5.0);
        assert!(budget.reserve());
        assert!(!budget.reserve());
        budget.settle(0.1);
        assert_eq!((0..100).filter(|_| budget.reserve()).count(), 9);
        assert!(!budget.is_idle());
    }

    #[test]
    fn what_others_spend_is_gone() {
        let mut budget = Budget::new(Some(1.0), 0.0, 0.1);
        budget.spend(0.95);
        assert!(budget.reserve());
        budget.settle(0.04);
        budget.spend(0.02);
        assert!(!budget.reserve());
    }

    #[test]
    fn what_is_spent_never_exceeds_the_limit_by_more_than_one_surprise() {
        let mut budget = Budget::new(Some(1.0), 0.95, 5.0);
        assert!(budget.reserve());
        budget.settle(0.2);
        assert!(!budget.reserve() && budget.is_idle());
        assert!(!Budget::new(Some(0.0), 0.0, 5.0).reserve());
    }
}
