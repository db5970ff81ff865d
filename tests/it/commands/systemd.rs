//! What systemd is told, by a socket of the test's own, and the files that it reads.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use process_orchestrator::ProcessInputData;

use crate::common::{one_task, script, wait_until};
use crate::program::{Bench, ended, signal, until_line};

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, heard: String::new() }
    }

    /// What has come since the last call.
    fn hear(&mut self) -> String {
        let mut news = String::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            news += std::str::from_utf8(&buffer[..length]).unwrap();
            news.push('\n');
        }
        self.heard += &news;
        news
    }

    fn wait_for(&mut self, words: &str) {
        wait_until(&format!("systemd is told {words:?}, after {:?}", self.heard), || {
            self.hear();
            self.heard.contains(words).then_some(())
        });
    }
}

fn serve(bench: &Bench, socket: &str, variables: &[(&str, &str)], words: &[&str]) -> Child {
    let words = [&["serve", "--no-http", "--executors", "2", "--poll-interval", "100ms"], words].concat();
    let mut command = bench.command(&words);
    command.env("NOTIFY_SOCKET", socket).envs(variables.iter().copied());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn systemd_is_told_ready_alive_and_stopping_in_time() {
    let bench = Bench::with_tables("systemd_notify");
    let path = bench.folder.join("notify");
    let mut manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let usec = [("WATCHDOG_USEC", "3000000")];
    let mut node = serve(&bench, path.to_str().unwrap(), &usec, &["--drain-timeout", "60s"]);
    manager.wait_for("READY=1\nSTATUS=0 of 2 executors busy, 0 executions recorded");
    assert!(manager.heard.starts_with("STATUS=opening the database\n"), "{}", manager.heard);
    manager.wait_for("WATCHDOG=1");

    let go = bench.folder.join("go");
    let begun = bench.folder.join("begun");
    let wait = format!(": > '{}'; while [ ! -e '{}' ]; do sleep 0.02; done", begun.display(), go.display());
    bench.database.register(&one_task("true"));
    let held = process_orchestrator::ProcessType::new("held", "").add(script("wait", &wait));
    bench.database.register(&held);
    bench.database.start("held", ProcessInputData::new());
    wait_until("the command to begin", || begun.exists().then_some(()));
    signal(&node, "-TERM");
    manager.wait_for("STOPPING=1");
    manager.wait_for("EXTEND_TIMEOUT_USEC=20000000");
    let before = manager.heard.matches("WATCHDOG=1").count();
    wait_until("the watchdog is fed while the node stops", || {
        manager.hear();
        (manager.heard.matches("WATCHDOG=1").count() > before).then_some(())
    });
    fs::write(&go, "").unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(0));
}

#[test]
fn a_node_is_ready_once_it_has_looked_at_the_queue_and_asks_for_the_time_until_then() {
    let bench = Bench::with_tables("systemd_ready");
    let path = bench.folder.join("notify");
    let mut manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut client = bench.database.sql();
    let mut somebody = client.transaction().unwrap();
    somebody.batch_execute("LOCK TABLE scheduled_tasks IN ACCESS EXCLUSIVE MODE").unwrap();
    let mut node = serve(&bench, path.to_str().unwrap(), &[("WATCHDOG_USEC", "3000000")], &[]);
    manager.wait_for("EXTEND_TIMEOUT_USEC=20000000");
    assert!(!manager.heard.contains("READY=1"), "{}", manager.heard);
    somebody.rollback().unwrap();
    manager.wait_for("READY=1\nSTATUS=0 of 2 executors busy");
    signal(&node, "-TERM");
    assert_eq!(node.wait().unwrap().code(), Some(0));
}

#[test]
fn an_abstract_socket_and_a_watchdog_meant_for_another_process_are_understood() {
    let bench = Bench::with_tables("systemd_abstract");
    let name = bench.database.schema.clone();
    let mut manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let variables = [("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let mut node = serve(&bench, &format!("@{name}"), &variables, &[]);
    manager.wait_for("READY=1");
    signal(&node, "-TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(node.wait().unwrap().code(), Some(0));
    manager.hear();
    assert!(!manager.heard.contains("WATCHDOG=1"), "{}", manager.heard);
}

#[cfg(feature = "failpoints")]
#[test]
fn the_watchdog_starves_when_a_thread_does_not_move() {
    let bench = Bench::with_tables("systemd_stall");
    bench.database.register(&one_task("true"));
    let path = bench.folder.join("notify");
    let mut manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let hold = format!("after-claim=hold:{}", bench.folder.display());
    let variables = [("WATCHDOG_USEC", "1500000"), ("PROCESS_ORCHESTRATOR_FAILPOINTS", &hold)];
    let mut node = serve(&bench, path.to_str().unwrap(), &variables, &[]);
    let log = until_line(&mut node, " ready: node ");
    manager.wait_for("WATCHDOG=1");
    bench.database.start("one-task", ProcessInputData::new());
    let reached = bench.folder.join("after-claim.reached");
    wait_until("the poller is held", || reached.exists().then_some(()));
    let said = std::thread::spawn(move || {
        use std::io::BufRead;
        let mut lines = log.lines().map_while(Result::ok);
        let is_said =
            lines.any(|line| line.contains("the watchdog is not fed any more: thread poller does not move"));
        // Read on: a full pipe would hold the node up.
        lines.for_each(drop);
        is_said
    });
    wait_until("no more food comes", || {
        std::thread::park_timeout(Duration::from_secs(1));
        manager.hear();
        std::thread::park_timeout(Duration::from_secs(1));
        (!manager.hear().contains("WATCHDOG=1")).then_some(())
    });
    fs::write(bench.folder.join("after-claim.go"), "").unwrap();
    let before = manager.heard.matches("WATCHDOG=1").count();
    wait_until("food comes again when it moves", || {
        manager.hear();
        (manager.heard.matches("WATCHDOG=1").count() > before).then_some(())
    });
    assert_eq!(bench.database.wait_for("one-task-1").status.as_str(), "COMPLETED");
    signal(&node, "-TERM");
    assert_eq!(node.wait().unwrap().code(), Some(0));
    assert!(said.join().unwrap(), "the log does not say why");
}

#[test]
fn every_option_and_variable_of_the_unit_is_one_the_program_knows() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let unit = fs::read_to_string(scripts.join("process-orchestrator.service")).unwrap();
    let settings = fs::read_to_string(scripts.join("process-orchestrator.env")).unwrap();
    for word in [
        "Type=notify",
        "KillMode=mixed",
        "WatchdogSec=",
        "OOMPolicy=continue",
        "LoadCredential=database-url:",
    ] {
        assert!(unit.contains(word), "{word} is not in the unit");
    }
    let bench = Bench::new("systemd_unit");
    let help = bench.run(&["serve", "--help"]).expect(0).out;
    let names = settings
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('=').map(|(name, _)| name.trim()));
    let mut count = 0;
    for name in names.filter(|name| !name.contains(' ')) {
        let is_known = help.contains(name) || name == "RUST_LOG";
        assert!(is_known, "{name} of process-orchestrator.env is not in `serve --help`");
        count += 1;
    }
    assert!(count >= 6, "only {count} settings");
}

#[test]
fn install_puts_files_in_place_keeps_settings_and_takes_files_away() {
    let bench = Bench::new("systemd_install");
    let root = bench.folder.join("root");
    let install = |words: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install");
        // Root's own files may be closed to others.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(script);
        command.args(words).env("DESTDIR", &root).env("PREFIX", "/opt/po");
        ended(&mut command).expect(0)
    };
    let binary = env!("CARGO_BIN_EXE_process-orchestrator");
    install(&["--binary", binary]);
    let unit = root.join("etc/systemd/system/process-orchestrator.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("\nExecStart=/opt/po/bin/process-orchestrator serve\n"), "{text}");
    assert!(text.contains("\nExecReload=/bin/sh -c 'kill -HUP $MAINPID'\n"), "{text}");
    let program = root.join("opt/po/bin/process-orchestrator");
    assert_eq!(fs::metadata(&program).unwrap().len(), fs::metadata(binary).unwrap().len());
    let secret = root.join("etc/process-orchestrator/database-url");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    for shell in
        ["bash-completion/completions/process-orchestrator", "zsh/site-functions/_process-orchestrator"]
    {
        assert!(fs::metadata(root.join("opt/po/share").join(shell)).unwrap().len() > 500, "{shell}");
    }

    let closed = ["-mindepth", "1", "!", "-name", "database-url", "!", "-perm", "-004"];
    let found = ended(std::process::Command::new("find").arg(&root).args(closed)).expect(0).out;
    assert_eq!(found, "", "closed to whom it was installed for");

    let manual = root.join("opt/po/share/man/man1");
    for page in ["process-orchestrator.1", "process-orchestrator-run.1", "process-orchestrator-types-list.1"]
    {
        let text = fs::read_to_string(manual.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains("\n.TH ") && text.contains("EXAMPLES"), "{page}: {text}");
    }
    // Of a release before, and of somebody else.
    fs::write(manual.join("process-orchestrator-gone.1"), "").unwrap();
    fs::write(manual.join("other.1"), "").unwrap();

    fs::write(&secret, "postgresql://here").unwrap();
    install(&["--binary", binary]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "postgresql://here");
    assert!(!manual.join("process-orchestrator-gone.1").exists());
    install(&["--uninstall"]);
    assert!(!program.exists() && !unit.exists() && secret.exists());
    let left: Vec<_> = fs::read_dir(&manual).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["other.1"]);
    install(&["--purge"]);
    assert!(!secret.exists());
}

#[test]
fn the_node_finds_the_database_by_the_credential_and_tells_the_journal_priorities() {
    let bench = Bench::with_tables("systemd_credential");
    let credentials = bench.folder.join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("database-url"), "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2\n")
        .unwrap();
    let mut command = bench.command(&["serve", "--no-http"]);
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    let refused = ended(&mut command).expect(4);
    assert!(refused.err.contains("127.0.0.1:1"), "{refused:#?}");
    for (words, code) in [(&["serve", "--no-http"][..], 4), (&["serve", "--executors", "none"], 2)] {
        let said = bench.folder.join("said");
        let file = fs::File::create(&said).unwrap();
        let meta = file.metadata().unwrap();
        let mut command = bench.command(words);
        command.env("CREDENTIALS_DIRECTORY", &credentials).stderr(file);
        command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
        assert_eq!(command.status().unwrap().code(), Some(code));
        let said = fs::read_to_string(&said).unwrap();
        assert!(said.starts_with("<3>error: ") && said.lines().all(|line| line.starts_with("<3>")), "{said}");
    }

    // Standard error as systemd would pass it on: the stream is named by device and inode.
    let journal = bench.folder.join("journal");
    let file = fs::File::create(&journal).unwrap();
    let meta = file.metadata().unwrap();
    let mut command = bench.command(&["serve", "--no-http", "--executors", "2"]);
    fs::create_dir(bench.folder.join("process-types")).unwrap();
    command.env("PROCESS_ORCHESTRATOR_PROCESS_TYPES", "process-types");
    command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino())).stderr(file);
    let mut node = command.stdout(Stdio::null()).spawn().unwrap();
    let read = || fs::read_to_string(&journal).unwrap();
    wait_until("the node is ready", || read().contains(" ready: node ").then_some(()));
    signal(&node, "-TERM");
    assert_eq!(node.wait().unwrap().code(), Some(0));
    let text = read();
    let warning = "<4>warn serve: process-types of PROCESS_ORCHESTRATOR_PROCESS_TYPES is empty";
    assert!(text.lines().any(|line| line.starts_with(warning)), "{text}");
    assert!(text.lines().any(|line| line.starts_with("<6>info node: node started node_id=")), "{text}");
}
