//! The values of `sslmode`.

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
    pub(in crate::database) const NAMES: [(&str, SslMode); 6] = [
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
    pub(in crate::database) fn ways(self) -> (Way, Option<Way>) {
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
pub(in crate::database) enum Way {
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
