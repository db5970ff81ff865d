//! What a node and its guard say to each other.

use std::time::Duration;

/// Whether this system shows what is needed to find a dead node's commands.
pub const IS_AVAILABLE: bool = cfg!(target_os = "linux");

/// The first argument of a guard; the node's id is the second, its lease in milliseconds the third, and the fourth when the
/// last heartbeat was sent, in milliseconds since boot. Changed with what is said, so that a program that was replaced by one of
/// another release fails at once instead of misunderstanding its node.
pub(super) const ARGUMENT: &str = "__guard2";

/// What a node writes into the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It ends in order.
    Farewell,
    /// A heartbeat that was sent so long after boot has renewed its lease. Not when its answer was read counts: the node may
    /// have been frozen in between.
    Renewed(Duration),
}

impl Word {
    /// Each word has as many bytes: a pipe takes so few at once or not at all.
    pub(super) const BYTES: usize = 9;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (first, millis) = match self {
            Self::Farewell => (b'.', 0),
            Self::Renewed(sent) => (b'+', u64::try_from(sent.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut bytes = [first; Self::BYTES];
        bytes[1..].copy_from_slice(&millis.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [first, millis @ ..] = bytes;
        if first == b'.' {
            Self::Farewell
        } else {
            Self::Renewed(Duration::from_millis(u64::from_le_bytes(millis)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in [Word::Farewell, Word::Renewed(Duration::from_millis(1_234_567))] {
            assert_eq!(Word::from_bytes(word.to_bytes()), word);
        }
    }
}
