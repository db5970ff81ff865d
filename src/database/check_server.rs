//! Whether the server that answers can be used.

use postgres::{Client, SimpleQueryMessage};

use super::diagnose::diagnose_silence;
use super::error::{ConnectError, ConnectFailure};
use super::server_version::{Access, OLDEST_SERVER, ServerFacts};

/// Asks the server what it is, in one round trip, and refuses one that is too old or, for
/// [`Access::Write`], read-only. For once per command, not per connection. `target` is for the message.
pub fn check_server(client: &mut Client, target: &str, access: Access) -> Result<ServerFacts, ConnectError> {
    let failed = |failure| ConnectError { target: target.to_string(), failure };
    let facts = ask(client).map_err(failed)?;
    match judge(&facts, access) {
        Some(failure) => Err(failed(failure)),
        None => Ok(facts),
    }
}

fn ask(client: &mut Client) -> Result<ServerFacts, ConnectFailure> {
    const QUESTION: &str = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
                            current_setting('transaction_read_only'), pg_is_in_recovery()";
    let other = |message| ConnectFailure::Other { message };
    // The simple protocol: a prepared statement would cost a round trip more.
    let answer = client.simple_query(QUESTION).map_err(|error| diagnose_silence(&error))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let field = |at: usize| {
        let value = row.and_then(|row| row.try_get(at).ok().flatten());
        value.ok_or_else(|| other("the server did not say what it is; is it PostgreSQL?".to_owned()))
    };
    let number = field(0)?;
    Ok(ServerFacts {
        version_number: number
            .parse()
            .map_err(|_| other(format!("the server's version {number:?} is no number")))?,
        version: field(1)?.to_string(),
        read_only: field(2)? == "on",
        standby: field(3)? == "t",
    })
}

fn judge(facts: &ServerFacts, access: Access) -> Option<ConnectFailure> {
    if facts.version_number < OLDEST_SERVER * 10_000 {
        return Some(ConnectFailure::TooOld { version: facts.version.clone() });
    }
    let writable = !facts.read_only && !facts.standby;
    (access == Access::Write && !writable).then_some(ConnectFailure::ReadOnly { standby: facts.standby })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version_number: u32, read_only: bool, standby: bool) -> ServerFacts {
        ServerFacts { version_number, version: format!("{}.7", version_number / 10_000), read_only, standby }
    }

    #[test]
    fn an_old_server_is_refused_with_both_versions() {
        let failure = judge(&facts(110_022, false, false), Access::Read).expect("11 is too old");
        let error = ConnectError { target: "there".into(), failure };
        assert!(!error.is_transient());
        assert_eq!(
            error.to_string(),
            "failed to connect to there: the server is PostgreSQL 11.7, at least 12 is needed; \
             upgrade the server"
        );
        assert_eq!(judge(&facts(120_000, false, false), Access::Write), None);
    }

    #[test]
    fn a_read_only_server_is_refused_only_for_writing() {
        assert_eq!(judge(&facts(150_000, true, true), Access::Read), None);
        for (read_only, standby) in [(true, false), (true, true), (false, true)] {
            let failure = judge(&facts(150_000, read_only, standby), Access::Write);
            assert_eq!(failure, Some(ConnectFailure::ReadOnly { standby }));
        }
    }
}
