//! Checks the server's certificate as far as the `sslmode` asks.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::certificate::Described;

/// Whose certificates are believed.
#[derive(Debug)]
pub(super) struct Trust {
    pub verifier: Arc<WebPkiServerVerifier>,
    /// The same certificates as they were given.
    pub given: Vec<CertificateDer<'static>>,
    /// Which of them, and of those that they have signed, were revoked.
    pub lists: Vec<CertificateRevocationListDer<'static>>,
}

/// What is asked of a server.
#[derive(Debug)]
pub(super) struct ServerCheck {
    /// `None` believes anybody: the connection is then encrypted, to whomever.
    pub trust: Option<Trust>,
    pub is_name_checked: bool,
    pub algorithms: WebPkiSupportedAlgorithms,
}

/// Why a certificate is not believed, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub cause: String,
    pub remedy: String,
}

impl Refusal {
    fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

impl Trust {
    /// Whether the certificate comes from somebody we know and holds now.
    fn check_origin(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        // A server's own certificate among the given ones is known by itself. The TLS library would have it only
        // if it is not an authority's too, which `openssl req -x509` makes of every one.
        if self.given.iter().any(|given| given == certificate) {
            check_time(certificate, now)?;
            return match Described::read(certificate).is_some_and(|it| it.is_revoked_by(&self.lists)) {
                true => Err(revoked()),
                false => Ok(()),
            };
        }
        match self.verifier.verify_server_cert(certificate, between, server, &[], now) {
            // It looks at the name last, when all the rest was found good.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            Err(error) => Err(explain(&error, certificate)),
        }
    }
}

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Refusal> {
    let unreadable = || Refusal::new("the server's certificate cannot be read", "make it anew");
    let (from, until) = Described::read(certificate).ok_or_else(unreadable)?.validity();
    let now = i64::try_from(now.as_secs()).ok().and_then(|now| Timestamp::from_second(now).ok());
    let now = now.unwrap_or(Timestamp::MAX);
    match () {
        () if now < from => Err(too_early(from)),
        () if now > until => Err(expired(until)),
        () => Ok(()),
    }
}

fn expired(until: Timestamp) -> Refusal {
    let cause = format!("the server's certificate has expired on {}", shown(until));
    Refusal::new(cause, "renew it on the server, or set this machine's clock right")
}

fn revoked() -> Refusal {
    Refusal::new(
        "the server's certificate was revoked",
        "have the server get a new one, and find out why it was revoked",
    )
}

fn too_early(from: Timestamp) -> Refusal {
    let cause = format!("the server's certificate is not valid before {}", shown(from));
    Refusal::new(cause, "set this machine's clock right, or make the certificate anew")
}

fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn explain(error: &Error, certificate: &CertificateDer<'_>) -> Refusal {
    let described = Described::read(certificate);
    let validity = described.as_ref().map(Described::validity);
    let Error::InvalidCertificate(fault) = error else {
        return Refusal::new(format!("the server's certificate is not accepted: {error}"), "make it anew");
    };
    match (fault, validity) {
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, Some((_, until))) => {
            // It may be an authority's on the way that has expired.
            match until < Timestamp::now() {
                true => expired(until),
                false => Refusal::new(
                    "the certificate of an authority that the server's depends on has expired",
                    "renew it, and give the new one with sslrootcert",
                ),
            }
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, Some((from, _))) => {
            too_early(from)
        }
        _ if described.as_ref().is_some_and(Described::is_self_issued) => Refusal::new(
            format!(
                "the server's certificate is its own authority ({}) and not known here",
                described.map_or(String::new(), |it| it.issuer())
            ),
            "give it with sslrootcert",
        ),
        (CertificateError::UnknownIssuer | CertificateError::BadSignature, _) => {
            let by = described.map(|it| it.issuer()).filter(|issuer| !issuer.is_empty());
            let by = by.unwrap_or_else(|| "nobody by name".to_string());
            Refusal::new(
                format!("the server's certificate is issued by an unknown authority ({by})"),
                "give that authority's certificate with sslrootcert",
            )
        }
        (CertificateError::Revoked, _) => revoked(),
        (
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
            _,
        ) => Refusal::new(
            "the list of revoked certificates has expired, so nobody knows what was revoked since",
            "get the authority's new list: sslcrl or sslcrldir (~/.postgresql/root.crl where none is named)",
        ),
        (CertificateError::UnknownRevocationStatus, _) => Refusal::new(
            "there are lists of revoked certificates, but none of the authority that has issued the server's",
            "add that authority's list: sslcrl or sslcrldir (~/.postgresql/root.crl where none is named)",
        ),
        (
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            _,
        ) => Refusal::new(
            "the server's certificate has a key, or is signed in a way, that is not known here (such as RSA-PSS keys, \
             Ed448 or SHA-1)",
            "make it anew with an RSA, ECDSA or Ed25519 key and a signature with SHA-256 or better",
        ),
        _ => Refusal::new(
            format!("the server's certificate is not accepted: {}", innermost(fault)),
            "make it anew as X.509 version 3 with a subjectAltName, or use sslmode=require",
        ),
    }
}

fn innermost(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Other(OtherError(other)) => other.to_string(),
        fault => fault.to_string(),
    }
}

/// By the names of the extension or, without any, by the common name, as libpq has it.
fn check_name(certificate: &CertificateDer<'_>, server: &ServerName<'_>) -> Result<(), Refusal> {
    let parsed = ParsedCertificate::try_from(certificate);
    if parsed.and_then(|parsed| verify_server_name(&parsed, server)).is_ok() {
        return Ok(());
    }
    let described = Described::read(certificate);
    if described.as_ref().is_some_and(|it| it.is_commonly_named(server)) {
        return Ok(());
    }
    let names: Vec<String> =
        described.map(|it| it.names()).unwrap_or_default().iter().map(|name| format!("{name:?}")).collect();
    let names = if names.is_empty() { "no host".to_string() } else { names.join(", ") };
    Err(Refusal::new(
        format!("the server's certificate is for {names}, not for {:?}", server.to_str()),
        "connect by a name that it holds, or use sslmode=verify-ca, which takes any host of that authority",
    ))
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trust) = &self.trust {
            trust.check_origin(end_entity, intermediates, server_name, now)?;
            if self.is_name_checked {
                check_name(end_entity, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Of a certificate of version 1, which PostgreSQL's manual makes, the TLS library reads nothing at all;
        // its key is enough here: whether to believe the certificate was decided above.
        if ParsedCertificate::try_from(cert).is_err()
            && let Some(key) = Described::read(cert).and_then(|it| it.public_key())
        {
            return verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms);
        }
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
