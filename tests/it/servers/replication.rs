//! A primary and a standby that follows it, of a test's own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postgres::NoTls;
use postgres::config::Host;
use process_orchestrator::database::Patience;
use process_orchestrator::platform::{files, processes};

use crate::common::{settings, wait_until};
use crate::program::signal;

const PRIMARY: u16 = 5432;
const STANDBY: u16 = 5433;

/// Two servers whose sockets lie in one folder. Every commit waits until the standby has it.
pub struct Pair {
    /// Where PostgreSQL's programs are: those of the suite's own server.
    programs: PathBuf,
    folder: PathBuf,
    user: files::User,
    primary: Child,
    standby: Child,
}

impl Pair {
    /// `None` where PostgreSQL is installed without the program that copies a server.
    pub fn start(test: &str) -> Option<Self> {
        let mut client = settings().open("test", &Patience::DEFAULT).unwrap();
        let row = client.query_one("SELECT setting FROM pg_config WHERE name = 'BINDIR'", &[]).unwrap();
        let programs = PathBuf::from(row.get::<_, String>(0));
        if !programs.join("pg_basebackup").is_file() {
            assert!(std::env::var_os("CI").is_none(), "{} lacks pg_basebackup", programs.display());
            crate::common::leave_out(format_args!("{} lacks pg_basebackup", programs.display()));
            return None;
        }
        let [Host::Unix(sockets)] = settings().config().get_hosts() else { panic!("no socket") };
        // As the suite's server: no server runs as root.
        let user = files::user_by_id(fs::metadata(sockets).unwrap().uid()).unwrap().unwrap();
        let folder = std::env::temp_dir().join(format!("po-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        files::give_to(&folder, &user).unwrap();
        let run = |program: &str, words: &[&str]| run(&programs.join(program), words, &user);
        let (host, first, second) = (text(&folder), text(&folder.join("a")), text(&folder.join("b")));
        run(
            "initdb",
            &["-D", &first, "-A", "trust", "-U", "postgres", "--no-sync", "--encoding=UTF8", "--locale=C"],
        );
        let all_wait = "synchronous_standby_names=*";
        let primary = serve(&programs, &folder, &user, "a", PRIMARY, &[all_wait]);
        drop(wait_for_server(&folder, PRIMARY));
        let port = PRIMARY.to_string();
        run(
            "pg_basebackup",
            &["-h", &host, "-p", &port, "-U", "postgres", "-D", &second, "-R", "-c", "fast", "--no-sync"],
        );
        let standby = serve(&programs, &folder, &user, "b", STANDBY, &[]);
        let pair = Self { programs, folder, user, primary, standby };
        let mut client = wait_for_server(&pair.folder, PRIMARY);
        wait_until("commits wait for the standby", || {
            let following =
                "SELECT FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
            client.query_opt(following, &[]).unwrap()
        });
        Some(pair)
    }

    /// Both hosts, of which the one that takes writes is wanted.
    pub fn url(&self) -> String {
        let folder = self.folder.display();
        format!(
            "postgresql:///postgres?host={folder},{folder}&port={PRIMARY},{STANDBY}&user=postgres\
             &target_session_attrs=read-write&connect_timeout=5"
        )
    }

    /// The primary ends as if its machine had lost power.
    pub fn stop_primary(&mut self) {
        signal(&self.primary, "-QUIT");
        self.primary.wait().unwrap();
    }

    pub fn promote_standby(&self) {
        run(&self.programs.join("pg_ctl"), &["promote", "-D", &text(&self.folder.join("b"))], &self.user);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for server in [&mut self.primary, &mut self.standby] {
            // One that is stopped hears SIGQUIT when it goes on; one that has ended can't be signalled.
            if server.try_wait().is_ok_and(|ended| ended.is_none()) {
                signal(server, "-CONT");
                signal(server, "-QUIT");
                let _ = server.wait();
            }
        }
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn as_server(command: &mut Command, user: &files::User) {
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    processes::run_as(command, user);
}

fn run(program: &Path, words: &[&str], user: &files::User) {
    let mut command = Command::new(program);
    command.args(words);
    as_server(&mut command, user);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

fn serve(
    programs: &Path,
    folder: &Path,
    user: &files::User,
    name: &str,
    port: u16,
    options: &[&str],
) -> Child {
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(folder.join(name)).args(["-p", &port.to_string()]);
    let sockets = format!("unix_socket_directories={}", folder.display());
    for option in ["listen_addresses=", &sockets, "fsync=off"].iter().chain(options) {
        command.args(["-c", option]);
    }
    let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    as_server(&mut command, user);
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn wait_for_server(folder: &Path, port: u16) -> postgres::Client {
    let mut config = postgres::Config::new();
    config.host_path(folder).port(port).user("postgres").dbname("postgres");
    wait_until(&format!("the server at port {port} answers"), || config.connect(NoTls).ok())
}
