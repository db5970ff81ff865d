//! What a person reads when the database cannot be reached or used: on a real server, and on sockets
//! that speak just enough of the protocol.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use super::private_cluster::PrivateCluster;
use super::*;

/// Settings of a server in tests: quick, and small beside many others.
const QUICK: &[(&str, &str)] = &[("fsync", "off"), ("shared_buffers", "8MB"), ("max_wal_size", "64MB")];

fn settings(url: &str, variables: &[(&str, &str)]) -> ConnectionSettings {
    let env = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        found.or_else(|| (name == "HOME").then(|| "/nonexistent".to_string()))
    };
    ConnectionSettings::from_url("DATABASE_URL", url, &env).unwrap()
}

fn failure_of(url: &str, variables: &[(&str, &str)]) -> ConnectError {
    let error = ConnectionSource::connect(&settings(url, variables), "test").expect_err(url);
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary"), "a password is shown: {shown}");
    error
}

/// Asserts on the message as a person sees it, and on whether it is worth waiting.
#[track_caller]
fn assert_reads(error: &ConnectError, parts: &[&str], transient: bool) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(error.is_transient(), transient, "{text}");
}

/// A server for one client, whose part is played by `play`; returns its port.
fn fake_server(play: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || play(listener.accept().unwrap().0));
    port
}

/// Refuses whoever comes, as PostgreSQL would.
fn refusing_server(sqlstate: &str, message: &str) -> String {
    refusing_in(sqlstate, message, "somewhere")
}

/// The same in a function of the server's, which it names whatever its language.
fn refusing_in(sqlstate: &str, message: &str, routine: &str) -> String {
    let body = format!("SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0Fauth.c\0L1\0R{routine}\0\0");
    let port = fake_server(move |mut stream| {
        stream.read_exact(&mut [0; 8]).unwrap();
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        stream.write_all(&[b"E", &length[..], body.as_bytes()].concat()).unwrap();
    });
    format!("postgres://u:canary@127.0.0.1:{port}/d?connect_timeout=20&sslmode=disable")
}

#[test]
fn nobody_at_the_port_is_said() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = failure_of(&format!("postgres://u:canary@127.0.0.1:{port}/d"), &[]);
    let place = format!(
        "failed to connect to database \"d\" at 127.0.0.1:{port} as user \"u\": connection refused; check"
    );
    assert_reads(&error, &[&place], true);
}

#[test]
fn a_missing_socket_is_named() {
    let error = failure_of("postgresql:///d?host=/nonexistent&user=u", &[]);
    assert_reads(&error, &["at /nonexistent/.s.PGSQL.5432 as user \"u\": no such socket; check"], true);
}

#[test]
fn an_unknown_host_is_named() {
    // A label of more than 63 letters is refused by the resolver without asking the network.
    let host = format!("{}.invalid", "a".repeat(64));
    let error = failure_of(&format!("postgres://u:canary@{host}/d"), &[]);
    assert_reads(&error, &[&host, "failed to lookup address", "check the spelling"], true);
}

#[test]
fn a_server_that_hangs_up_is_told_from_one_that_says_nothing() {
    let port = fake_server(drop);
    let error = failure_of(&format!("postgres://u@127.0.0.1:{port}/d"), &[]);
    assert!(matches!(error.failure, ConnectFailure::Unreachable { .. }), "{error}");
    let (keep, kept) = std::sync::mpsc::channel();
    let port = fake_server(move |stream| keep.send(stream).unwrap());
    let error = failure_of(&format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1"), &[]);
    assert_reads(&error, &["the server did not answer in 1 s"], true);
    drop(kept);
}

#[test]
fn refusals_are_told_apart_by_their_code() {
    let url = refusing_server("57P03", "the database system is starting up");
    assert_reads(&failure_of(&url, &[]), &["is starting up; try again in a moment"], true);
    let url = refusing_server("53300", "sorry, too many clients already");
    assert_reads(&failure_of(&url, &[]), &["too many clients already; close other clients"], true);
    let none = "kein pg_hba.conf-Eintrag für Host »x«, Benutzer »u«, Datenbank »d«, keine Verschlüsselung";
    let url = refusing_in("28000", none, "ClientAuthentication");
    assert_reads(
        &failure_of(&url, &[]),
        &["the server lets nobody in without TLS", none, "use sslmode=prefer"],
        false,
    );
    let url = refusing_server("28000", "role \"u\" does not exist");
    assert_reads(
        &failure_of(&url, &[]),
        &["refused user \"u\" with the password in DATABASE_URL: role"],
        false,
    );
    let url = refusing_server("42501", "permission denied for database \"d\"");
    assert_reads(&failure_of(&url, &[]), &["permission denied for database \"d\" (SQLSTATE 42501)"], false);
}

#[test]
fn tls_that_cannot_be_begun_is_refused_before_anything_is_sent() {
    for (rest, part) in [
        (
            "sslmode=verify-ca",
            "sslmode=verify-ca needs the certificate of the server's authority, and there is no",
        ),
        (
            "sslmode=require&sslrootcert=/nonexistent/ca",
            "/nonexistent/ca cannot be read: no such file; correct",
        ),
        ("sslmode=require&sslcert=/nonexistent/my", "/nonexistent/my cannot be read"),
    ] {
        let error = failure_of(&format!("postgres://u:canary@127.0.0.1:1/d?{rest}"), &[]);
        assert_reads(&error, &[part], false);
    }
}

/// A directory of this test's own, which is removed at the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("process-orchestrator-{name}-{}", std::process::id()));
        Self(path)
    }
}

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever a failing test has left is not worth a second failure.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_real_server_tells_what_is_wrong() {
    let scratch = Scratch::new("refusals");
    std::fs::create_dir_all(&*scratch).unwrap();
    // The server may run as another user than this test.
    set_mode(&scratch, 0o755);
    let rules = scratch.join("rules");
    std::fs::write(&rules, "local all postgres trust\nlocal all all scram-sha-256\n").unwrap();
    set_mode(&rules, 0o644);
    let hba = ("hba_file", rules.to_str().unwrap());
    // Not the default before PostgreSQL 14.
    let scram = ("password_encryption", "scram-sha-256");
    let cluster = PrivateCluster::open_with(&scratch.join("data"), &[QUICK, &[hba, scram]].concat()).unwrap();
    let mut owner = cluster.connect("test").unwrap();
    owner
        .batch_execute(
            "CREATE ROLE app LOGIN PASSWORD 'right canary'; \
             CREATE ROLE crowd LOGIN PASSWORD 'right canary' CONNECTION LIMIT 0; \
             CREATE ROLE reader LOGIN PASSWORD 'right canary'; \
             ALTER ROLE reader SET default_transaction_read_only = on",
        )
        .unwrap();
    let directory = scratch.join("data/run");
    let url =
        |user: &str, rest: &str| format!("host='{}' dbname=postgres user={user} {rest}", directory.display());
    let right = "password='right canary'";

    wrong_passwords_are_told_by_their_source(&url, &scratch.join("passwords"));
    let missing = failure_of(&url("app", &format!("{right} dbname=absent")), &[]);
    assert_reads(&missing, &["no database \"absent\"; create it"], false);
    let crowded = failure_of(&url("crowd", right), &[]);
    assert_reads(&crowded, &["too many connections for role \"crowd\""], true);
    let other = failure_of(&url("reader", &format!("{right} target_session_attrs=read-write")), &[]);
    assert_reads(&other, &["allows no writes; connect to the primary"], true);

    let reader = settings(&url("reader", right), &[]);
    let mut client = ConnectionSource::connect(&reader, "test").unwrap();
    let facts = check_server(&mut client, &reader.shown(), Access::Read).unwrap();
    assert_eq!(facts.version_number / 10_000, cluster.major_version());
    let refused = check_server(&mut client, &reader.shown(), Access::Write).unwrap_err();
    assert_reads(&refused, &["as user \"reader\": the server allows no writes"], true);
    check_server(&mut owner, "the cluster", Access::Write).unwrap();
    drop((client, owner));
    cluster.close().unwrap();
}

fn wrong_passwords_are_told_by_their_source(url: &dyn Fn(&str, &str) -> String, passfile: &Path) {
    std::fs::write(passfile, "*:*:*:app:wrong canary\n").unwrap();
    set_mode(passfile, 0o600);
    let file = passfile.to_str().unwrap();
    let refused = "the server refused user \"app\" with";
    let error = failure_of(&url("app", "password='wrong canary'"), &[]);
    assert_reads(
        &error,
        &[refused, "with the password in DATABASE_URL: password auth", "; correct the"],
        false,
    );
    let error = failure_of(&url("app", ""), &[("PGPASSWORD", "wrong canary")]);
    assert_reads(&error, &[refused, "with the password in PGPASSWORD: "], false);
    let error = failure_of(&url("app", ""), &[("PGPASSFILE", file)]);
    assert_reads(&error, &[refused, &format!("with the password in {file}: ")], false);
    let error = failure_of(&url("app", ""), &[]);
    assert_reads(&error, &[refused, "with no password: ", "give a password in DATABASE_URL"], false);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn connections_come_from_settings_or_from_a_pool() {
    let scratch = Scratch::new("sources");
    let cluster = PrivateCluster::open_with(&scratch, QUICK).unwrap();
    let name = |connection: &mut Connection| -> String {
        connection.query_one("SHOW application_name", &[]).unwrap().get(0)
    };
    assert_eq!(name(&mut cluster.connect("recorder").unwrap()), "process-orchestrator recorder");
    let patient = Patience::outlasting(std::time::Duration::from_secs(300));
    assert_eq!(name(&mut cluster.connect_with("keeper", &patient).unwrap()), "process-orchestrator keeper");

    // Long enough for a healthy server on a busy machine to open the pool's one connection.
    let wait = std::time::Duration::from_secs(20);
    let manager = ConnectionManager::new(cluster.settings(), "http");
    let pool = r2d2::Pool::builder().max_size(1).connection_timeout(wait).build(manager).unwrap();
    assert_eq!(name(&mut ConnectionSource::connect(&pool, "ignored").unwrap()), "process-orchestrator http");

    let mut config = postgres::Config::new();
    config.host_path(scratch.join("run")).user("postgres").application_name("theirs");
    let manager = r2d2_postgres::PostgresConnectionManager::new(config, postgres::NoTls);
    let pool = r2d2::Pool::builder().max_size(1).connection_timeout(wait).build(manager).unwrap();
    let source: &dyn ConnectionSource = &pool;
    let mut only = source.connect("recorder").unwrap();
    assert_eq!(name(&mut only), "theirs");
    drop(only);
    source.connect("keeper").expect("the connection went back to the pool");

    let manager = ConnectionManager::new(settings("postgresql:///d?host=/nonexistent&user=u", &[]), "http");
    let short = std::time::Duration::from_millis(50);
    let pool = r2d2::Pool::builder().max_size(1).connection_timeout(short).build_unchecked(manager);
    let error = ConnectionSource::connect(&pool, "recorder").unwrap_err();
    assert_reads(&error, &["failed to connect to the pool's database: the connection pool gave none"], true);
}
