//! What nobody may learn: the database's password, from any output of the program or from the place of its commands; and
//! what the roles of the database may do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use process_orchestrator::ProcessType;
use process_orchestrator::platform::files::effective_uid;

use crate::cli::on_a_terminal;
use crate::common::{script, tool, wait_until};
use crate::program::{Bench, Ended, ended, signal, until_line, until_line_kept};
use crate::tls_server::{Authority, CANARY, HOST, TlsServer};

/// A user of nearly every system that owns nothing.
const NOBODY: &str = "65534";

/// What a curious command can look at: its own place, and the node's, whose child the shell is.
const CURIOUS: &str = "env; tr '\\0' '\\n' < /proc/self/environ; tr '\\0' ' ' < /proc/$PPID/cmdline; \
    for file in environ maps mem auxv; do cat /proc/$PPID/$file > /dev/null || echo \"closed: $file\"; done; \
    tr '\\0' '\\n' < /proc/$PPID/environ; ls /proc/$PPID/fd || echo closed: fd; \
    for number in /proc/self/fd/*; do echo \"open: $number $(readlink $number)\"; done; true";

/// The program as a user without rights, where this test is root's: root may read everything.
struct Place {
    bench: Bench,
    server: TlsServer,
    folder: std::path::PathBuf,
    program: String,
    setpriv: Option<std::path::PathBuf>,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        let setpriv = if effective_uid() == 0 { Some(tool("setpriv")?) } else { None };
        let bench = Bench::new(test);
        // A folder of its own: the one of the bench may be closed to the user without rights.
        let folder = std::env::temp_dir().join(format!("po-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let program = folder.join("process-orchestrator");
        fs::copy(env!("CARGO_BIN_EXE_process-orchestrator"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let server = TlsServer::new(&folder);
        Some(Self { bench, server, program: program.display().to_string(), folder, setpriv })
    }

    fn command(&self, words: &[&str]) -> Command {
        let starter: Vec<&str> = match &self.setpriv {
            None => Vec::new(),
            Some(setpriv) => {
                let path = setpriv.to_str().unwrap();
                vec![path, "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", &self.program]
            }
        };
        let mut command = match starter.split_first() {
            None => self.bench.command(words),
            Some(_) => self.bench.started_by_alone(&starter, words),
        };
        command.env("HOME", &self.folder).current_dir(&self.folder);
        command
    }

    fn close(self) {
        self.server.cluster.close().unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn without_canary(what: &str, text: &str) {
    assert!(!text.contains(CANARY), "{what} shows the password: {text}");
}

fn silent(ended: Ended) -> Ended {
    without_canary("a command", &format!("{}{}", ended.out, ended.err));
    ended
}

fn command_line(child: &Child) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{}/cmdline", child.id())).unwrap()).replace('\0', " ")
}

/// The whole answer of the endpoint, head and all.
fn http(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn curious() -> ProcessType {
    ProcessType::new("curious", "").add(script("look", CURIOUS))
}

#[test]
fn over_tls_a_node_works_and_nothing_that_it_prints_runs_or_answers_holds_its_password() {
    let Some(place) = Place::new("secrecy") else { return };
    let authority = Authority::new("our authority");
    place.server.show(&authority.issue(&[HOST], "db", |_| {}), None);
    let root = place.folder.join("root.crt");
    fs::write(&root, &authority.pem).unwrap();
    fs::write(place.folder.join("curious.json"), curious().to_value().to_string()).unwrap();
    let url = |password: &str| {
        format!(
            "postgresql://app{password}@{HOST}/postgres?hostaddr={}&sslmode=verify-full&sslrootcert={}",
            place.server.address,
            root.display()
        )
    };
    let words =
        ["serve", "--listen", "127.0.0.1:0", "--process-types", "curious.json", "--node-name", "worker-1"];

    // By URL on the command line, in the environment, and from the password file.
    let mut on_line = place.command(&words);
    on_line.args(["--log-level", "debug", "--database-url", &url(&format!(":{CANARY}"))]);
    let mut in_environment = place.command(&words);
    in_environment.env("DATABASE_URL", url("")).env("PGPASSWORD", CANARY);
    let passfile = place.folder.join("passwords");
    fs::write(&passfile, format!("*:*:*:*:{CANARY}\n")).unwrap();
    fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
    if place.setpriv.is_some() {
        let nobody = NOBODY.parse().ok();
        std::os::unix::fs::chown(&passfile, nobody, nobody).unwrap();
    }
    let mut from_file = place.command(&words);
    from_file.env("DATABASE_URL", url("")).env("PGPASSFILE", &passfile);

    for (number, command) in [on_line, in_environment, from_file].iter_mut().enumerate() {
        let mut node = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (address, mut rest) = until_ready(&mut node);
        let id = format!("curious-{number}");
        let on_database = |words: &[&str]| {
            let mut command = place.command(words);
            silent(ended(command.env("DATABASE_URL", url("")).env("PGPASSFILE", &passfile)))
        };
        on_database(&["start", "curious", "--process-id", &id, "--wait"]).expect(0);
        let printed = on_database(&["logs", &id]).expect(0).out;
        assert!(printed.contains("TASK_NAME=look"), "{printed}");
        for closed in ["environ", "maps", "mem", "fd"] {
            assert!(printed.contains(&format!("closed: {closed}")), "/proc of the node is open: {printed}");
        }
        let open: Vec<&str> = printed.lines().filter(|line| line.starts_with("open: ")).collect();
        let extra: Vec<&&str> =
            open.iter().filter(|line| line.contains("socket:") || line.contains(".so")).collect();
        assert!(open.len() >= 3 && extra.is_empty(), "{open:#?}");
        for words in
            [&["list", "--json"][..], &["show", &id, "--json"], &["nodes", "--json"], &["types", "list"]]
        {
            on_database(words).expect(0);
        }
        for path in [
            "/status",
            "/processes",
            "/nodes",
            "/readyz",
            "/process-types",
            &format!("/processes/{id}/tasks"),
        ] {
            let answer = http(&address, path);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            without_canary(path, &answer);
        }
        without_canary("the command line", &command_line(&node));
        assert_eq!(sessions(&place), ["http", "keeper", "listener", "poller", "recorder", "schedules"]);
        signal(&node, "-TERM");
        let mut printed = String::new();
        rest.read_to_string(&mut printed).unwrap();
        node.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        without_canary("the log", &printed);
        assert_eq!(node.wait().unwrap().code(), Some(0), "{printed}");
    }
    place.close();
}

/// The address of the endpoint, and what is printed after the node is ready.
fn until_ready(node: &mut Child) -> (String, impl Read + use<>) {
    let (seen, rest) = until_line_kept(node, " ready: node ");
    without_canary("the log", &seen);
    let address = seen.rsplit("http://").next().unwrap().split(',').next().unwrap().to_owned();
    (address, rest)
}

/// The roles of the node's sessions, all of which are encrypted.
fn sessions(place: &Place) -> Vec<String> {
    let mut owner = place.server.owner();
    let name = "process-orchestrator worker-1 ";
    wait_until("the node has all its sessions", || {
        let asked = "SELECT replace(application_name, $1, ''), ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                     WHERE application_name LIKE $1 || '%' ORDER BY 1";
        let rows = owner.query(asked, &[&name]).unwrap();
        assert!(rows.iter().all(|row| row.get::<_, bool>(1)), "{rows:?}");
        let mut roles: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        roles.dedup();
        (roles.len() == 6).then_some(roles)
    })
}

#[test]
fn the_runtime_role_runs_everything_and_makes_no_tables_and_the_reader_only_reads() {
    let bench = Bench::new("roles");
    let schema = bench.database.schema.clone();
    let (runtime, reader) = (format!("{schema}_runtime"), format!("{schema}_reader"));
    let mut owner = bench.database.sql();
    owner.batch_execute(&format!("CREATE ROLE {runtime} LOGIN; CREATE ROLE {reader} LOGIN")).unwrap();
    let directory: String = owner.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    let directory = directory.trim_matches('"');
    let as_role = |role: &str, words: &[&str]| {
        let url = format!("host='{directory}' user={role} dbname=postgres");
        ended(bench.command(words).env("DATABASE_URL", url))
    };
    let file = bench.file(&ProcessType::new("quick", "").add(script("only", "echo done")));

    // Nothing before the grants, and the remedy is said.
    let refused = as_role(&runtime, &["run", &file]).expect(1);
    assert!(refused.err.contains("permission denied for"), "{refused:#?}");
    let grant =
        format!("have the database's owner run: GRANT CREATE ON DATABASE \"postgres\" TO \"{runtime}\", or");
    assert!(refused.err.contains(&grant), "{refused:#?}");
    let migrate = format!("run: process-orchestrator migrate --grant-to \"{runtime}\"");
    assert!(refused.err.contains(&migrate), "{refused:#?}");
    let told = bench.run(&["migrate", "--grant-to", &runtime, "--grant-read-to", &reader]).expect(0);
    assert!(told.out.contains(&format!("granted use to \"{runtime}\"")), "{told:#?}");
    bench.run(&["migrate", "--grant-to", &runtime, "--grant-read-to", &reader]).expect(0);

    // All that a node and its people do.
    as_role(&runtime, &["types", "register", &file]).expect(0);
    as_role(&runtime, &["run", &file, "--process-id", "by-run"]).expect(0);
    let mut serve = bench.command(&["serve", "--no-http"]);
    serve.env("DATABASE_URL", format!("host='{directory}' user={runtime} dbname=postgres"));
    let mut node = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let rest = until_line(&mut node, " ready: node ");
    as_role(&runtime, &["start", "quick", "--process-id", "by-serve", "--wait"]).expect(0);
    signal(&node, "-TERM");
    drop(rest);
    assert_eq!(node.wait().unwrap().code(), Some(0));
    let reading = [&["list"][..], &["show", "by-run"], &["logs", "by-serve"], &["nodes"], &["types", "list"]];
    for role in [&runtime, &reader] {
        for words in reading {
            as_role(role, words).expect(0);
        }
    }

    // And no more.
    for (role, statement) in [
        (&runtime, "CREATE TABLE more ()"),
        (&runtime, "ALTER TABLE processes ADD COLUMN more int"),
        (&runtime, "DROP VIEW task_executions"),
        (&runtime, "DROP TABLE executions"),
        (&runtime, "DELETE FROM schema_migrations"),
        (&runtime, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        (&reader, "UPDATE tasks SET command = '\"true\"'"),
        (&reader, "DELETE FROM processes"),
        (&reader, "SELECT start_process('quick', '{}')"),
    ] {
        let text = format!("SET ROLE {role}; SET search_path = \"{schema}\"; {statement}");
        let error = bench.database.sql().batch_execute(&text).expect_err(statement);
        let state = error.code().map(|it| it.code().to_owned());
        assert_eq!(state.as_deref(), Some("42501"), "{statement}: {error:?}");
    }
    as_role(&reader, &["start", "quick"]).expect(1);
    owner
        .batch_execute(&format!("DROP OWNED BY {runtime}, {reader}; DROP ROLE {runtime}, {reader}"))
        .unwrap();
}

#[test]
fn what_a_command_prints_steers_nobodys_terminal() {
    let bench = Bench::new("steering");
    // A title, a bell, the cursor's place, and a colour; what is printed last is in the error message, too.
    let hostile = r"printf '\033]0;title\007\033[2J\033[31mred\033[Hend'; exit 3";
    let file = bench.file(&ProcessType::new("hostile", "").add(script("only", hostile)));
    bench.run(&["run", &file, "--process-id", "steered"]).expect(1);
    let faces = [&["logs", "steered"][..], &["show", "steered"], &["list"]];
    for words in faces {
        let Some(shown) = on_a_terminal(&bench, words) else { return };
        for steering in ["\x1b]0;", "\x07", "\x1b[2J", "\x1b[H"] {
            assert!(!shown.contains(steering), "{words:?} writes {steering:?}: {shown:?}");
        }
    }
    let shown = on_a_terminal(&bench, &["logs", "steered"]).unwrap();
    assert!(shown.contains("\x1b[31mredend\x1b[0m"), "a colour is harmless: {shown:?}");
    assert_eq!(bench.run(&["logs", "steered"]).expect(0).out, "redend", "a pipe gets the text");
    assert!(
        bench.run(&["logs", "steered", "--raw"]).expect(0).out.contains("\x1b]0;title\x07"),
        "the bytes are for those who ask for them"
    );
    let page = bench.run(&["show", "steered", "--json"]).expect(0).out;
    assert!(!page.contains('\x1b'), "JSON escapes it: {page:?}");
}
