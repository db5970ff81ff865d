//! Who may use the endpoint of `serve`, and from where.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::CliError;
use crate::http::{TOKEN_CHARS_MIN, TokenFile};

/// Where systemd puts what `LoadCredential=http-token:…` names.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIAL: &str = "http-token";

/// Where help lists these options, and those that say where it listens.
pub const HEADING: &str = "HTTP endpoint";

/// Who may use the endpoint.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "endpoint")]
pub struct Options {
    /// A file with the token (16 characters or more) that POST calls need: start, cancel, retry; without it the endpoint
    /// is for reading only [default: systemd's credential "http-token", if there is one]
    #[arg(long, value_name = "FILE", help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_HTTP_TOKEN_FILE", hide_env_values = true)]
    pub http_token_file: Option<PathBuf>,
    /// Listen on an address that other machines reach although there is no token
    #[arg(long, help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_INSECURE", hide_env_values = true)]
    pub insecure: bool,
}

impl Options {
    /// Opens the token file, if there is one, and refuses an address that is open to others without one.
    ///
    /// # Errors
    /// What the command line or the file lacks, with the remedy.
    pub fn open(&self, listen: SocketAddr) -> Result<Option<TokenFile>, CliError> {
        let credentials = std::env::var_os(CREDENTIALS_VARIABLE).map(PathBuf::from);
        let path = self.path(credentials.as_deref());
        let token = path.map(|path| TokenFile::open(&path)).transpose();
        let token = token.map_err(|error| CliError::Usage(format!("failed to {error}")))?;
        if listen.ip().is_loopback() {
            return Ok(token);
        }
        if token.is_none() && !self.insecure {
            return Err(CliError::Usage(format!(
                "--listen {listen} would show all inputs and outputs to whoever reaches that address; give a token of \
                 at least {TOKEN_CHARS_MIN} characters with --http-token-file FILE, or listen on 127.0.0.1 behind a \
                 proxy or tunnel that asks who comes, or say --insecure if the network is closed to others"
            )));
        }
        log::warn!(
            "the endpoint listens on {listen}: whoever reaches it can read all processes, token or not"
        );
        Ok(token)
    }

    /// The option goes before the credential.
    fn path(&self, credentials: Option<&Path>) -> Option<PathBuf> {
        let credential =
            credentials.map(|directory| directory.join(CREDENTIAL)).filter(|path| path.is_file());
        self.http_token_file.clone().or(credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_token_or_a_word() {
        let (here, everywhere) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([0, 0, 0, 0], 1)));
        let usual = Options::default();
        assert!(matches!(usual.open(here), Ok(None)));
        let Err(CliError::Usage(message)) = usual.open(everywhere) else { panic!("it is let through") };
        for part in ["0.0.0.0:1", "--http-token-file", "--insecure"] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
        assert!(matches!(Options { insecure: true, ..usual.clone() }.open(everywhere), Ok(None)));
        let missing = Options { http_token_file: Some("/nowhere/token".into()), insecure: true };
        let Err(CliError::Usage(message)) = missing.open(here) else { panic!("it is let through") };
        assert!(message.starts_with("failed to use the token file \"/nowhere/token\": "), "{message}");
    }

    #[test]
    fn systemds_credential_counts_where_no_file_is_named() {
        let directory = std::env::temp_dir().join(format!("credentials-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let options = Options::default();
        assert_eq!(options.path(Some(&directory)), None, "there is no such credential");
        std::fs::write(directory.join(CREDENTIAL), "0123456789abcdef").unwrap();
        assert_eq!(options.path(Some(&directory)), Some(directory.join(CREDENTIAL)));
        let named = Options { http_token_file: Some("/named".into()), ..options };
        assert_eq!(named.path(Some(&directory)), Some("/named".into()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
