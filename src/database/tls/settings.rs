//! Everything that TLS needs to know, and what speaks it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::check::{ServerCheck, Trust};
use super::files::{
    NamedFile, certificates, certificates_if_there, check_key_file, fault, revocation_lists,
    revocation_lists_in, system_certificates,
};
use super::mode::SslMode;
use crate::database::error::ConnectFailure;

/// Where the certificates of the authorities that we trust are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// The system's own store.
    System,
    /// This file, which must be there.
    File(PathBuf),
    /// This file if it is there.
    Default(PathBuf),
    /// There is no home to look in.
    Nowhere,
}

/// Everything that TLS needs to know.
#[derive(Debug, Clone)]
pub(in crate::database) struct TlsSettings {
    pub mode: SslMode,
    pub(super) roots: Roots,
    /// Certificate and private key that we show the server.
    pub(super) own: Option<(NamedFile, NamedFile)>,
    /// List of revoked certificates.
    pub(super) revoked: Option<NamedFile>,
    /// Directory of such lists.
    pub(super) revoked_directory: Option<PathBuf>,
    /// Say the server's name in the handshake.
    pub(super) says_name: bool,
    /// Begin with the handshake, without asking for TLS first (PostgreSQL 17).
    pub is_direct: bool,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
}

impl TlsSettings {
    pub fn disabled() -> Self {
        Self {
            mode: SslMode::Disable,
            roots: Roots::Nowhere,
            own: None,
            revoked: None,
            revoked_directory: None,
            says_name: true,
            is_direct: false,
            versions: rustls::ALL_VERSIONS,
        }
    }

    /// Reads the files and makes what speaks TLS.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, ConnectFailure> {
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
        Ok(Arc::new(config))
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
        let mut lists = Vec::new();
        if let Some(file) = &self.revoked {
            lists.extend(revocation_lists(file)?.unwrap_or_default());
        }
        if let Some(directory) = &self.revoked_directory {
            lists.extend(revocation_lists_in(directory)?);
        }
        if !lists.is_empty() {
            // As with libpq an old list is as good as none: what was revoked since is not in it.
            builder = builder.with_crls(lists.clone()).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| {
            let cause = format!("the certificates to check the server with cannot be used: {error}");
            fault(cause, "give PEM files of certificates (sslrootcert) and of revocation lists (sslcrl)")
        })?;
        Ok(Some(Trust { verifier, given, lists }))
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
