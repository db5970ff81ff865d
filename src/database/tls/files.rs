//! Reads the files of TLS, and says what is wrong with one in words that name it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::database::error::ConnectFailure;

/// A file that is ours to name: it must be there if the user did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedFile {
    pub path: PathBuf,
    pub is_explicit: bool,
}

pub(super) fn fault(cause: impl Into<String>, remedy: impl Into<String>) -> ConnectFailure {
    ConnectFailure::Tls { cause: cause.into(), remedy: remedy.into() }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> ConnectFailure {
    let cause = format!("{} cannot be read: {error}", path.display());
    fault(cause, "correct the path or the file's permissions")
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectFailure> {
    let missing = || unreadable(path, &io::Error::new(io::ErrorKind::NotFound, "no such file"));
    certificates_if_there(path)?.ok_or_else(missing)
}

pub(super) fn certificates_if_there(
    path: &Path,
) -> Result<Option<Vec<CertificateDer<'static>>>, ConnectFailure> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(Some(found)),
        Ok(_) => Err(fault(
            format!("{} holds no certificate", path.display()),
            "give a PEM file, with -----BEGIN CERTIFICATE-----",
        )),
        Err(error) => Err(fault(
            format!("{} cannot be read as certificates: {error}", path.display()),
            "give a PEM file, with -----BEGIN CERTIFICATE-----",
        )),
    }
}

pub(super) fn system_certificates() -> Result<Vec<CertificateDer<'static>>, ConnectFailure> {
    let found = rustls_native_certs::load_native_certs();
    if !found.certs.is_empty() {
        return Ok(found.certs);
    }
    let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let cause = format!("the system's store holds no certificates ({})", causes.join("; "));
    Err(fault(cause, "install them (ca-certificates), or name a file with sslrootcert"))
}

pub(super) fn revocation_lists(
    file: &NamedFile,
) -> Result<Option<Vec<CertificateRevocationListDer<'static>>>, ConnectFailure> {
    let text = match fs::read(&file.path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !file.is_explicit => return Ok(None),
        Err(error) => return Err(unreadable(&file.path, &error)),
    };
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(Some(lists)),
        _ => Err(fault(
            format!("{} holds no list of revoked certificates", file.path.display()),
            "give a PEM file, with -----BEGIN X509 CRL-----",
        )),
    }
}

/// The lists of a directory as `openssl rehash` names them: a hash, `.r` and a number.
pub(super) fn revocation_lists_in(
    directory: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, ConnectFailure> {
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_list = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str()?.strip_prefix('r'));
        ending.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut lists = Vec::new();
    for path in paths.filter(is_list) {
        lists.extend(revocation_lists(&NamedFile { path, is_explicit: true })?.unwrap_or_default());
    }
    if lists.is_empty() {
        return Err(fault(
            format!("{} holds no list of revoked certificates", directory.display()),
            "name the lists in it by their hashes (openssl rehash), or name one file with sslcrl",
        ));
    }
    Ok(lists)
}

/// As libpq: ours and closed to everybody else, or root's and open to a group at most for reading.
pub(super) fn check_key_file(path: &Path, remedy: &str) -> Result<(), ConnectFailure> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(fault(format!("there is no private key {}", path.display()), remedy));
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    #[cfg(unix)]
    if crate::platform::files::is_key_exposed(&metadata) {
        return Err(fault(
            format!("the private key {} is open to others than its owner", path.display()),
            "chmod 600 it (640 if it belongs to root)",
        ));
    }
    #[cfg(not(unix))]
    let _ = metadata;
    Ok(())
}
