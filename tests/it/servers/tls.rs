//! TLS to the server: what every `sslmode` takes and refuses, in the words that a person reads.
#![cfg(target_os = "linux")] // elsewhere 127.0.0.1 is the only address that needs no setting up

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{SerialNumber, date_time_ymd};

use crate::tls_server::{Authority, HOST, Issued, TlsServer, self_signed};

/// A folder that is gone when the test has passed.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("po-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        // The server may run as another user than this test.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

#[test]
fn a_server_without_tls_is_taken_or_refused_by_the_mode() {
    let folder = Folder::new("tls-none");
    let server = TlsServer::new(&folder.0);
    for mode in ["", "sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
        assert!(!server.is_encrypted("app", mode), "{mode}");
    }
    let ca = server.file("ca.crt", &Authority::new("anybody").pem);
    for mode in ["require", "verify-ca", "verify-full"] {
        let part = format!("the server does not speak TLS, which sslmode={mode} asks for; set it up on the");
        server.assert_refused("app", &format!("sslmode={mode} sslrootcert={ca}"), &[&part]);
    }
    server.assert_refused("app", "channel_binding=require", &["channel binding"]);
    server.cluster.close().unwrap();
}

#[test]
fn every_mode_checks_the_servers_certificate_as_far_as_it_says() {
    let folder = Folder::new("tls-modes");
    let server = TlsServer::new(&folder.0);
    let (ours, theirs) = (Authority::new("our authority"), Authority::new("another authority"));
    let (our, their) = (server.file("ours.crt", &ours.pem), server.file("theirs.crt", &theirs.pem));
    let with = |mode: &str, roots: &str| format!("sslmode={mode} sslrootcert={roots}");

    // The right name, by a known authority.
    server.show(&ours.issue(&[HOST, &server.address], "db", |_| {}), None);
    for rest in
        ["", "sslmode=prefer", "sslmode=require", &with("verify-ca", &our), &with("verify-full", &our)]
    {
        assert!(server.is_encrypted("app", rest), "{rest}");
    }
    for rest in ["sslmode=disable", "sslmode=allow"] {
        assert!(!server.is_encrypted("app", rest), "{rest}");
    }
    assert!(server.is_encrypted("app", &format!("{} host={}", with("verify-full", &our), server.address)));
    for version in ["ssl_max_protocol_version=TLSv1.2", "ssl_min_protocol_version=TLSv1.3", "sslsni=0"] {
        assert!(server.is_encrypted("app", &format!("{} {version}", with("verify-full", &our))), "{version}");
    }
    for binding in ["require", "prefer", "disable"] {
        let rest = format!("{} channel_binding={binding}", with("verify-full", &our));
        assert!(server.is_encrypted("app", &rest), "{binding}");
    }
    // Who gets in only with TLS, or only without.
    assert!(server.is_encrypted("only_tls", "sslmode=allow"));
    assert!(!server.is_encrypted("only_plain", "sslmode=prefer"));
    server.assert_refused(
        "only_tls",
        "sslmode=disable",
        &["lets nobody in without TLS", "use sslmode=prefer"],
    );
    server.assert_refused("only_plain", "sslmode=require", &["no pg_hba.conf entry"]);

    // An authority that is not known. With `prefer` there is then no TLS, as with libpq.
    let unknown = "the server's certificate is issued by an unknown authority (CN=our authority); give that";
    for mode in ["require", "verify-ca", "verify-full"] {
        server.assert_refused("app", &with(mode, &their), &[&format!("at {HOST}:5432"), unknown]);
    }
    assert!(!server.is_encrypted("app", &with("prefer", &their)));
    server.assert_refused("only_tls", &with("prefer", &their), &[unknown]);

    // Another name.
    server.show(&ours.issue(&["other.test", "10.9.8.7"], "elsewhere", |_| {}), None);
    assert!(server.is_encrypted("app", &with("verify-ca", &our)));
    let names = "the server's certificate is for \"other.test\", \"10.9.8.7\", \"elsewhere\", not for \"db.test\"; connect";
    server.assert_refused("app", &with("verify-full", &our), &[names, "or use sslmode=verify-ca"]);

    // A common name counts where there is no other, and a star for one label.
    server.show(&ours.issue(&[], "*.example.test", |_| {}), None);
    assert!(server.is_encrypted("app", &format!("{} host=a.example.test", with("verify-full", &our))));
    server.assert_refused("app", &with("verify-full", &our), &["is for \"*.example.test\", not for"]);

    // Out of its time.
    server.show(&ours.issue(&[HOST], "db", |it| it.not_after = date_time_ymd(2020, 2, 3)), None);
    let expired = "the server's certificate has expired on 2020-02-03 00:00:00 UTC; renew it on the server";
    server.assert_refused("app", &with("verify-ca", &our), &[expired]);
    assert!(server.is_encrypted("app", "sslmode=require"));
    server.show(&ours.issue(&[HOST], "db", |it| it.not_before = date_time_ymd(3000, 1, 1)), None);
    server.assert_refused(
        "app",
        &with("verify-full", &our),
        &["is not valid before 3000-01-01 00:00:00 UTC"],
    );

    // Revoked.
    server.show(&ours.issue(&[HOST], "db", |it| it.serial_number = Some(SerialNumber::from(77))), None);
    let (bad, good) =
        (server.file("bad.crl", &ours.revoked(&[77])), server.file("good.crl", &ours.revoked(&[78])));
    assert!(server.is_encrypted("app", &format!("{} sslcrl={good}", with("verify-full", &our))));
    // A list that has expired does not say what was revoked since; one of another authority says nothing.
    let (old, other) = (
        server.file("old.crl", &ours.revoked_until(&[78], 2024)),
        server.file("other.crl", &theirs.revoked(&[77])),
    );
    let rest = |list: &str| format!("{} sslcrl={list}", with("verify-full", &our));
    server.assert_refused("app", &rest(&old), &["the list of revoked certificates has expired", "new list"]);
    server.assert_refused("app", &rest(&other), &["none of the authority that has issued the server's"]);
    // The same lists in a directory, by their hashes.
    for (name, text) in
        [("bad", ours.revoked(&[77])), ("good", ours.revoked(&[78])), ("old", ours.revoked_until(&[], 2024))]
    {
        let directory = folder.0.join(name);
        fs::create_dir(&directory).unwrap();
        server.file(&format!("{name}/0a1b2c3d.r0"), &text);
        server.file(&format!("{name}/0a1b2c3d.r1"), &theirs.revoked(&[77]));
        let rest = format!("{} sslcrldir={}", with("verify-full", &our), directory.display());
        match name {
            "good" => assert!(server.is_encrypted("app", &rest)),
            "bad" => server.assert_refused("app", &rest, &["the server's certificate was revoked"]),
            _ => server.assert_refused("app", &rest, &["the list of revoked certificates has expired"]),
        }
    }
    let rest = |directory: &str| format!("{} sslcrldir={directory}", with("verify-full", &our));
    server.assert_refused("app", &rest("/nonexistent"), &["/nonexistent cannot be read"]);
    server.assert_refused("app", &rest(&folder.0.join("data").display().to_string()), &["openssl rehash"]);
    let rest = format!("{} sslcrl={bad}", with("verify-full", &our));
    server.assert_refused("app", &rest, &["the server's certificate was revoked"]);
    server.cluster.close().unwrap();
}

#[test]
fn require_auth_takes_what_it_says_and_gives_no_password_away_before() {
    let folder = Folder::new("tls-auth");
    let server = TlsServer::new(&folder.0);
    let ours = Authority::new("our authority");
    let ca = server.file("ours.crt", &ours.pem);
    let full = format!("sslmode=verify-full sslrootcert={ca}");
    for tls in ["sslmode=disable", &full] {
        if tls == full {
            server.show(&ours.issue(&[HOST], "db", |_| {}), None);
        }
        for (user, method) in [
            ("app", "scram-sha-256"),
            ("asked_plainly", "password"),
            ("asked_md5", "md5"),
            ("asked_nothing", "none"),
        ] {
            for right in [method.to_owned(), format!("{method},gss"), "!sspi".to_owned()] {
                assert_eq!(
                    server.is_encrypted(user, &format!("{tls} require_auth={right}")),
                    tls == full,
                    "{right}"
                );
            }
            for other in ["scram-sha-256", "password", "md5", "none"].into_iter().filter(|it| *it != method) {
                let asked =
                    if method == "none" { "asks for nothing" } else { &*format!("asks for {method}") };
                let words =
                    [&*format!("require_auth={other} does not allow what the server {asked}"), "pg_hba.conf"];
                server.assert_refused(user, &format!("{tls} require_auth={other}"), &words);
            }
            let words = [&*format!("require_auth=!{method} does not allow")];
            server.assert_refused(user, &format!("{tls} require_auth=!{method}"), &words);
        }
    }
    // What is wrong with TLS is told as without it.
    let other = server.file("theirs.crt", &Authority::new("another authority").pem);
    let rest = format!("sslmode=verify-full sslrootcert={other} require_auth=scram-sha-256");
    server.assert_refused("app", &rest, &["unknown authority (CN=our authority)"]);
    server.cluster.close().unwrap();
}

/// Of which only openssl makes what a server can read.
#[test]
fn keys_without_channel_binding_and_keys_that_are_not_known_are_told() {
    let Some(openssl) = crate::common::tool("openssl") else { return };
    let folder = Folder::new("tls-keys");
    let server = TlsServer::new(&folder.0);
    let show = |kind: &[&str]| {
        let path = |name: &str| folder.0.join(format!("{}.{name}", kind[0])).display().to_string();
        let (key, certificate) = (path("key"), path("crt"));
        let made = std::process::Command::new(&openssl)
            .args(["req", "-x509", "-nodes", "-days", "9", "-keyout", &key, "-out", &certificate, "-newkey"])
            .args(kind)
            .args(["-subj", "/CN=db.test", "-addext", "subjectAltName=DNS:db.test"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let read = |path: &str| fs::read_to_string(path).unwrap();
        server.show(&Issued { certificate: read(&certificate), key: read(&key) }, None);
        format!("sslmode=verify-full sslrootcert={certificate}")
    };
    let full = show(&["ed25519"]);
    for binding in ["prefer", "disable"] {
        assert!(server.is_encrypted("app", &format!("{full} channel_binding={binding}")), "{binding}");
    }
    let words = ["the server did not use channel binding", "not Ed25519", "or use sslmode=verify-full"];
    server.assert_refused("app", &format!("{full} channel_binding=require"), &words);
    for kind in [&["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"][..], &["ed448"]] {
        let full = show(kind);
        let error = server.connect("app", &full).err().unwrap().to_string();
        assert!(
            error.contains("RSA-PSS") && error.contains("RSA, ECDSA or Ed25519 key"),
            "{kind:?}: {error}"
        );
        assert!(!error.contains(['[', '{']), "a dump: {error}");
    }
    server.cluster.close().unwrap();
}

/// What the server says is in its own language; the codes are not.
#[test]
fn a_server_that_speaks_german_is_understood() {
    let folder = Folder::new("tls-german");
    let server = TlsServer::new(&folder.0);
    let ours = Authority::new("our authority");
    server.show(&ours.issue(&[HOST], "db", |_| {}), None);
    if server.owner().batch_execute("SET lc_messages = 'de_DE.UTF-8'").is_err() {
        eprintln!("left out: the locale de_DE.UTF-8 is not installed");
        return server.cluster.close().unwrap();
    }
    server.reload(&[("lc_messages", "de_DE.UTF-8")]);
    assert!(server.is_encrypted("only_tls", "sslmode=allow"));
    assert!(!server.is_encrypted("only_plain", "sslmode=prefer"));
    server.assert_refused(
        "only_tls",
        "sslmode=disable",
        &["lets nobody in without TLS", "use sslmode=prefer"],
    );
    server.assert_refused(
        "only_plain",
        "sslmode=require",
        &["the server refused user \"only_plain\"", "pg_hba.conf"],
    );
    server.assert_refused("nobody", "sslmode=require", &["the server refused user \"nobody\""]);
    server.assert_refused(
        "app",
        "password=canary-wrong",
        &["the server refused user \"app\"", "the password"],
    );
    server.show(&ours.issue(&[HOST], "db", |_| {}), Some(&ours));
    server.assert_refused("certified", "sslmode=require", &["sslcert and sslkey"]);
    server.assert_refused("app", "dbname=absent", &["no database \"absent\"; create it"]);
    server.cluster.close().unwrap();
}

#[test]
fn a_self_signed_certificate_is_known_by_itself() {
    let folder = Folder::new("tls-self");
    let server = TlsServer::new(&folder.0);
    let own = self_signed(&[HOST], "db", |_| {});
    let file = server.file("own.crt", &own.certificate);
    let with = |mode: &str| format!("sslmode={mode} sslrootcert={file}");
    server.show(&own, None);
    assert!(server.is_encrypted("app", "sslmode=require"));
    assert!(server.is_encrypted("app", &with("verify-full")));
    let elsewhere = format!("{} host=elsewhere", with("verify-full"));
    server.assert_refused("app", &elsewhere, &["is for \"db.test\", \"db\", not for \"elsewhere\""]);
    server.show(&self_signed(&[HOST], "db", |_| {}), None);
    server.assert_refused(
        "app",
        &with("verify-ca"),
        &["is its own authority (CN=db) and not known here; give it"],
    );
    let old = self_signed(&[HOST], "db", |it| it.not_after = date_time_ymd(2021, 1, 1));
    let file = server.file("old.crt", &old.certificate);
    server.show(&old, None);
    let rest = format!("sslmode=verify-full sslrootcert={file}");
    server.assert_refused("app", &rest, &["has expired on 2021-01-01"]);
    server.cluster.close().unwrap();
}

#[test]
fn a_client_shows_its_certificate_and_keeps_its_key_to_itself() {
    let folder = Folder::new("tls-client");
    let server = TlsServer::new(&folder.0);
    let (ours, theirs) = (Authority::new("our authority"), Authority::new("another authority"));
    server.show(&ours.issue(&[HOST], "db", |_| {}), Some(&ours));
    let home = folder.0.join("home");
    fs::create_dir_all(home.join(".postgresql")).unwrap();
    let issue = |authority: &Authority, user: &str, name: &str| {
        let issued = authority.issue(&[], user, |_| {});
        let certificate = server.file(&format!("{name}.crt"), &issued.certificate);
        (certificate, server.file(&format!("{name}.key"), &issued.key))
    };
    let (certificate, key) = issue(&ours, "certified", "home/.postgresql/postgresql");
    server.file("home/.postgresql/root.crt", &ours.pem);
    let with = |certificate: &str, key: &str| format!("sslmode=require sslcert={certificate} sslkey={key}");

    let user = |client: Result<postgres::Client, _>| -> String {
        let mut client =
            client.unwrap_or_else(|error: process_orchestrator::database::ConnectError| panic!("{error}"));
        client.query_one("SELECT current_user::text", &[]).unwrap().get(0)
    };
    assert_eq!(user(server.connect("certified", &with(&certificate, &key))), "certified");
    // Where libpq looks, and by its variables.
    let in_home = [("HOME", home.to_str().unwrap())];
    assert_eq!(user(server.connect_in("certified", "sslmode=verify-full", &in_home)), "certified");
    let variables = [("PGSSLCERT", certificate.as_str()), ("PGSSLKEY", &key), ("PGSSLMODE", "require")];
    assert_eq!(user(server.connect_in("certified", "", &variables)), "certified");
    let error =
        server.connect_in("certified", "sslmode=require sslcertmode=disable", &in_home).err().unwrap();
    assert!(
        error.to_string().contains("connection requires a valid client certificate; correct the user"),
        "{error}"
    );

    let (other, other_key) = issue(&ours, "somebody", "somebody");
    server.assert_refused(
        "certified",
        &with(&other, &other_key),
        &["certificate authentication failed", "sslcert"],
    );
    let (foreign, foreign_key) = issue(&theirs, "certified", "foreign");
    let refused =
        "the server refused this client's certificate (UnknownCA); give one from an authority in the";
    server.assert_refused("certified", &with(&foreign, &foreign_key), &[refused]);
    server.assert_refused(
        "certified",
        &with(&certificate, &other_key),
        &["cannot be used", "belong together"],
    );
    server.assert_refused(
        "certified",
        &with(&certificate, "/nonexistent/key"),
        &["there is no private key /n"],
    );
    server.assert_refused("certified", &with(&certificate, &certificate), &["cannot be read", "PEM"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    server.assert_refused(
        "certified",
        &with(&certificate, &key),
        &["is open to others than its owner; chmod 600"],
    );

    // A root certificate at home makes `require` check.
    server.file("home/.postgresql/root.crt", &theirs.pem);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let error = server.connect_in("certified", "sslmode=require", &in_home).err().unwrap();
    assert!(error.to_string().contains("unknown authority (CN=our authority)"), "{error}");
    server.cluster.close().unwrap();
}
