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
    const QUESTION: &str = "SET LOCAL statement_timeout = 0; SET LOCAL jit = off; SELECT current_setting('server_version_num'), current_setting('server_version'), \
                            current_setting('transaction_read_only'), pg_is_in_recovery(), \
                            current_setting('server_encoding'), current_setting('session_replication_role')";
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
        // What only speaks the protocol may not know these.
        encoding: field(4).unwrap_or("UTF8").to_owned(),
        fires_triggers: !field(5).is_ok_and(|role| role == "replica"),
    })
}

fn judge(facts: &ServerFacts, access: Access) -> Option<ConnectFailure> {
    if facts.version_number < OLDEST_SERVER * 10_000 {
        return Some(ConnectFailure::TooOld { version: facts.version.clone() });
    }
    let writable = !facts.read_only && !facts.standby;
    if access == Access::Read {
        return None;
    }
    (!writable)
        .then_some(ConnectFailure::ReadOnly { standby: facts.standby })
        .or_else(|| unsuitable(&facts.encoding, facts.fires_triggers))
}

/// Why a database can't be used that can be written to: what its sessions can't set for themselves.
pub fn unsuitable(encoding: &str, fires_triggers: bool) -> Option<ConnectFailure> {
    let (problem, remedy) = if encoding != "UTF8" {
        (
            format!(
                "the database keeps text in {encoding}, which can't hold what commands print and inputs say"
            ),
            "make another one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )
    } else if !fires_triggers {
        (
            "session_replication_role = replica is set for this user or database, so no triggers fire and nothing that \
             waits would be found"
                .to_owned(),
            "take it back: ALTER ROLE … RESET session_replication_role (or ALTER DATABASE)",
        )
    } else {
        return None;
    };
    Some(ConnectFailure::Unsuitable { problem, remedy: remedy.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version_number: u32, read_only: bool, standby: bool) -> ServerFacts {
        ServerFacts {
            version_number,
            version: format!("{}.7", version_number / 10_000),
            read_only,
            standby,
            encoding: "UTF8".to_owned(),
            fires_triggers: true,
        }
    }

    #[test]
    fn what_a_session_cannot_set_for_itself_is_refused_with_the_remedy() {
        let latin = ServerFacts { encoding: "LATIN1".to_owned(), ..facts(150_000, false, false) };
        assert_eq!(judge(&latin, Access::Read), None);
        let refused = judge(&latin, Access::Write).expect("LATIN1").to_string();
        assert!(refused.contains("keeps text in LATIN1") && refused.contains("ENCODING 'UTF8'"), "{refused}");
        let mute = ServerFacts { fires_triggers: false, ..facts(150_000, false, false) };
        let refused = judge(&mute, Access::Write).expect("no triggers").to_string();
        assert!(refused.contains("RESET session_replication_role"), "{refused}");
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
