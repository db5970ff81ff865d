//! Ids of processes of a batch that have none of their own: by what they work on, never by the number of a line, so that the
//! same file under the same name gives the same ids, wherever its lines stand.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::input::ProcessInputData;

/// Makes the ids of one file's lines, in their order: the second same line is another process than the first.
#[derive(Debug)]
pub struct BatchIds {
    batch: String,
    /// How often a fingerprint has come.
    seen: HashMap<u128, u32>,
}

impl BatchIds {
    /// For a batch of this name.
    pub fn new(batch: &str) -> Self {
        Self { batch: batch.to_owned(), seen: HashMap::new() }
    }

    /// The id of the next line, which has this input.
    pub fn next(&mut self, input: &ProcessInputData) -> String {
        let mut normal = input.clone();
        for text in [&mut normal.input_file, &mut normal.output_dir, &mut normal.user_id] {
            // As the database has it: an empty one is missing.
            text.take_if(|it| it.is_empty());
        }
        // Keys in their order, as input_print has them in SQL; whether a `Value` keeps another order is a feature of its crate.
        let value = normal.to_value();
        let sorted: BTreeMap<&String, &Value> = value.as_object().into_iter().flatten().collect();
        let digest = Sha256::digest(serde_json::json!(sorted).to_string().as_bytes());
        let key = digest.iter().take(16).fold(0, |key: u128, byte| key << 8 | u128::from(*byte));
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let times = self.seen.entry(key).or_default();
        *times += 1;
        match *times {
            1 => format!("{}-{short}", self.batch),
            times => format!("{}-{short}-{times}", self.batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(lines: &[&str]) -> Vec<String> {
        let mut ids = BatchIds::new("b");
        lines
            .iter()
            .map(|it| ids.next(&ProcessInputData::new().input_file(*it).add_config("k", "v")))
            .collect()
    }

    #[test]
    fn an_id_follows_from_the_input_alone() {
        let (first, second) = (ids(&["a", "b", "a"]), ids(&["b", "a", "a", "c"]));
        assert_eq!((&first[0], &first[1]), (&second[1], &second[0]));
        assert_eq!(first[2], second[2]);
        assert_eq!(first[2], format!("{}-2", first[0]));
        assert_eq!(first[0].len(), "b-".len() + 12);
    }

    #[test]
    fn what_is_the_same_to_the_database_has_one_id() {
        let plain = ProcessInputData::new().input_file("a");
        let id = |input: &ProcessInputData| BatchIds::new("b").next(input);
        assert_eq!(id(&plain), id(&plain.clone().user_id("")));
        assert_ne!(id(&plain), id(&plain.clone().user_id("u")));
        let pairs = |a: &str, b: &str| ProcessInputData::new().add_config(a, "1").add_config(b, "1");
        assert_eq!(id(&pairs("x", "y")), id(&pairs("y", "x")));
    }
}
