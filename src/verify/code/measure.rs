//! A measured amount in two bytes: exact up to 4,095, within a four-thousandth above.

use std::fmt;

/// Bits of an amount that are kept.
const BITS: u32 = 12;

/// An amount: milliseconds up to 37 hours, or KiB up to 127 GiB; there may be a million of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure(u16);

impl From<u64> for Measure {
    fn from(amount: u64) -> Self {
        let most = ((1 << BITS) - 1) << 15;
        let amount = amount.min(most);
        let mut shift = (u64::BITS - amount.leading_zeros()).saturating_sub(BITS);
        let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
        let mut kept = (amount + half) >> shift;
        if kept >> BITS != 0 {
            (kept, shift) = if shift < 15 { (kept >> 1, shift + 1) } else { (kept - 1, shift) };
        }
        let packed = (u64::from(shift) << BITS) | kept;
        Self(u16::try_from(packed).expect("four bits of shift and twelve of the amount"))
    }
}

impl Measure {
    /// The amount.
    pub fn get(self) -> u64 {
        u64::from(self.0 & ((1 << BITS) - 1)) << (self.0 >> BITS)
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Measure;

    #[test]
    fn amounts_are_exact_where_they_are_small_and_near_where_they_are_large() {
        for amount in (0..4_096).chain([4_098, 8_188, 11_480]) {
            assert_eq!(Measure::from(amount).get(), amount);
        }
        for power in 12..27 {
            for amount in [(1_u64 << power) - 1, 1 << power, (1 << power) + 7, 3 << (power - 1)] {
                let amount = amount.min(4_095 << 15);
                let off = Measure::from(amount).get().abs_diff(amount);
                assert!(off * 4_000 <= amount, "{amount} is off by {off}");
            }
        }
        assert_eq!(Measure::from(u64::MAX).get(), 4_095 << 15);
    }
}
