//! What a failed handshake means.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, OtherError};

use super::check::Refusal;
use crate::database::error::ConnectFailure;

/// The failure of TLS behind an attempt's error, if it is one.
pub(in crate::database) fn tls_failure(error: &postgres::Error) -> Option<ConnectFailure> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = cause
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(found) = found {
            return Some(explain(found));
        }
        source = cause.source();
    }
    None
}

/// The failure of TLS in an error of a stream, if it is one.
pub(in crate::database) fn failure_in(error: &io::Error) -> Option<ConnectFailure> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(explain)
}

/// The client library's words for a server that answers a request for TLS with no.
pub(in crate::database) fn server_has_none(message: &str) -> bool {
    message.contains("server does not support TLS")
}

fn explain(error: &rustls::Error) -> ConnectFailure {
    let (cause, remedy) = match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            match other.downcast_ref::<Refusal>() {
                Some(refusal) => (refusal.cause.clone(), refusal.remedy.clone()),
                None => (format!("TLS failed: {other}"), "make the server's certificate anew".to_string()),
            }
        }
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(_) => (
            "what answers does not speak TLS".to_string(),
            "check that host and port are PostgreSQL's".to_string(),
        ),
        rustls::Error::PeerIncompatible(_) => (
            "the server and this program have no kind of TLS in common".to_string(),
            "have the server allow TLS 1.2 or 1.3 (ssl_min_protocol_version, ssl_ciphers)".to_string(),
        ),
        error => (format!("TLS failed: {error}"), "see the server's log".to_string()),
    };
    ConnectFailure::Tls { cause, remedy }
}

fn of_alert(alert: AlertDescription) -> (String, String) {
    let about_ours = [
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::DecryptError,
        AlertDescription::CertificateRequired,
    ];
    match about_ours.contains(&alert) {
        true => (
            format!("the server refused this client's certificate ({alert:?})"),
            "give one from an authority in the server's ssl_ca_file: sslcert and sslkey".to_string(),
        ),
        // It has a key of a kind with which nobody here can have it sign.
        false if alert == AlertDescription::HandshakeFailure => (
            "the server and this program have no kind of TLS in common".to_string(),
            "give the server a certificate with an RSA, ECDSA or Ed25519 key (RSA-PSS and Ed448 keys are not known here), \
             and have it allow TLS 1.2 or 1.3"
                .to_string(),
        ),
        false => {
            (format!("the server ended the TLS handshake ({alert:?})"), "see the server's log".to_string())
        }
    }
}
