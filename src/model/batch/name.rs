//! What the name of a batch may be.

/// Longest name in characters: the ids made from it have room for a fingerprint and a number.
pub const BATCH_NAME_CHARS_MAX: usize = 200;

/// What a name may be, as a remedy.
pub const BATCH_NAME_REMEDY: &str = "the name of a batch has 1 to 200 characters, none of them a control character, and no white space at its ends";

/// Says what is wrong with the name of a batch, or nothing.
pub fn batch_name_problem(name: &str) -> Option<String> {
    crate::model::names::name_problem(name)
}

/// The name of the limit that holds a batch's processes back.
pub fn limit_name(batch: &str) -> String {
    format!("batch:{}", batch.replace('%', "%25").replace('=', "%3D"))
}

/// The batch whose limit this is, by the limit's name; `None` for other limits.
pub fn of_limit(name: &str) -> Option<String> {
    Some(name.strip_prefix("batch:")?.replace("%3D", "=").replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_tells_its_batch() {
        for name in ["nightly", "a=b", "100%", "%3D", "x:y"] {
            assert_eq!(of_limit(&limit_name(name)).as_deref(), Some(name));
            assert!(!limit_name(name).contains('='));
        }
        assert_eq!(of_limit("gpu"), None);
    }

    #[test]
    fn the_room_of_an_id_is_enough() {
        let name = "x".repeat(BATCH_NAME_CHARS_MAX);
        assert_eq!(batch_name_problem(&name), None);
        assert!(batch_name_problem(&"x".repeat(BATCH_NAME_CHARS_MAX + 1)).is_some());
        assert!(batch_name_problem("a\n").is_some());
    }
}
