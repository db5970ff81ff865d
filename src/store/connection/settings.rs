//! The settings that our statements rely on. A role, a database or `PGOPTIONS` may have set any of them for statements of
//! another kind: every session of ours sets them itself, here.
//!
//! What a session may not set for itself, such as the database's encoding, is looked at once for each command
//! ([`check_server`](crate::database::check_server)).

/// By name and value, as SQL text.
pub(super) type Setting<'a> = (&'a str, &'a str);

/// What values and statements mean.
const MEANING: [Setting<'static>; 7] = [
    ("standard_conforming_strings", "on"),
    ("datestyle", "'ISO, MDY'"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "1"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("default_transaction_deferrable", "off"),
];

/// How long things may take. Our statements wait where they have to, and have limits of their own where they must not.
const LIMITS: [Setting<'static>; 3] = [
    ("default_transaction_isolation", "'read committed'"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
];

/// A transaction's own limit, which version 17 has brought.
const OF_TRANSACTIONS: Setting<'static> = ("transaction_timeout", "0");
/// Limits of a session that is our own: it is idle whenever there is nothing to do. Version 14 has brought the second.
const OF_SESSIONS: [Setting<'static>; 2] =
    [("idle_in_transaction_session_timeout", "0"), ("idle_session_timeout", "0")];

/// What every transaction of ours has to begin with, on a server of this version.
pub(super) fn of_transactions<'a>(version: u32) -> impl Iterator<Item = Setting<'a>> {
    MEANING.into_iter().chain(LIMITS).chain((version >= 170_000).then_some(OF_TRANSACTIONS))
}

/// What a session of our own has to begin with.
pub(super) fn of_sessions<'a>(version: u32) -> impl Iterator<Item = Setting<'a>> {
    let known = if version >= 140_000 { 2 } else { 1 };
    of_transactions(version).chain(OF_SESSIONS.into_iter().take(known))
}

/// The statements that set these.
pub(super) fn statements<'a>(settings: impl Iterator<Item = Setting<'a>>) -> String {
    settings.map(|(name, value)| format!("SET {name} = {value}; ")).collect()
}
