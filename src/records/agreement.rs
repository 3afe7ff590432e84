//! How far two who judged the same things agree, beyond what chance would give.

/// Cohen's κ of a square table: rows are what one says, columns what the other says. 1 is perfect
/// agreement, 0 what chance gives; none where chance alone gives perfect agreement, or nothing was
/// judged. Cohen 1960, equation 1.
pub fn kappa<const N: usize>(table: &[[u64; N]; N]) -> Option<f64> {
    let total: u64 = table.iter().flatten().sum();
    if total == 0 {
        return None;
    }
    let total = total as f64;
    let agreed: u64 = (0..N).map(|at| table[at][at]).sum();
    let by_chance: f64 = (0..N)
        .map(|at| {
            let row: u64 = table[at].iter().sum();
            let column: u64 = table.iter().map(|row| row[at]).sum();
            row as f64 * column as f64 / (total * total)
        })
        .sum();
    let left = 1.0 - by_chance;
    (left > f64::EPSILON).then(|| (agreed as f64 / total - by_chance) / left)
}

#[cfg(test)]
mod tests {
    use super::kappa;

    #[track_caller]
    fn check(table: [[u64; 2]; 2], expected: Option<f64>) {
        let found = kappa(&table).map(|value| (value * 1e4).round() / 1e4);
        assert_eq!(found, expected, "{table:?}");
    }

    #[test]
    fn agreement_beyond_chance_is_cohens_kappa() {
        // The example of the Wikipedia article: 0.7 observed, 0.5 by chance.
        check([[20, 5], [10, 15]], Some(0.4));
        check([[45, 15], [25, 15]], Some(0.1304));
        check([[25, 35], [5, 35]], Some(0.2593));
        check([[10, 0], [0, 10]], Some(1.0));
        check([[5, 5], [5, 5]], Some(0.0));
        check([[0, 10], [10, 0]], Some(-1.0));
    }

    #[test]
    fn what_chance_alone_explains_has_no_kappa() {
        check([[0, 0], [0, 0]], None);
        check([[7, 0], [0, 0]], None);
    }
}
