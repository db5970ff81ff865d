//! Opens connections and checks what answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use postgres::config::{LoadBalanceHosts, TargetSessionAttrs};
use postgres::{Client, NoTls, SimpleQueryMessage};

use super::error::{Attempt, ConnectError, ConnectFailure, diagnose, diagnose_silence};
use super::settings::{ConnectionSettings, Server};
use super::tls::Way;

/// The oldest major version of the server that works.
pub const OLDEST_SERVER: u32 = 12;

/// The first part of every session's name in `pg_stat_activity`.
const APPLICATION_NAME: &str = "process-orchestrator";

/// PostgreSQL cuts longer ones (its NAMEDATALEN, less one), and with them the role.
const SESSION_NAME_BYTES_MAX: usize = 63;

/// How long a silent network is believed before a TCP connection counts as dead. Unix sockets know at
/// once and ignore it, and so do connections whose settings name keepalives themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub probes: u32,
    /// How long sent data may stay unacknowledged (Linux).
    pub unacknowledged: Duration,
}

impl Patience {
    /// Finds a dead connection within about a minute: firewalls drop idle ones after some minutes, and
    /// the engine must not wait out the system's two hours.
    pub const DEFAULT: Self = Self {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        probes: 3,
        unacknowledged: Duration::from_secs(30),
    };

    /// Keeps a session through `time` without network, so that what it holds outlasts the cut.
    pub fn outlasting(time: Duration) -> Self {
        const PROBES: u32 = 10;
        let interval = Duration::from_secs((time.as_secs() / u64::from(PROBES)).max(1) + 1);
        Self { idle: interval, interval, probes: PROBES, unacknowledged: interval * (PROBES + 1) }
    }
}

/// What a command is going to do with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only look.
    Read,
    /// Change something.
    Write,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Such as 150018 for 15.18.
    pub version_number: u32,
    /// As the server says it.
    pub version: String,
    /// Sessions cannot write.
    pub read_only: bool,
    /// A standby that follows another server.
    pub standby: bool,
}

impl ConnectionSettings {
    /// Opens a connection for `role`, which becomes part of the session's name in `pg_stat_activity`.
    pub fn open(&self, role: &str, patience: &Patience) -> Result<Client, ConnectError> {
        let failed = |failure| ConnectError { target: self.shown(), failure };
        let name = self.session_name(role);
        let mut last = None;
        for at in self.dialling_order() {
            let Some(server) = self.servers.get(at) else { continue };
            let mut config = server.config.clone();
            config.application_name(&name);
            if !self.own_keepalives {
                config
                    .keepalives(true)
                    .keepalives_idle(patience.idle)
                    .keepalives_interval(patience.interval)
                    .keepalives_retries(patience.probes)
                    .tcp_user_timeout(patience.unacknowledged);
            }
            match self.dial(&config, server) {
                Ok(client) => {
                    self.reached_last.store(at, Ordering::Relaxed);
                    return Ok(client);
                }
                Err(failure) => last = Some(more_telling(last, failure)),
            }
        }
        let nowhere = || ConnectFailure::Other { message: "there is no host to connect to".into() };
        Err(failed(last.unwrap_or_else(nowhere)))
    }

    /// The servers by their place in the list. The one that served last goes first where only one of them can be
    /// the right one: after a failover the others need not cost their whole timeout each time.
    fn dialling_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut order);
        }
        if self.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
            let last = self.reached_last.load(Ordering::Relaxed);
            order.sort_by_key(|at| *at != last);
        }
        order
    }

    /// Such as `process-orchestrator worker-1 recorder`; of a long node's name only a part has room.
    fn session_name(&self, role: &str) -> String {
        let own = self.application_name.as_deref().unwrap_or(APPLICATION_NAME);
        let Some(node) = &self.node else { return format!("{own} {role}") };
        let room = SESSION_NAME_BYTES_MAX.saturating_sub(own.len() + role.len() + 2);
        let cut = (0..=room.min(node.len())).rev().find(|&at| node.is_char_boundary(at)).unwrap_or(0);
        let node = &node[..cut];
        format!("{own} {node} {role}")
    }

    /// The one place that picks between plain and encrypted connections. `config` has one host.
    fn dial(&self, config: &postgres::Config, server: &Server) -> Result<Client, ConnectFailure> {
        let (first, other) = self.tls.mode.ways();
        let failure = match self.dial_so(first, config, server) {
            Err(failure) => failure,
            done => return done,
        };
        let Some(other) = other.filter(|_| may_help(first, &failure)) else { return Err(failure) };
        if other == Way::Plain {
            log::warn!("no TLS with {}, as sslmode=prefer allows: {failure}", self.shown());
        }
        self.dial_so(other, config, server).map_err(|second| match &second {
            // Both ways are closed: why TLS failed is what has to be mended.
            ConnectFailure::Tls { .. } if other == Way::Plain => failure,
            _ => second,
        })
    }

    fn dial_so(
        &self,
        way: Way,
        config: &postgres::Config,
        server: &Server,
    ) -> Result<Client, ConnectFailure> {
        let mut config = config.clone();
        config.ssl_mode(way.ssl_mode());
        if self.tls.is_direct {
            config.ssl_negotiation(postgres::config::SslNegotiation::Direct);
        }
        // The library's own limit is for the socket of each of a host's addresses, not for the words after that.
        let limit = config.get_connect_timeout().map(|each| *each * (1 + u32::from(server.is_name)));
        let connector = match way {
            Way::Plain => None,
            Way::Encrypted | Way::EncryptedIfOffered => Some(self.tls.connector()?),
        };
        let connect = move || match connector {
            None => config.connect(NoTls),
            Some(connector) => config.connect(connector),
        };
        let outcome = match limit {
            Some(limit) => within(limit, &server.abandoned, connect)?,
            None => connect(),
        };
        outcome.map_err(|error| {
            let attempt = Attempt {
                ssl_mode: self.tls.mode,
                user: self.user(),
                database: self.database(),
                password: self.password_source(),
            };
            diagnose(&error, &attempt)
        })
    }
}

/// Of several servers' failures the one to show: that there is no primary among those that answer says more than
/// that another one is away, and any word of a server more than silence.
fn more_telling(before: Option<ConnectFailure>, now: ConnectFailure) -> ConnectFailure {
    match before {
        Some(said) if matches!(now, ConnectFailure::Unreachable { .. }) => said,
        _ => now,
    }
}

/// Whether a failure has to do with TLS, so that the other way may end better. A wrong password is not sent again.
fn may_help(way: Way, failure: &ConnectFailure) -> bool {
    match failure {
        ConnectFailure::Tls { .. } => true,
        // No line of pg_hba.conf for encrypted connections; the server's words before and since version 14.
        ConnectFailure::AuthenticationFailed { message, .. } => {
            way != Way::Plain && (message.contains("SSL encryption") || message.contains("SSL on"))
        }
        _ => false,
    }
}

/// Attempts that a server keeps waiting; more are not made until one of them ends.
const ABANDONED_MAX: usize = 8;

/// Does `work` on a thread of its own and gives it up after `limit`: the library waits for ever for a
/// server that takes the connection and then says nothing, as a stopped one does, or a web server.
fn within<T: Send + 'static>(
    limit: Duration,
    abandoned: &Arc<AtomicUsize>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConnectFailure> {
    if abandoned.load(Ordering::Relaxed) >= ABANDONED_MAX {
        let cause = format!("the server keeps {ABANDONED_MAX} earlier attempts waiting");
        return Err(ConnectFailure::Unreachable { cause });
    }
    let (give, take) = mpsc::sync_channel(0);
    let count = Arc::clone(abandoned);
    let attempt = move || {
        // Nobody takes the outcome of an attempt that was given up.
        if give.send(work()).is_err() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    };
    thread::Builder::new().name("connect".into()).spawn(attempt).map_err(|error| ConnectFailure::Other {
        message: format!("no thread for the attempt: {error}; raise the limit on processes (ulimit -u)"),
    })?;
    match take.recv_timeout(limit) {
        Ok(outcome) => Ok(outcome),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            abandoned.fetch_add(1, Ordering::Relaxed);
            Err(ConnectFailure::Unreachable {
                cause: format!("the server did not answer in {} s", limit.as_secs_f32()),
            })
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(ConnectFailure::Other { message: "the client library panicked; see the log".into() })
        }
    }
}

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

    #[test]
    fn patience_outlasts_what_it_is_asked_to() {
        for seconds in [0, 1, 9, 300, 3_601] {
            let time = Duration::from_secs(seconds);
            let patience = Patience::outlasting(time);
            assert!(patience.idle + patience.interval * (patience.probes - 1) > time, "{seconds}");
            assert!(patience.unacknowledged > time, "{seconds}");
        }
    }
}
