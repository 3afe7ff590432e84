//! Which traces become examples.
//!
//! In the open: OpenThoughts marks every trace outside of math, code and puzzles as correct. Here such
//! traces are `unchecked`, and the verified arm keeps them nevertheless, as the published data does,
//! because no verifier for them exists. A math or code trace that could not be checked, for want of a
//! reference or tests, is not kept: for those domains there is a verifier.

use crate::records::{Arm, Domain, Example, Verdict};

/// Why a trace is not admitted; the words are the summary's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    /// Judged wrong.
    Wrong,
    /// No answer found.
    Unreadable,
    /// Could not be checked although its domain can be.
    Unchecked,
    /// Nobody has judged it yet.
    NotJudged,
    /// We could not judge it, through no fault of its own.
    Unresolved,
}

impl Rejection {
    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Unreadable => "unreadable",
            Self::Unchecked => "unchecked",
            Self::NotJudged => "not_judged",
            Self::Unresolved => "unresolved",
        }
    }
}

/// Whether `arm` admits `example`.
///
/// # Errors
/// Why it does not.
pub fn admit(arm: Arm, example: &Example, keep_unchecked: bool) -> Result<(), Rejection> {
    if arm == Arm::Unverified {
        // Everything, wrong and truncated traces too, as OpenThoughts-Unverified-173k.
        return Ok(());
    }
    match &example.verdict {
        Some(Verdict::Correct) => Ok(()),
        Some(Verdict::Wrong(_)) => Err(Rejection::Wrong),
        Some(Verdict::Unreadable(_)) => Err(Rejection::Unreadable),
        Some(Verdict::Unchecked(_)) if keep_unchecked && !checkable(example.question.domain) => {
            Ok(())
        }
        Some(Verdict::Unchecked(_)) => Err(Rejection::Unchecked),
        None => Err(Rejection::NotJudged),
    }
}

/// Whether a verifier for `domain` exists.
fn checkable(domain: Domain) -> bool {
    match domain {
        Domain::Math | Domain::Code => true,
        Domain::Biology | Domain::Chemistry | Domain::Physics | Domain::Puzzle => false,
    }
}

#[cfg(test)]
mod tests {
    use super::admit;
    use crate::dataset::tests::example;
    use crate::records::{Arm, Domain, Verdict};

    #[track_caller]
    fn check(domain: Domain, verdict: Option<Verdict>, verified: bool) {
        let example = example(domain, verdict);
        assert_eq!(admit(Arm::Verified, &example, true).is_ok(), verified, "{example:?}");
        assert_eq!(admit(Arm::Unverified, &example, true), Ok(()));
    }

    #[test]
    fn the_verified_arm_keeps_what_is_correct() {
        check(Domain::Math, Some(Verdict::Correct), true);
        check(Domain::Math, Some(Verdict::Wrong("4".into())), false);
        check(Domain::Code, Some(Verdict::Unreadable("cut off".into())), false);
        check(Domain::Math, None, false);
    }

    #[test]
    fn what_no_verifier_can_check_is_kept_and_what_one_could_is_not() {
        for domain in [Domain::Physics, Domain::Biology, Domain::Chemistry, Domain::Puzzle] {
            check(domain, Some(Verdict::Unchecked("no rule".into())), true);
        }
        check(Domain::Math, Some(Verdict::Unchecked("no reference".into())), false);
        check(Domain::Code, Some(Verdict::Unchecked("no tests".into())), false);
    }

    #[test]
    fn unchecked_traces_can_be_left_out() {
        let example = example(Domain::Physics, Some(Verdict::Unchecked("no rule".into())));
        assert!(admit(Arm::Verified, &example, false).is_err());
    }
}
