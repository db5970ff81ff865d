//! Figures of many values.

use serde::Serialize;

/// Milliseconds of something that was timed many times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many times.
    pub count: usize,
    /// Half of them were at most that.
    pub p50_ms: f64,
    /// 99 of 100 were at most that.
    pub p99_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Quantiles {
    /// Of these values; `None` without any.
    pub fn of(mut millis: Vec<f64>) -> Option<Self> {
        millis.sort_by(f64::total_cmp);
        (!millis.is_empty()).then(|| Self {
            count: millis.len(),
            p50_ms: quantile(&millis, 0.5),
            p99_ms: quantile(&millis, 0.99),
            max_ms: quantile(&millis, 1.0),
        })
    }

    /// For people.
    pub fn shown(&self) -> String {
        let Self { count, p50_ms, p99_ms, max_ms } = self;
        format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms of {count}")
    }
}

/// The middle one of the values that there are, or the lower of two.
pub fn median(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().flatten().collect();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
}

/// The smallest value that at least the share `q` of them do not exceed. `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.5), 2.0);
        assert_eq!(quantile(&values, 0.99), 4.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        let expected = Quantiles { count: 2, p50_ms: 1.0, p99_ms: 2.0, max_ms: 2.0 };
        assert_eq!(Quantiles::of(vec![2.0, 1.0]), Some(expected));
        assert_eq!(Quantiles::of(Vec::new()), None);
    }

    #[test]
    fn a_median_is_of_what_was_measured() {
        assert_eq!(median([Some(3.0), None, Some(1.0), Some(2.0)]), Some(2.0));
        assert_eq!(median([None]), None);
    }
}
