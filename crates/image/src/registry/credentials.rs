//! User names and passwords, and docker's `config.json` as a source of them. An entry is bound to exactly the
//! `host[:port]` it was saved for (CVE-2021-41092): no prefix match, no default that catches everything.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_types::{Class, Classified, Resource};
use serde::Deserialize;

const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A user's right to a registry. The password never appears in any output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// A refresh token that is exchanged for an access token instead of the password (docker's `identitytoken`).
    pub identity_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The parts of docker's `config.json` that hold credentials.
#[derive(Debug, Default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
}

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is no JSON of docker's shape.
    #[error("the docker config does not parse")]
    Syntax {
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is larger than such a file can be.
    #[error("the docker config is larger than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The entry's `auth` is not base64 of `user:password`.
    #[error("the docker config has an entry for {registry} that is not base64 of user:password")]
    Entry {
        /// The registry.
        registry: String,
    },
    /// The credentials are in a helper program, which is not run.
    #[error("credentials for {registry} are kept by docker-credential-{program}, which is not run")]
    Keeper {
        /// The registry.
        registry: String,
        /// The program's suffix.
        program: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry(…)")
    }
}

impl DockerConfig {
    /// Parses the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(CredentialsError::TooLarge { max: CONFIG_BYTES_MAX });
        }
        let raw: RawConfig =
            serde_json::from_slice(bytes).map_err(|source| CredentialsError::Syntax { source })?;
        let auths = raw.auths.into_iter().map(|(key, entry)| (registry_of(&key), entry)).collect();
        let helpers =
            raw.cred_helpers.into_iter().map(|(key, program)| (registry_of(&key), program)).collect();
        Ok(Self { auths, helpers, default_helper: raw.creds_store.filter(|name| !name.is_empty()) })
    }

    /// The credentials saved for a registry (`host[:port]`, `docker.io` for Docker Hub), `None` when there are none.
    pub fn credentials(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let broken = || CredentialsError::Entry { registry: registry.to_owned() };
        if let Some(program) = self.helpers.get(registry) {
            return Err(CredentialsError::Keeper { registry: registry.to_owned(), program: program.clone() });
        }
        let Some(entry) = self.auths.get(registry) else { return Ok(None) };
        let identity_token = entry.identitytoken.clone().filter(|token| !token.is_empty());
        if !entry.auth.is_empty() {
            let decoded = STANDARD.decode(entry.auth.trim()).map_err(|_| broken())?;
            let text = String::from_utf8(decoded).map_err(|_| broken())?;
            // Old files pad the text with NUL bytes.
            let (username, password) = text.trim_end_matches('\0').split_once(':').ok_or_else(broken)?;
            return Ok(Some(Credentials {
                username: username.to_owned(),
                password: password.to_owned(),
                identity_token,
            }));
        }
        if !entry.username.is_empty() {
            let (username, password) = (entry.username.clone(), entry.password.clone());
            return Ok(Some(Credentials { username, password, identity_token }));
        }
        // An empty entry is docker's mark that the credentials are in its credential store.
        match &self.default_helper {
            Some(program) => {
                Err(CredentialsError::Keeper { registry: registry.to_owned(), program: program.clone() })
            }
            None => Ok(None),
        }
    }
}

/// `https://index.docker.io/v1/` and `host:5000` as registries are named in references.
fn registry_of(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = bare.split('/').next().unwrap_or_default();
    if host == "index.docker.io" || host == "registry-1.docker.io" { "docker.io".into() } else { host.into() }
}

impl Classified for CredentialsError {
    fn class(&self) -> Class {
        match self {
            Self::Syntax { .. } | Self::TooLarge { .. } | Self::Entry { .. } => Class::InvalidArgument,
            Self::Keeper { .. } => Class::Unauthenticated,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::TooLarge { .. } | Self::Entry { .. } => "DOCKER_CONFIG_INVALID",
            Self::Keeper { .. } => "CREDENTIAL_PROGRAM_NOT_RUN",
        }
    }

    fn resource(&self) -> Option<Resource> {
        match self {
            Self::Syntax { .. } | Self::TooLarge { .. } => None,
            Self::Entry { registry } | Self::Keeper { registry, .. } => {
                Some(Resource { kind: "registry", name: registry.clone() })
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Keeper { .. } => Some("give user name and password with the request".into()),
            Self::Syntax { .. } | Self::TooLarge { .. } | Self::Entry { .. } => {
                Some("log in again to write the file anew".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_serves_exactly_its_host_and_port() {
        let auth = STANDARD.encode("me:pa:ss");
        let text = format!(
            r#"{{"auths":{{"host:5000":{{"auth":"{auth}"}},"https://index.docker.io/v1/":{{"auth":"{auth}"}}}}}}"#
        );
        let config = DockerConfig::parse(text.as_bytes()).expect("parses");
        let found = config.credentials("host:5000").expect("reads").expect("is there");
        assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "pa:ss"));
        assert!(config.credentials("docker.io").expect("reads").is_some());
        for other in ["host", "host:5001", "ghost:5000", "host:5000.evil.io", "evil.io"] {
            assert_eq!(config.credentials(other).expect("reads"), None, "{other}");
        }
    }

    #[test]
    fn credentials_kept_by_a_program_are_an_error_and_not_somebody_elses() {
        let config = DockerConfig::parse(br#"{"auths":{"a":{}},"credHelpers":{"b":"x"},"credsStore":"y"}"#)
            .expect("parses");
        assert!(matches!(config.credentials("a"), Err(CredentialsError::Keeper { .. })));
        assert!(matches!(config.credentials("b"), Err(CredentialsError::Keeper { .. })));
        assert_eq!(config.credentials("c").expect("reads"), None);
    }

    #[test]
    fn a_password_is_never_printed() {
        let credentials =
            Credentials { username: "me".into(), password: "hunter2".into(), identity_token: None };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
