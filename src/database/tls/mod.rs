//! TLS as libpq's users know it: what each `sslmode` checks, and the certificates that belong to it.
//!
//! The files are read at every connection, so that a renewed certificate needs no restart; without TLS
//! nothing is read.

mod certificate;
mod check;
mod explain;
mod files;
mod options;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::check::{ServerCheck, Trust};
pub(super) use self::explain::{server_has_none, tls_failure};
use self::files::{
    certificates, certificates_if_there, check_key_file, fault, revocation_lists, system_certificates,
};
use super::error::ConnectFailure;

/// What the user wants of TLS, in libpq's words; each asks for more than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server refuses us without.
    Allow,
    /// If it can be had.
    Prefer,
    /// Always; the server's certificate is checked only where a root certificate is at hand.
    Require,
    /// The server's certificate must come from an authority that we know.
    VerifyCa,
    /// And be for the host that we connect to.
    VerifyFull,
}

impl SslMode {
    /// All of them by name.
    pub(super) const NAMES: [(&str, SslMode); 6] = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];

    /// As it is written in a URL.
    pub fn name(self) -> &'static str {
        // The list holds every mode, in this order.
        Self::NAMES[self as usize].0
    }

    /// How to connect, and how else if that fails for reasons of TLS.
    pub(super) fn ways(self) -> (Way, Option<Way>) {
        match self {
            Self::Disable => (Way::Plain, None),
            Self::Allow => (Way::Plain, Some(Way::Encrypted)),
            Self::Prefer => (Way::EncryptedIfOffered, Some(Way::Plain)),
            Self::Require | Self::VerifyCa | Self::VerifyFull => (Way::Encrypted, None),
        }
    }
}

/// One attempt's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    /// Without TLS on the same connection if the server has none.
    EncryptedIfOffered,
    Encrypted,
}

impl Way {
    pub fn ssl_mode(self) -> postgres::config::SslMode {
        match self {
            Self::Plain => postgres::config::SslMode::Disable,
            Self::EncryptedIfOffered => postgres::config::SslMode::Prefer,
            Self::Encrypted => postgres::config::SslMode::Require,
        }
    }
}

/// Where the certificates of the authorities that we trust are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Roots {
    /// The system's own store.
    System,
    /// This file, which must be there.
    File(PathBuf),
    /// This file if it is there.
    Default(PathBuf),
    /// There is no home to look in.
    Nowhere,
}

/// A file that is ours to name: it must be there if the user did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedFile {
    path: PathBuf,
    is_explicit: bool,
}

/// Everything that TLS needs to know.
#[derive(Debug, Clone)]
pub(super) struct TlsSettings {
    pub mode: SslMode,
    roots: Roots,
    /// Certificate and private key that we show the server.
    own: Option<(NamedFile, NamedFile)>,
    /// List of revoked certificates.
    revoked: Option<NamedFile>,
    /// Say the server's name in the handshake.
    says_name: bool,
    /// Begin with the handshake, without asking for TLS first (PostgreSQL 17).
    pub is_direct: bool,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl TlsSettings {
    pub fn disabled() -> Self {
        Self {
            mode: SslMode::Disable,
            roots: Roots::Nowhere,
            own: None,
            revoked: None,
            says_name: true,
            is_direct: false,
            versions: rustls::ALL_VERSIONS,
        }
    }

    /// Reads the files and makes what speaks TLS.
    pub fn connector(&self) -> Result<MakeRustlsConnect, ConnectFailure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let check = ServerCheck {
            trust: self.trust(&provider)?,
            is_name_checked: self.mode == SslMode::VerifyFull,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .map_err(|error| fault(format!("TLS cannot be set up: {error}"), "report this"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(check));
        let mut config = match self.own_certificate()? {
            None => builder.with_no_client_auth(),
            Some((path, chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
                let cause = format!("the client certificate {} cannot be used: {error}", path.display());
                fault(cause, "give the certificate and the private key that belong together: sslcert, sslkey")
            })?,
        };
        config.enable_sni = self.says_name;
        // A server that is spoken to without a word before wants to hear what for.
        config.alpn_protocols = if self.is_direct { vec![b"postgresql".to_vec()] } else { Vec::new() };
        Ok(MakeRustlsConnect::new(config))
    }

    /// Whom to trust; `None` is anybody.
    fn trust(&self, provider: &Arc<CryptoProvider>) -> Result<Option<Trust>, ConnectFailure> {
        let given = match &self.roots {
            Roots::System => system_certificates()?,
            Roots::File(path) => certificates(path)?,
            Roots::Default(path) => match certificates_if_there(path)? {
                Some(given) => given,
                None if self.mode < SslMode::VerifyCa => return Ok(None),
                None => {
                    return Err(fault(
                        format!(
                            "sslmode={} needs the certificate of the server's authority, and there is no {}",
                            self.mode.name(),
                            path.display()
                        ),
                        "put it there, name it with sslrootcert, or write sslrootcert=system",
                    ));
                }
            },
            Roots::Nowhere if self.mode < SslMode::VerifyCa => return Ok(None),
            Roots::Nowhere => {
                let cause =
                    format!("sslmode={} needs the certificate of the server's authority", self.mode.name());
                return Err(fault(cause, "name it with sslrootcert, or write sslrootcert=system"));
            }
        };
        let mut roots = RootCertStore::empty();
        // Of a system's store some may be beyond what we understand; of a file's at least one must not be.
        roots.add_parsable_certificates(given.iter().cloned());
        let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(file) = &self.revoked
            && let Some(lists) = revocation_lists(file)?
        {
            builder = builder.with_crls(lists);
        }
        let verifier = builder.build().map_err(|error| {
            let cause = format!("the certificates to check the server with cannot be used: {error}");
            fault(cause, "give PEM files of certificates (sslrootcert) and of revocation lists (sslcrl)")
        })?;
        Ok(Some(Trust { verifier, given }))
    }

    fn own_certificate(&self) -> Result<Option<OwnCertificate>, ConnectFailure> {
        let Some((certificate, key)) = &self.own else { return Ok(None) };
        if !certificate.is_explicit && !certificate.path.exists() {
            return Ok(None);
        }
        let chain = certificates(&certificate.path)?;
        let remedy = format!(
            "give it with sslkey, as the certificate is {}, or write sslcertmode=disable",
            certificate.path.display()
        );
        check_key_file(&key.path, &remedy)?;
        let private = PrivateKeyDer::from_pem_file(&key.path).map_err(|error| {
            let cause = format!("the private key {} cannot be read: {error}", key.path.display());
            fault(cause, "give an unencrypted private key in PEM format (openssl pkey -in … -out …)")
        })?;
        Ok(Some((certificate.path.clone(), chain, private)))
    }
}

type OwnCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);
