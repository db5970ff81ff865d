//! A PostgreSQL of a test's own that speaks TLS, with authorities and certificates made on the spot.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::Client;
use process_orchestrator::database::private_cluster::PrivateCluster;
use process_orchestrator::database::{ConnectError, ConnectionSettings, ConnectionSource, Patience};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::common::{SCRAM, wait_until};

/// The password of every role that has one; nobody may ever read it.
pub const CANARY: &str = "canary-9c1";
/// The name that the server's certificates are for; no resolver knows it.
pub const HOST: &str = "db.test";

/// Who lets in whom: `app` anyhow, the others as their names say.
const RULES: &str = "\
local all all trust
hostssl all certified 127.0.0.0/8 cert
hostssl all only_tls 127.0.0.0/8 scram-sha-256
hostnossl all only_plain 127.0.0.0/8 scram-sha-256
host all app 127.0.0.0/8 scram-sha-256
host all asked_plainly 127.0.0.0/8 password
host all asked_md5 127.0.0.0/8 md5
host all asked_nothing 127.0.0.0/8 trust
";

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate with its private key, in PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these hosts and this common name, changed by `change` before it is signed.
    pub fn issue(&self, hosts: &[&str], name: &str, change: impl Fn(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = params(hosts, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// The list of the certificates with these numbers as revoked.
    pub fn revoked(&self, serials: &[u64]) -> String {
        self.revoked_until(serials, 4000)
    }

    /// The same, good until that year.
    pub fn revoked_until(&self, serials: &[u64], year: i32) -> String {
        let revoked_certs = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| host.to_string()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// One that is its own authority, as `openssl req -x509` makes it.
pub fn self_signed(hosts: &[&str], name: &str, change: impl Fn(&mut CertificateParams)) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params = params(hosts, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    Issued { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// The server, on an address of its own.
pub struct TlsServer {
    pub cluster: PrivateCluster,
    pub address: String,
    folder: PathBuf,
}

impl TlsServer {
    /// Without TLS as yet; `folder` has to be one that everybody may enter.
    pub fn new(folder: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        // All of 127.0.0.0/8 is this machine: an address of its own leaves every server the same port.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = format!("127.{}.{high}.{low}", 16 + NUMBER.fetch_add(1, Ordering::Relaxed) % 200);
        let rules = folder.join("rules");
        fs::write(&rules, RULES).unwrap();
        fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
        let options = [
            ("fsync", "off"),
            ("shared_buffers", "8MB"),
            ("listen_addresses", address.as_str()),
            ("hba_file", rules.to_str().unwrap()),
            SCRAM,
        ];
        let cluster = PrivateCluster::open_with(&folder.join("data"), &options).unwrap();
        let mut owner = cluster.connect("test").unwrap();
        for role in ["app", "only_tls", "only_plain", "certified", "asked_plainly", "asked_nothing"] {
            owner.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{CANARY}'")).unwrap();
        }
        let md5 = format!("SET password_encryption = md5; CREATE ROLE asked_md5 LOGIN PASSWORD '{CANARY}'");
        owner.batch_execute(&format!("SET client_min_messages = error; {md5}")).unwrap();
        owner.batch_execute("GRANT CREATE ON DATABASE postgres TO app").unwrap();
        drop(owner);
        Self { cluster, address, folder: folder.to_path_buf() }
    }

    /// Has the server show this certificate from now on; clients are believed if `clients` has signed theirs.
    pub fn show(&self, issued: &Issued, clients: Option<&Authority>) {
        self.place("server.crt", &issued.certificate);
        self.place("server.key", &issued.key);
        self.place("clients.crt", clients.map_or("", |it| it.pem.as_str()));
        let path = |name: &str| self.folder.join(name).display().to_string();
        let clients = clients.map_or(String::new(), |_| path("clients.crt"));
        self.reload(&[
            ("ssl_cert_file", &path("server.crt")),
            ("ssl_key_file", &path("server.key")),
            ("ssl_ca_file", &clients),
            ("ssl", "on"),
        ]);
    }

    /// Sets these and waits until new sessions have them.
    pub fn reload(&self, settings: &[(&str, &str)]) {
        let loaded = |client: &mut Client| -> std::time::SystemTime {
            client.query_one("SELECT pg_conf_load_time()", &[]).unwrap().get(0)
        };
        let mut owner = self.owner();
        let before = loaded(&mut owner);
        for (name, value) in settings {
            owner.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).unwrap();
        }
        owner.batch_execute("SELECT pg_reload_conf()").unwrap();
        wait_until("the server has read its settings", || (loaded(&mut self.owner()) > before).then_some(()));
    }

    pub fn owner(&self) -> Client {
        self.cluster.settings().open("test", &Patience::DEFAULT).unwrap()
    }

    /// A file that the server's user may read, and nobody else.
    fn place(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let data = fs::read_dir(self.folder.join("data")).unwrap().map(|entry| entry.unwrap().path());
        let owner = data.filter(|path| path.join("PG_VERSION").exists()).map(|path| path.metadata().unwrap());
        let owner = owner.last().unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// A file of the client's; its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// Connection parameters of `user`, with `rest`.
    pub fn url(&self, user: &str, rest: &str) -> String {
        format!(
            "host={HOST} hostaddr={} dbname=postgres user={user} password={CANARY} connect_timeout=20 {rest}",
            self.address
        )
    }

    /// Connects with this home directory and these variables.
    pub fn connect_in(
        &self,
        user: &str,
        rest: &str,
        variables: &[(&str, &str)],
    ) -> Result<Client, ConnectError> {
        let env = |name: &str| {
            let found =
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
            found.or_else(|| (name == "HOME").then(|| "/nonexistent".to_string()))
        };
        ConnectionSettings::from_url("DATABASE_URL", &self.url(user, rest), &env)
            .unwrap_or_else(|error| panic!("{error}"))
            .open("test", &Patience::DEFAULT)
    }

    pub fn connect(&self, user: &str, rest: &str) -> Result<Client, ConnectError> {
        self.connect_in(user, rest, &[])
    }

    /// Asserts that this connects; says whether it is encrypted.
    #[track_caller]
    pub fn is_encrypted(&self, user: &str, rest: &str) -> bool {
        let mut client = self.connect(user, rest).unwrap_or_else(|error| panic!("{user} {rest}: {error}"));
        client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).unwrap().get(0)
    }

    /// Asserts that this is refused with these words, and without the password.
    #[track_caller]
    pub fn assert_refused(&self, user: &str, rest: &str, parts: &[&str]) {
        let error = self.connect(user, rest).err().unwrap_or_else(|| panic!("{user} {rest} connects"));
        let text = format!("{error}");
        for part in parts {
            assert!(text.contains(part), "{rest}: {part:?} is not in {text:?}");
        }
        assert!(!format!("{text} {error:?}").contains(CANARY), "the password is shown: {error:?}");
        assert!(!error.is_transient(), "{text}");
    }
}
