//! What a person reads when the database can't be used, and what becomes of work when a node or a server is killed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use process_orchestrator::database::ConnectionSource;
use process_orchestrator::database::private_cluster::PrivateCluster;
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType};

use crate::common::{SCRAM, drop_database, one_task, script, wait_until};
use crate::program::{Bench, Ended, ended, signal, until_line};

/// The password that nobody may ever read.
const CANARY: &str = "canary-7f3";

/// Every kind of command on a database that can't be used: all say the same and exit with 4.
fn assert_unusable(bench: &Bench, url: &str, file: &str, parts: &[&str]) {
    for words in [
        &["run", file, "--json"][..],
        &["start", "one-task", "--json"],
        &["serve", "--no-http"],
        &["types", "register", file],
        &["list", "--json", "--log-level", "trace"],
        &["migrate"],
    ] {
        let mut command = bench.command(words);
        let refused = without_canary(ended(command.env("DATABASE_URL", url))).expect(4);
        let begin = if words.contains(&"--json") { "{\"error\":{" } else { "error: " };
        let error =
            refused.err.lines().find(|line| line.starts_with(begin)).map(|line| line.replace("\\\"", "\""));
        let error = error.unwrap_or_else(|| panic!("{words:?}: {refused:#?}"));
        for part in parts {
            assert!(error.contains(part), "{words:?} should say {part:?}: {refused:#?}");
        }
        assert_eq!(refused.out, "", "{words:?}");
    }
}

fn without_canary(ended: Ended) -> Ended {
    assert!(!format!("{}{}", ended.out, ended.err).contains(CANARY), "the password is shown: {ended:#?}");
    ended
}

/// A server on a local port that plays PostgreSQL for everybody who comes, until the test program ends.
fn fake_server(play: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // Whoever breaks off has read what it wanted, or its test says what is missing.
        listener.incoming().flatten().for_each(|mut stream| drop(play(&mut stream)));
    });
    port
}

/// A message of PostgreSQL's protocol.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// The start of a session: its length, then as much as that says.
fn read_startup(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize - 4])
}

/// Lets anybody in and answers every question with the facts of a server of version 11.
fn old_server(stream: &mut TcpStream) -> std::io::Result<()> {
    let fields = ["110022", "11.22", "off", "f"];
    let count = u16::try_from(fields.len()).unwrap().to_be_bytes();
    let described: Vec<u8> =
        fields.iter().flat_map(|_| [&b"f\0"[..], &[0; 6], &25_u32.to_be_bytes(), &[0; 8]].concat()).collect();
    let values: Vec<u8> = fields
        .iter()
        .flat_map(|field| [&u32::try_from(field.len()).unwrap().to_be_bytes(), field.as_bytes()].concat())
        .collect();
    let ready = message(b'Z', b"I");
    let answer = [
        message(b'T', &[&count[..], &described].concat()),
        message(b'D', &[&count[..], &values].concat()),
        message(b'C', b"SELECT 1\0"),
        ready.clone(),
    ];
    read_startup(stream)?;
    stream.write_all(&[message(b'R', &[0; 4]), ready].concat())?;
    let mut head = [0; 5];
    loop {
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize - 4])?;
        if kind == b'Q' {
            stream.write_all(&answer.concat())?;
        }
    }
}

/// Where the server's socket lies; the setting is a list, whose one entry may be quoted.
fn socket_directory(client: &mut postgres::Client) -> String {
    let setting: String = client.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    setting.trim_matches('"').to_owned()
}

#[test]
fn a_server_that_is_not_there_too_old_or_refuses_is_told_by_every_command() {
    let bench = Bench::new("bad_server");
    let file = bench.file(&one_task("true"));
    // What plays the server here knows nothing of TLS.
    let url = |port: u16| format!("postgresql://me:{CANARY}@127.0.0.1:{port}/orders?sslmode=disable");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("failed to connect to database \"orders\" at 127.0.0.1:{nobody} as user \"me\": ");
    assert_unusable(
        &bench,
        &url(nobody),
        &file,
        &[&place, "connection refused; check that the server runs there"],
    );

    let refusing = fake_server(|stream| {
        read_startup(stream)?;
        stream.write_all(&message(b'E', b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"))
    });
    assert_unusable(&bench, &url(refusing), &file, &["sorry, too many clients already; close other clients"]);

    let old = fake_server(old_server);
    let parts = ["the server is PostgreSQL 11.22, at least 12 is needed; upgrade the server"];
    assert_unusable(&bench, &url(old), &file, &parts);

    let closed =
        bench.command(&["list"]).env("DATABASE_URL", format!("postgresql://me:{CANARY}@h:port/d")).output();
    let faulty = String::from_utf8(closed.unwrap().stderr).unwrap();
    assert!(faulty.contains("DATABASE_URL: the port after a host's : is not a number"), "{faulty}");
    assert!(!faulty.contains(CANARY), "{faulty}");
}

#[test]
fn a_wrong_password_is_told_by_its_source_and_never_shown() {
    let bench = Bench::new("bad_password");
    let folder = bench.folder.join("server");
    fs::create_dir(&folder).unwrap();
    // The server may run as another user than this test.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let rules = folder.join("rules");
    fs::write(&rules, "local all postgres trust\nlocal all all scram-sha-256\n").unwrap();
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
    let options = [("fsync", "off"), ("shared_buffers", "8MB"), ("hba_file", rules.to_str().unwrap()), SCRAM];
    let cluster = PrivateCluster::open_with(&folder.join("data"), &options).unwrap();
    let mut owner = cluster.connect("test").unwrap();
    owner.batch_execute("CREATE ROLE app LOGIN PASSWORD 'right'").unwrap();
    let directory = socket_directory(&mut owner);
    drop(owner);

    let file = bench.file(&one_task("true"));
    let url = format!("host='{directory}' dbname=postgres user=app password='{CANARY}'");
    let refused =
        "the server refused user \"app\" with the password in DATABASE_URL: password authentication failed";
    assert_unusable(&bench, &url, &file, &[refused, "; correct the user or the password"]);
    let url = format!("host='{directory}' dbname=postgres user=app");
    let mut command = bench.command(&["list", "--json"]);
    command.env("DATABASE_URL", &url).env("PGPASSWORD", CANARY);
    let told = without_canary(ended(&mut command)).expect(4);
    assert!(told.err.contains("with the password in PGPASSWORD: "), "{told:#?}");
    let mut command = bench.command(&["list", "--database-url"]);
    let told = without_canary(ended(command.arg(url))).expect(4);
    assert!(told.err.contains("with no password: "), "{told:#?}");
    cluster.close().unwrap();
}

#[test]
fn a_database_that_takes_no_writes_can_be_looked_at_and_nothing_else() {
    let bench = Bench::new("bad_read_only");
    let file = bench.file(&one_task("true"));
    let name = bench.database.schema.clone();
    let mut owner = bench.database.sql();
    let directory = socket_directory(&mut owner);
    owner.batch_execute(&format!("CREATE DATABASE \"{name}\"")).unwrap();
    let url = format!("host='{directory}' user=postgres dbname={name}");
    let on = |words: &[&str]| ended(bench.command(words).env("DATABASE_URL", &url));
    on(&["types", "register", &file]).expect(0);
    on(&["start", "one-task"]).expect(0);
    owner
        .batch_execute(&format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on"))
        .unwrap();
    for words in [&["run", &file][..], &["start", "one-task"], &["serve", "--no-http"], &["migrate"]] {
        let refused = on(words).expect(4);
        assert!(refused.err.contains("the server allows no writes; connect to the primary"), "{refused:#?}");
    }
    assert!(on(&["list"]).expect(0).out.contains("one-task-1"));
    drop_database(&mut owner, &name).unwrap();
}

#[test]
fn a_schema_newer_than_the_program_is_refused_with_both_versions() {
    let bench = Bench::with_tables("bad_newer");
    let file = bench.file(&one_task("true"));
    let newer = "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'future', '')";
    bench.database.sql().batch_execute(newer).unwrap();
    let known = process_orchestrator::store::migrate::known_version();
    for words in
        [&["run", &file][..], &["start", "one-task"], &["serve", "--no-http"], &["list"], &["migrate"]]
    {
        let refused = bench.run(words).expect(1);
        let schema = &bench.database.schema;
        let start = format!("error: failed to use schema \"{schema}\": it is at version 9999");
        assert!(refused.err.starts_with(&start), "{words:?}: {refused:#?}");
        assert!(
            refused.err.contains(&format!("knows versions up to {known} only")),
            "{words:?}: {refused:#?}"
        );
    }
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named_with_what_to_do() {
    let bench = Bench::new("bad_data_dir");
    let file = bench.file(&one_task("true"));
    for (directory, part) in [
        (
            file.clone(),
            format!("{file} is not a directory; choose another with PROCESS_ORCHESTRATOR_DATA_DIR"),
        ),
        (format!("{file}/data"), format!("{file}/data cannot be written: Not a directory")),
        ("/proc/data".to_owned(), "/proc/data cannot be written: ".to_owned()),
    ] {
        let refused = bench.run(&["run", &file, "--data-dir", &directory]).expect(4);
        assert!(
            refused.err.contains(&format!("error: failed to use the private PostgreSQL in {directory}: "))
        );
        assert!(refused.err.contains(&part), "{part:?}: {refused:#?}");
        assert!(refused.err.contains("or name a server with DATABASE_URL"), "{refused:#?}");
    }
}

/// Waits until the test's command has written its process id into the file.
fn pid_in(file: &std::path::Path) -> u32 {
    wait_until("the command has begun", || {
        fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))?.trim().parse().ok()
    })
}

/// A command that runs for ever at its first attempt, and ends at once at the next.
fn slow_once(pid_file: &std::path::Path) -> ProcessType {
    let pid_file = pid_file.display();
    let text = format!("[ $TASK_ATTEMPT = 1 ] || exec echo again; echo $$ > '{pid_file}'; exec sleep 600");
    ProcessType::new("slow-once", "").add(script("only", &text))
}

#[test]
#[cfg(target_os = "linux")]
fn the_commands_of_a_killed_serve_die_and_the_next_serve_runs_them_again_at_once() {
    /// Without the shortcut for predecessors of its own host a node waits 10 s before it takes over.
    const TAKEOVER_MAX: Duration = Duration::from_secs(9);
    let bench = Bench::with_tables("bad_killed");
    let pid_file = bench.folder.join("pid");
    bench.database.register(&slow_once(&pid_file));
    let id = bench.database.start("slow-once", ProcessInputData::new());
    let mut first = bench.spawn(&["serve", "--no-http"]);
    drop(until_line(&mut first, " ready: node "));
    let command = pid_in(&pid_file);
    let killed_at = Instant::now();
    signal(&first, "-KILL");
    first.wait().unwrap();
    wait_until("the guard has ended the command", || (!is_alive(command)).then_some(()));

    let mut second = bench.spawn(&["serve", "--no-http"]);
    let rest = until_line(&mut second, " ready: node ");
    let process = bench.database.wait_for(&id);
    let took = killed_at.elapsed();
    signal(&second, "-TERM");
    drop(rest);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(process.status, ProcessStatus::Completed);
    assert!(took < TAKEOVER_MAX, "taken over after {took:?}");
    let outcomes: Vec<_> =
        bench.database.store().executions(&id).unwrap().iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Lost, Outcome::Succeeded]);
    let shown = bench.run(&["show", &id]).expect(0);
    assert!(shown.out.contains("  only  COMPLETED         2   0 of 0  "), "no retry is spent: {shown:#?}");
}

/// The server's process, by the lock file of the cluster.
fn server_pid(data_dir: &std::path::Path) -> u32 {
    let clusters = fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().path().join("postmaster.pid"));
    let file = clusters.into_iter().find(|file| file.exists()).unwrap();
    fs::read_to_string(file).unwrap().lines().next().unwrap().trim().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_private_cluster_whose_server_and_user_were_killed_serves_the_next_command() {
    let bench = Bench::new("bad_crashed");
    let data_dir = bench.folder.join("data");
    let pid_file = bench.folder.join("pid");
    let file = bench.file(&slow_once(&pid_file));
    let mut run = bench.command(&["run", &file, "--data-dir", "data"]).stderr(Stdio::null()).spawn().unwrap();
    let command = pid_in(&pid_file);
    let server = server_pid(&data_dir);
    signal(&run, "-KILL");
    run.wait().unwrap();
    crate::program::send(server, "-KILL");
    wait_until("both are gone", || (!is_alive(command) && !is_alive(server)).then_some(()));
    assert!(data_dir.join("run/.s.PGSQL.5432").exists(), "a crash leaves its socket");

    let again = bench.run(&["run", &file, "--data-dir", "data", "--process-id", "slow-once-1"]).expect(0);
    assert!(again.out.contains("  only  COMPLETED         2   0 of 0  "), "{again:#?}");
    wait_until("the last command has stopped the server", || {
        fs::read_dir(&data_dir)
            .unwrap()
            .all(|it| !it.unwrap().path().join("postmaster.pid").exists())
            .then_some(())
    });
}
