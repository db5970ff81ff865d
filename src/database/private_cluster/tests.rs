//! The whole life of a cluster on a real server, with commands that are killed and files that crashes
//! leave. Other commands are this test binary again, told by a variable what to do.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::database::tests::Scratch;

const QUICK: &[(&str, &str)] = &[("fsync", "off"), ("shared_buffers", "8MB"), ("max_wal_size", "64MB")];

/// When its server started, which tells one run from the next, and the server's process id.
fn run_of(cluster: &PrivateCluster) -> (String, u32) {
    let row = cluster
        .connect("test")
        .unwrap()
        .query_one("SELECT pg_postmaster_start_time()::text, pg_read_file('postmaster.pid')", &[])
        .unwrap();
    let pid = row.get::<_, String>(1).lines().next().unwrap().parse().unwrap();
    (row.get(0), pid)
}

fn open(scratch: &Path) -> PrivateCluster {
    PrivateCluster::open_with(scratch, QUICK).unwrap_or_else(|error| panic!("{error}"))
}

fn open_error(data_dir: &Path) -> String {
    PrivateCluster::open_with(data_dir, QUICK).expect_err("it must not open").to_string()
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::symlink_metadata(path).unwrap().permissions()) & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

fn kill_hard(pid: u32) {
    assert!(crate::platform::processes::kill().args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn the_first_starts_the_server_and_the_last_stops_it() {
    let scratch = Scratch::new("life");
    let first = open(&scratch);
    let (run, pid) = run_of(&first);
    first.connect("test").unwrap().batch_execute("CREATE TABLE kept AS SELECT 42 AS value").unwrap();
    let addresses: String =
        first.connect("test").unwrap().query_one("SHOW listen_addresses", &[]).unwrap().get(0);
    assert_eq!(addresses, "", "reachable by network");
    assert_eq!(mode(&scratch.join("run")), 0o700);
    assert_eq!(mode(&scratch.join("run/.s.PGSQL.5432")), 0o700);

    let second = open(&scratch);
    assert_eq!(run_of(&second), (run.clone(), pid), "the second uses the first one's server");
    first.close().unwrap();
    assert_eq!(run_of(&second), (run.clone(), pid), "the second still needs it");
    second.close().unwrap();
    assert!(!processes::is_alive(pid), "the last one stops it");
    assert!(!scratch.join("run/.s.PGSQL.5432").exists());

    let again = open(&scratch);
    assert_ne!(run_of(&again).0, run);
    let kept: i32 = again.connect("test").unwrap().query_one("SELECT value FROM kept", &[]).unwrap().get(0);
    assert_eq!(kept, 42);
    drop(again);
    assert!(!scratch.join("postgresql-unfinished").exists());
}

#[test]
fn what_a_crash_left_is_put_right() {
    let scratch = Scratch::new("crash");
    // Half an initdb.
    std::fs::create_dir_all(scratch.join("postgresql-unfinished/base")).unwrap();
    std::fs::write(scratch.join("postgresql-unfinished/PG_VERSION"), "1").unwrap();
    let cluster = open(&scratch);
    let lock_file = cluster.server.cluster.join("postmaster.pid");
    cluster.connect("test").unwrap().batch_execute("CREATE TABLE kept AS SELECT 42 AS value").unwrap();

    // A killed server comes back when the next connection is wanted.
    let (run, pid) = run_of(&cluster);
    kill_hard(pid);
    while processes::is_alive(pid) {
        std::thread::yield_now();
    }
    let (revived, _) = run_of(&cluster);
    assert_ne!(revived, run);
    let text = std::fs::read_to_string(&lock_file).unwrap();
    cluster.close().unwrap();

    // A lock file whose id has been given to another process of ours since, or is that of one that nobody has reaped;
    // and broken ones.
    let (_, rest) = text.split_once('\n').unwrap();
    let mut unreaped = Command::new("true").spawn().unwrap();
    while processes::is_alive(unreaped.id()) {
        std::thread::yield_now();
    }
    let taken = [std::process::id(), unreaped.id()].map(|pid| format!("{pid}\n{rest}"));
    for leftover in taken.into_iter().chain([text.clone(), String::new(), "12".into()]) {
        std::fs::write(&lock_file, &leftover).unwrap();
        std::fs::write(scratch.join("run/.s.PGSQL.5432"), "").unwrap();
        std::fs::write(scratch.join("run/.s.PGSQL.5432.lock"), format!("{}\n", std::process::id())).unwrap();
        let cluster = open(&scratch);
        let kept: i64 =
            cluster.connect("test").unwrap().query_one("SELECT count(*) FROM kept", &[]).unwrap().get(0);
        assert_eq!(kept, 1, "after {leftover:?}");
        cluster.close().unwrap();
    }
    unreaped.wait().unwrap();
}

#[test]
fn a_path_too_long_for_a_socket_gets_a_short_one_elsewhere() {
    let scratch = Scratch::new("long");
    let deep = scratch.join("a directory, \"quoted\" and long".repeat(5));
    let cluster = open(&deep);
    let sockets = cluster.server.sockets.clone();
    assert!(!sockets.starts_with(&deep), "{}", sockets.display());
    assert_eq!(mode(&sockets), 0o700);
    let second = open(&deep);
    assert_eq!(second.server.sockets, sockets, "both find the same one");
    assert_eq!(run_of(&second), run_of(&cluster));
    drop(cluster);
    drop(second);
    assert!(!sockets.exists(), "the last one removes it");
}

#[test]
fn directories_that_cannot_serve_are_named_with_what_to_do() {
    let scratch = Scratch::new("unfit");
    std::fs::create_dir_all(&*scratch).unwrap();
    let file = scratch.join("file");
    std::fs::write(&file, "").unwrap();
    let inside = file.join("data");
    let error = open_error(&inside);
    let expected =
        format!("failed to use the private PostgreSQL in {0}: {0} cannot be written: ", inside.display());
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("PROCESS_ORCHESTRATOR_DATA_DIR"), "{error}");

    let open_to_all = scratch.join("open");
    std::fs::create_dir(&open_to_all).unwrap();
    set_mode(&open_to_all, 0o777);
    let error = open_error(&open_to_all);
    assert!(error.contains("can be changed by everybody; chmod o-w it"), "{error}");

    let later = scratch.join("later");
    std::fs::create_dir_all(later.join("postgresql-987")).unwrap();
    std::fs::write(later.join("postgresql-987/PG_VERSION"), "987\n").unwrap();
    let error = open_error(&later);
    assert!(error.contains("postgresql-987 was made by PostgreSQL 987, installed is "), "{error}");
}

#[test]
fn another_users_directory_is_refused() {
    // Root's own files are foreign to users; to root those of anybody else are.
    let scratch = Scratch::new("foreign");
    let foreign = if files::effective_uid() == 0 {
        std::fs::create_dir_all(&*scratch).unwrap();
        std::os::unix::fs::chown(&*scratch, Some(54_321), None).unwrap();
        scratch.to_path_buf()
    } else {
        PathBuf::from("/usr")
    };
    let error = open_error(&foreign);
    assert!(error.contains(" belongs to ") && error.contains("run as that user"), "{error}");
}

#[test]
fn a_server_that_does_not_start_shows_its_log() {
    let scratch = Scratch::new("broken");
    let cluster = open(&scratch);
    let configuration = cluster.server.cluster.join("postgresql.conf");
    cluster.close().unwrap();
    std::fs::write(&configuration, "no_such_setting = 1\n").unwrap();
    let error = open_error(&scratch);
    let log = scratch.canonicalize().unwrap().join("postgresql.log");
    assert!(error.contains("the server ended while starting: "), "{error}");
    assert!(error.contains("unrecognized configuration parameter \"no_such_setting\""), "{error}");
    assert!(error.contains(&log.display().to_string()), "{error}");
}

const ROLE: &str = "PROCESS_ORCHESTRATOR_TEST_CLUSTER";
const READY: &str = "cluster is ready";

/// Another process that opens the cluster in `data_dir`, keeps it in a static until its standard input
/// ends, and leaves by `exit`.
fn other_process(test: &str, data_dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("database::private_cluster::tests::{test}")])
        .env(ROLE, data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Plays the other process, if this is one.
fn play_other_process() {
    let Some(data_dir) = std::env::var_os(ROLE) else { return };
    let settings = open(Path::new(&data_dir)).release_at_exit().unwrap();
    settings.connect("test").unwrap();
    // Unwinds as a panic does, without its message.
    processes::at_exit(|| std::panic::resume_unwind(Box::new("contained"))).unwrap();
    println!("{READY}");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    std::process::exit(0);
}

fn wait_ready(process: &mut Child) {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.unwrap().contains(READY));
    assert!(ready, "the other process ended before it was ready: {:?}", process.wait());
    // Whatever it says at its end must find a reader.
    std::thread::spawn(move || lines.count());
}

#[test]
fn a_killed_commands_server_is_used_on_and_stopped_by_the_last() {
    play_other_process();
    let scratch = Scratch::new("killed");
    let mut other = other_process("a_killed_commands_server_is_used_on_and_stopped_by_the_last", &scratch);
    wait_ready(&mut other);
    let text = std::fs::read_to_string(scratch.join("postgresql-users.lock"));
    assert!(text.is_ok());
    other.kill().unwrap();
    other.wait().unwrap();
    let cluster = open(&scratch);
    let (_, pid) = run_of(&cluster);
    let log = std::fs::read_to_string(scratch.join("postgresql.log")).unwrap();
    assert_eq!(log.matches("database system is ready").count(), 1, "{log}");
    cluster.close().unwrap();
    assert!(!processes::is_alive(pid));
}

#[test]
fn many_processes_at_once_share_one_server_and_leave_none() {
    play_other_process();
    let scratch = Scratch::new("many");
    let test = "many_processes_at_once_share_one_server_and_leave_none";
    let mut others: Vec<Child> = (0..4).map(|_| other_process(test, &scratch)).collect();
    others.iter_mut().for_each(wait_ready);
    let cluster = open(&scratch);
    let (_, pid) = run_of(&cluster);
    drop(cluster);
    assert!(processes::is_alive(pid), "the others still use it");
    for mut other in others {
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }
    assert!(!processes::is_alive(pid), "the last of them stopped it");
    let log = std::fs::read_to_string(scratch.join("postgresql.log")).unwrap();
    assert_eq!(log.matches("database system is ready").count(), 1, "{log}");
}
