//! From connection parameters to what TLS needs to know.

use std::path::PathBuf;

use super::files::NamedFile;
use super::mode::SslMode;
use super::settings::{Roots, TlsSettings};
use crate::database::data_dir;
use crate::database::environment::Environment;
use crate::database::reader::{Place, Reader};
use crate::database::settings_error::SettingsError;

const ONLY_1_2: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl TlsSettings {
    /// Reads `sslmode` and what belongs to it; sockets need no TLS, whatever is asked for. Nothing is looked for on
    /// disk yet.
    pub fn read(reader: &Reader<'_>, places: &[Place], env: &Environment<'_>) -> Result<Self, SettingsError> {
        let wanted = Self::wanted(reader, env)?;
        let sockets = places.iter().filter(|place| place.is_socket()).count();
        if sockets == places.len() {
            return Ok(Self::disabled());
        }
        if sockets > 0 && wanted.mode >= SslMode::Require {
            return Err(reader.fault("sslmode", "hosts with TLS and sockets cannot be in one list"));
        }
        Ok(wanted)
    }

    fn wanted(reader: &Reader<'_>, env: &Environment<'_>) -> Result<Self, SettingsError> {
        let own_files = data_dir::home(env).map(|home| home.join(".postgresql"));
        let default = |name: &str| own_files.as_ref().map(|directory| directory.join(name));
        let file = |key: &str, name: &str| match reader.get(key) {
            Some(path) => Some(NamedFile { path: PathBuf::from(path), is_explicit: true }),
            None => default(name).map(|path| NamedFile { path, is_explicit: false }),
        };
        let roots = match reader.get("sslrootcert") {
            Some("system") => Roots::System,
            Some(path) => Roots::File(PathBuf::from(path)),
            None => default("root.crt").map_or(Roots::Nowhere, Roots::Default),
        };
        let mode = read_mode(reader, &roots)?;
        let shows_own = reader.choice("sslcertmode", &[("allow", true), ("disable", false)])?.unwrap_or(true);
        let own = file("sslcert", "postgresql.crt").zip(file("sslkey", "postgresql.key"));
        let is_direct =
            reader.choice("sslnegotiation", &[("postgres", false), ("direct", true)])?.unwrap_or(false);
        if is_direct && mode < SslMode::Require {
            return Err(reader.fault("sslnegotiation", "write sslmode=require or a verify-… with it"));
        }
        Ok(Self {
            mode,
            roots,
            own: own.filter(|_| shows_own),
            revoked: file("sslcrl", "root.crl"),
            revoked_directory: reader.get("sslcrldir").map(PathBuf::from),
            says_name: reader.choice("sslsni", &[("1", true), ("0", false)])?.unwrap_or(true),
            is_direct,
            versions: read_versions(reader)?,
        })
    }
}

fn read_mode(reader: &Reader<'_>, roots: &Roots) -> Result<SslMode, SettingsError> {
    let mode = reader.choice("sslmode", &SslMode::NAMES)?;
    match roots {
        // Anybody can have a certificate from one of the system's authorities: only the name tells.
        Roots::System if mode.is_some_and(|mode| mode < SslMode::VerifyFull) => {
            Err(reader.fault("sslmode", "with sslrootcert=system write verify-full, or leave it out"))
        }
        Roots::System => Ok(SslMode::VerifyFull),
        _ => Ok(mode.unwrap_or(SslMode::Prefer)),
    }
}

fn read_versions(
    reader: &Reader<'_>,
) -> Result<&'static [&'static rustls::SupportedProtocolVersion], SettingsError> {
    // Older ones than 1.2 are not spoken at all, whatever the least is.
    let least = [("TLSv1", 2), ("TLSv1.1", 2), ("TLSv1.2", 2), ("TLSv1.3", 3)];
    let least = reader.choice("ssl_min_protocol_version", &least)?.unwrap_or(2);
    let most = reader.choice("ssl_max_protocol_version", &[("TLSv1.2", 2), ("TLSv1.3", 3)])?.unwrap_or(3);
    match (least, most) {
        (2, 3) => Ok(rustls::ALL_VERSIONS),
        (2, 2) => Ok(ONLY_1_2),
        (3, 3) => Ok(ONLY_1_3),
        _ => Err(reader.fault("ssl_max_protocol_version", "write one that is not below the least")),
    }
}
