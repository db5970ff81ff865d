//! A machine that refuses to make another process.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use process_orchestrator::platform::files::effective_uid;
use process_orchestrator::{ProcessType, TaskDefinition};

use super::{Served, all_complete_at_once, limit, socket_directory, status_of};
use crate::common::{tool, wait_until};
use crate::program::{Bench, ended};

/// Lets anybody on this machine reach the suite's server, whose socket is its owner's alone; until the suite ends.
fn open_door() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = socket_directory().join(".s.PGSQL.5432");
    fn pass(mut from: impl Read, mut to: impl Write, end: impl FnOnce()) {
        // Either end may hang up at any time.
        let _ = std::io::copy(&mut from, &mut to);
        end();
    }
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = UnixStream::connect(&socket).unwrap();
            let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                pass(from_client, to_server, || drop(server.shutdown(Shutdown::Both)))
            });
            std::thread::spawn(move || {
                pass(from_server, to_client, || drop(client.shutdown(Shutdown::Both)))
            });
        }
    });
    port
}

#[test]
fn commands_wait_for_room_in_the_process_table_and_no_retry_is_spent() {
    // Root is not bound by the limit, so the node runs as a user that nobody is.
    if effective_uid() != 0 || tool("setpriv").is_none() {
        eprintln!("left out: only root can start a node as another user");
        return;
    }
    let bench = Bench::with_tables("few_processes");
    // The target directory may be closed to that user.
    let program = bench.folder.join("program");
    fs::copy(env!("CARGO_BIN_EXE_process-orchestrator"), &program).unwrap();
    for path in [&program, &bench.folder] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let user = (1_000_000 + std::process::id()).to_string();
    let starter = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--"];
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", open_door());
    let serve = |words: &[&str]| {
        let template = bench.command(&[]);
        let mut command = std::process::Command::new(starter[0]);
        command.args(&starter[1..]).args(words).current_dir(&bench.folder);
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("DATABASE_URL", &url).env("HOME", "/");
        command
    };
    let program = program.to_str().unwrap();
    let node = Served::ready(&mut serve(&[program, "serve", "--no-http", "--executors", "6"]));
    let task = |name: &str| TaskDefinition { max_retries: 0, ..TaskDefinition::new(name, "sleep 0.1") };
    bench.database.register(&ProcessType::new("busy", "").add(task("one")).add(task("two")));
    // The guard is the one process that the user has besides the node's threads; there is room for one command.
    let threads: usize =
        wait_until("the node's threads are known", || status_of(node.pid(), "Threads:")?.parse().ok());
    limit(&starter, node.pid(), "--nproc", threads + 2);
    let ids = bench.database.start_many("busy", 12);
    node.says("Resource temporarily unavailable");
    all_complete_at_once(&bench.database, &ids);
    let log = node.stop();
    let told = log.lines().find(|line| line.contains("Resource temporarily unavailable")).unwrap();
    assert!(told.contains("failed to start `sleep`: ") && told.contains("(ulimit -u, TasksMax="), "{told}");

    let limited = ["prlimit", "--nproc=6", program, "serve", "--no-http", "--executors", "64"];
    let refused = ended(&mut serve(&limited)).expect(1);
    assert!(refused.err.contains("Resource temporarily unavailable"), "{refused:#?}");
    assert!(refused.err.contains("(ulimit -u, TasksMax="), "{refused:#?}");
}
