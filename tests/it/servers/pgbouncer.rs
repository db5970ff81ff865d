//! A PgBouncer of a test's own, in front of the suite's server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use postgres::config::Host;
use process_orchestrator::database::{ConnectionSettings, Patience};
use process_orchestrator::platform::{files, processes};

use crate::common::{settings, tool, wait_until};

/// The name of its socket; the directory is its own.
const PORT: u16 = 6432;

pub struct PgBouncer {
    program: PathBuf,
    folder: PathBuf,
    user: files::User,
    process: Child,
}

impl PgBouncer {
    /// `None` where it is not installed.
    pub fn start(test: &str, pool_mode: &str, pool_size: u32) -> Option<Self> {
        let [Host::Unix(sockets)] = settings().config().get_hosts() else { panic!("no socket") };
        let bouncer = Self::in_front_of(test, pool_mode, pool_size, sockets.to_str().unwrap())?;
        wait_until("PgBouncer answers", || bouncer.settings().open("test", &Patience::DEFAULT).ok());
        Some(bouncer)
    }

    /// The same in front of another server, whose socket lies in `host`; it listens.
    pub fn in_front_of(test: &str, pool_mode: &str, pool_size: u32, host: &str) -> Option<Self> {
        let program = tool("pgbouncer")?;
        let [Host::Unix(sockets)] = settings().config().get_hosts() else { panic!("no socket") };
        let folder = std::env::temp_dir().join(format!("pb-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        // It refuses to run as root, and the server's socket is open to the server's user alone.
        let user = files::user_by_id(fs::metadata(sockets).unwrap().uid()).unwrap().unwrap();
        files::give_to(&folder, &user).unwrap();
        let config = format!(
            "[databases]\n* = host={host} port={} user={}\n[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\n\
             unix_socket_dir = {}\nauth_type = any\npool_mode = {pool_mode}\ndefault_pool_size = {pool_size}\n\
             max_client_conn = 200\n",
            settings().config().get_ports()[0],
            settings().user(),
            folder.display()
        );
        fs::write(folder.join("pgbouncer.ini"), config).unwrap();
        let process = launch(&program, &folder, &user);
        let bouncer = Self { program, folder, user, process };
        bouncer.wait_until_it_listens();
        Some(bouncer)
    }

    pub fn url(&self) -> String {
        let folder = self.folder.display();
        format!(
            "postgresql:///{}?host={folder}&port={PORT}&user={}",
            settings().database(),
            settings().user()
        )
    }

    /// Connections through it, with nothing said of a pooler.
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings::from_url("test", &self.url(), &|_| None).unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.process = launch(&self.program, &self.folder, &self.user);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let socket = self.folder.join(format!(".s.PGSQL.{PORT}"));
        wait_until("PgBouncer listens", || UnixStream::connect(&socket).ok());
    }

    /// What is left on its sessions, all of which are held at once to be looked at: settings, prepared statements,
    /// channels, locks; one row of text for each session with any of them.
    pub fn traces(&self, sessions: usize) -> Vec<String> {
        const LEFT: &str = "SELECT concat_ws(' ', current_setting('search_path'), \
             current_setting('plan_cache_mode'), current_setting('enable_seqscan'), \
             current_setting('statement_timeout'), current_setting('lock_timeout'), \
             (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()), \
             (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'))";
        let nothing = "\"$user\", public auto on 0 0 0 0 0";
        let mut clients: Vec<_> =
            (0..sessions).map(|_| self.settings().open("test", &Patience::DEFAULT).unwrap()).collect();
        let found = clients.iter_mut().map(|client| {
            client.batch_execute("BEGIN").unwrap();
            let messages = client.simple_query(LEFT).unwrap();
            let row = messages.iter().find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            row.unwrap().to_owned()
        });
        found.filter(|text| text != nothing).collect()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

fn launch(program: &PathBuf, folder: &std::path::Path, user: &files::User) -> Child {
    let mut command = Command::new(program);
    command.arg("-q").arg(folder.join("pgbouncer.ini"));
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    processes::run_as(&mut command, user);
    command.spawn().unwrap()
}
