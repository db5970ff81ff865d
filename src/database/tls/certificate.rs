//! What a certificate says of itself, for checks that the TLS library does not make and for messages.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate's own words. Nothing here is believed before its signature is.
pub(super) struct Described {
    certificate: Certificate,
}

impl Described {
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        Certificate::from_der(der).ok().map(|certificate| Self { certificate })
    }

    /// From when until when it holds.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        let validity = &self.certificate.tbs_certificate.validity;
        let at = |time: x509_cert::time::Time| {
            // The format ends with the year 9999, as jiff does.
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        (at(validity.not_before), at(validity.not_after))
    }

    /// The hosts that it is for: names and addresses of its extension, and its common name.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.alternative_names().0;
        names.extend(self.common_name().filter(|name| !names.contains(name)));
        names
    }

    /// Whether its common name is that of the server, which counts only without names in the extension.
    pub fn is_commonly_named(&self, server: &ServerName<'_>) -> bool {
        let (_, has_names) = self.alternative_names();
        !has_names && self.common_name().is_some_and(|name| fits(&name, &server.to_str()))
    }

    /// Who has signed it. Anybody may have written that: what could steer a terminal or begin a line is escaped.
    pub fn issuer(&self) -> String {
        self.certificate.tbs_certificate.issuer.to_string().escape_debug().to_string()
    }

    pub fn is_self_issued(&self) -> bool {
        self.certificate.tbs_certificate.issuer == self.certificate.tbs_certificate.subject
    }

    /// Whether one of the lists of its issuer has it.
    pub fn is_revoked_by(&self, lists: &[CertificateRevocationListDer<'_>]) -> bool {
        let ours = &self.certificate.tbs_certificate;
        lists.iter().filter_map(|der| CertificateList::from_der(der).ok()).any(|list| {
            let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
            list.tbs_cert_list.issuer == ours.issuer
                && revoked.iter().any(|it| it.serial_number == ours.serial_number)
        })
    }

    pub fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'static>> {
        self.certificate.tbs_certificate.subject_public_key_info.to_der().ok().map(Into::into)
    }

    /// Hosts of the extension, and whether there are any names of hosts among them.
    fn alternative_names(&self) -> (Vec<String>, bool) {
        let Ok(Some((_, SubjectAltName(all)))) = self.certificate.tbs_certificate.get::<SubjectAltName>()
        else {
            return (Vec::new(), false);
        };
        let shown = all.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
            _ => None,
        });
        let shown = shown.collect::<Vec<_>>();
        let has_names = !shown.is_empty();
        (shown, has_names)
    }

    fn common_name(&self) -> Option<String> {
        let parts = self.certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
        let mut names = parts.filter(|attribute| attribute.oid == CN);
        names.next().map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
    v4.or(v6).ok().map(|address| address.to_string())
}

/// A `*` stands for the first label, as libpq has it.
fn fits(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(domain), Some((first, rest))) = (pattern.strip_prefix("*."), host.split_once('.')) else {
        return false;
    };
    !first.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_common_name_fits_whole_or_with_a_star_for_the_first_label() {
        for (pattern, host, expected) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.com", "example.com", false),
            ("*", "db", false),
            ("d*.example.com", "db.example.com", false),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(fits(pattern, host), expected, "{pattern} {host}");
        }
    }
}
