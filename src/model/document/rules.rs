//! The bounds of a document's values, for the parser, its messages and the JSON Schema alike.

use serde_json::{Value, json};

/// Most tasks of a process type; longer ones want to be split into several.
pub const TASKS_MAX: usize = 1_000;

/// What a number may be.
#[derive(Debug, Clone, Copy)]
pub struct NumberRule {
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// Whether fractions are excluded.
    pub is_integer: bool,
    /// What to write instead of a wrong one.
    pub remedy: &'static str,
}

/// Minutes a task may run: from 6 ms, in which hardly a command ends, up to a year.
pub const TIMEOUT_MINUTES: NumberRule = NumberRule {
    min: 0.0001,
    max: 525_600.0,
    is_integer: false,
    remedy: "write minutes, such as 30, or 0.5 for thirty seconds",
};

/// Retries after the first attempt.
pub const MAX_RETRIES: NumberRule = NumberRule {
    min: 0.0,
    max: 1_000.0,
    is_integer: true,
    remedy: "write how many attempts may follow the first, 0 for none",
};

/// Bytes of output that are kept: PostgreSQL and whoever reads it must be able to hold them.
pub const MAX_OUTPUT_BYTES: NumberRule = NumberRule {
    min: 1.0,
    max: 67_108_864.0,
    is_integer: true,
    remedy: "write bytes, such as 1048576 for 1 MiB; more than 64 MiB belongs in a file",
};

/// Seconds between attempts: up to 30 days.
pub const RETRY_DELAY_SECONDS: NumberRule = NumberRule {
    min: 0.0,
    max: 2_592_000.0,
    is_integer: false,
    remedy: "write seconds, such as 2 or 0.5, or a text such as \"500ms\", \"5m\" or \"1h\", up to 30 days",
};

/// Factor from one wait to the next.
pub const RETRY_MULTIPLIER: NumberRule = NumberRule {
    min: 1.0,
    max: 100.0,
    is_integer: false,
    remedy: "write 1 for equal waits, 2 to double each",
};

/// An exit code that ends all attempts. 0 is success and cannot be fatal.
pub const FATAL_EXIT_CODE: NumberRule = NumberRule {
    min: 1.0,
    max: 255.0,
    is_integer: true,
    remedy: "write the exit codes as integers, such as [2, 64]",
};

/// How many run at once.
pub const LIMIT_MAX: NumberRule = NumberRule {
    min: 1.0,
    max: 1_000_000.0,
    is_integer: true,
    remedy: "write how many may run at once, such as 1",
};

impl NumberRule {
    /// Whether `number` keeps the rule.
    pub fn allows(&self, number: f64) -> bool {
        (self.min..=self.max).contains(&number) && (!self.is_integer || number.fract() == 0.0)
    }

    /// The rule in words, such as `an integer from 0 to 1000`.
    pub fn phrase(&self) -> String {
        let kind = if self.is_integer { "an integer" } else { "a number" };
        format!("{kind} from {} to {}", self.min, self.max)
    }

    /// The rule as a JSON Schema.
    pub fn schema(&self) -> Value {
        json!({
            "type": if self.is_integer { "integer" } else { "number" },
            "minimum": json_number(self.min),
            "maximum": json_number(self.max),
        })
    }
}

/// A number as people write it: without a fraction where there is none. One that JSON can't hold
/// becomes its text, which every check then refuses by name.
pub fn json_number(number: f64) -> Value {
    /// Beyond this a float no longer holds every integer (2^53).
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53")]
        return Value::from(number as i64);
    }
    serde_json::Number::from_f64(number).map_or_else(|| Value::from(number.to_string()), Value::Number)
}
