//! When a batch halts: `now|soon,fail|success|done=N|N%`, as GNU parallel's `--halt` has it.
//!
//! A percentage is of all processes of the batch, those that have not begun included, and is not rounded: 5 % of 30 is
//! reached by the second. It is looked at when processes end. `fail` counts the FAILED, retries included only once they are
//! used up; `success` the COMPLETED; `done` whatever has ended, CANCELLED too.

use std::fmt;

use super::data::Counts;

/// What a halt looks like, as a remedy.
pub const HALT_REMEDY: &str =
    "write now or soon, a comma, fail, success or done, and =N or =N%, such as soon,fail=5% or now,fail=1";

/// What becomes of what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It is cancelled.
    Now,
    /// It runs to its end.
    Soon,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// FAILED.
    Fail,
    /// COMPLETED.
    Success,
    /// Whatever has ended.
    Done,
}

/// How much of it is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u64),
    /// So many hundredths of all.
    Percent(u64),
}

/// The condition under which a batch halts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halt {
    /// What becomes of what runs.
    pub when: When,
    /// What is counted.
    pub why: Why,
    /// How much of it is too much.
    pub amount: Amount,
}

impl Halt {
    /// Reads a condition; `never` and an empty text are none.
    ///
    /// # Errors
    /// A sentence that names the text and says what to write.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let wrong = |what: &str| format!("{text:?} {what}; {HALT_REMEDY}");
        if text.is_empty() || text == "never" {
            return Ok(None);
        }
        let (when, rest) =
            text.split_once(',').ok_or_else(|| wrong("has no comma between when and why to halt"))?;
        let when = match when {
            "now" => When::Now,
            "soon" => When::Soon,
            other => return Err(wrong(&format!("begins with {other:?}"))),
        };
        let (why, amount) = rest.split_once('=').ok_or_else(|| wrong("has no number"))?;
        let why = match why {
            "fail" => Why::Fail,
            "success" => Why::Success,
            "done" => Why::Done,
            other => return Err(wrong(&format!("counts {other:?}"))),
        };
        let (digits, is_percent) = amount.strip_suffix('%').map_or((amount, false), |it| (it, true));
        let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
        let number: u64 = Some(digits)
            .filter(|_| is_number && digits.len() <= 9)
            .and_then(|it| it.parse().ok())
            .ok_or_else(|| wrong(&format!("has {amount:?} where a whole number is to stand")))?;
        match (number, is_percent) {
            (0, _) => Err(wrong("would halt before anything has begun")),
            (101.., true) => Err(wrong("is more than all of them")),
            (number, true) => Ok(Some(Self { when, why, amount: Amount::Percent(number) })),
            (number, false) => Ok(Some(Self { when, why, amount: Amount::Count(number) })),
        }
    }

    /// Why the batch is to halt, as a sentence; `None` while it is not. `before` is what had ended when counting began: at
    /// the start nothing, after a resume what had ended by then. `total` is how many processes the batch has or will have.
    pub fn is_reached(&self, counts: &Counts, before: &Counts, total: u64) -> Option<String> {
        let of = |counts: &Counts| match self.why {
            Why::Fail => counts.failed,
            Why::Success => counts.completed,
            Why::Done => counts.ended(),
        };
        let (count, before) = (of(counts).saturating_sub(of(before)), of(before));
        let is_reached = match self.amount {
            Amount::Count(most) => count >= most,
            // Without a rounding, and with nothing that ends none is reached.
            Amount::Percent(percent) => {
                count > 0 && u128::from(count) * 100 >= u128::from(total) * u128::from(percent)
            }
        };
        is_reached.then(|| {
            let what = match self.why {
                Why::Fail => "failed",
                Why::Success => "completed",
                Why::Done => "ended",
            };
            let since = if before > 0 { " since it was resumed" } else { "" };
            format!("{count} of {total} have {what}{since} (halt {self})")
        })
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            When::Now => "now",
            When::Soon => "soon",
        };
        let why = match self.why {
            Why::Fail => "fail",
            Why::Success => "success",
            Why::Done => "done",
        };
        match self.amount {
            Amount::Count(number) => write!(f, "{when},{why}={number}"),
            Amount::Percent(number) => write!(f, "{when},{why}={number}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn halt(text: &str) -> Halt {
        Halt::parse(text).expect(text).expect(text)
    }

    fn counts(completed: u64, failed: u64, cancelled: u64) -> Counts {
        Counts { completed, failed, cancelled, ..Counts::default() }
    }

    #[test]
    fn conditions_are_read_as_they_are_written() {
        for text in ["now,fail=1", "soon,fail=5%", "soon,success=1", "now,done=100%", "soon,done=250"] {
            assert_eq!(halt(text).to_string(), text);
        }
        assert_eq!(Halt::parse("never"), Ok(None));
    }

    #[test]
    fn what_is_no_condition_is_told_with_the_remedy() {
        for (text, part) in [
            ("fail=1", "no comma"),
            ("later,fail=1", "begins with \"later\""),
            ("soon,lost=1", "counts \"lost\""),
            ("soon,fail", "no number"),
            ("soon,fail=0", "before anything"),
            ("soon,fail=101%", "more than all"),
            ("soon,fail=1.5%", "whole number"),
            ("soon,fail=-1", "whole number"),
            ("now,fail=%", "whole number"),
        ] {
            let problem = Halt::parse(text).expect_err(text);
            assert!(problem.contains(part) && problem.contains("soon,fail=5%"), "{problem}");
        }
    }

    #[test]
    fn a_percentage_is_of_all_and_not_rounded() {
        let halt = halt("soon,fail=5%");
        let none = Counts::default();
        assert_eq!(halt.is_reached(&counts(20, 1, 0), &none, 30), None);
        let why = halt.is_reached(&counts(20, 2, 0), &none, 30);
        assert_eq!(why.as_deref(), Some("2 of 30 have failed (halt soon,fail=5%)"));
        assert_eq!(halt.is_reached(&counts(0, 4_999, 0), &none, 100_000), None);
        assert!(halt.is_reached(&counts(0, 5_000, 0), &none, 100_000).is_some());
        assert_eq!(halt.is_reached(&none, &none, 0), None);
    }

    #[test]
    fn each_counts_its_own() {
        let none = Counts::default();
        let ended = counts(3, 2, 1);
        for (text, is_reached) in [
            ("now,fail=2", true),
            ("now,fail=3", false),
            ("now,success=3", true),
            ("now,success=4", false),
            ("now,done=6", true),
            ("now,done=7", false),
        ] {
            assert_eq!(halt(text).is_reached(&ended, &none, 10).is_some(), is_reached, "{text}");
        }
    }

    #[test]
    fn a_resume_counts_anew() {
        let halt = halt("soon,fail=2");
        assert_eq!(halt.is_reached(&counts(0, 3, 0), &counts(0, 2, 0), 10), None);
        let why = halt.is_reached(&counts(0, 4, 0), &counts(0, 2, 0), 10).expect("reached");
        assert!(why.starts_with("2 of 10 have failed since it was resumed"), "{why}");
    }

    proptest! {
        #[test]
        fn more_failures_never_undo_a_halt(total in 1u64..10_000, failed in 0u64..10_000, percent in 1u64..=100) {
            let halt = Halt { when: When::Soon, why: Why::Fail, amount: Amount::Percent(percent) };
            let reached = |failed| halt.is_reached(&counts(0, failed, 0), &Counts::default(), total).is_some();
            prop_assert!(!reached(failed) || reached(failed + 1));
            prop_assert!(reached(total));
            prop_assert_eq!(reached(failed), failed > 0 && failed as f64 >= total as f64 * percent as f64 / 100.0 - 1e-9);
        }
    }
}
