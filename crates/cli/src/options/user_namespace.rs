//! The flags of `run` and `create` that say whose users a container's are. `--uidmap` and `--gidmap` are podman's.

use clap::Args;
use gantry_api::containers::v1::{self, ContainerOptions, UserNamespaceMode};
use gantry_types::IdMapping;

use crate::failure::Failure;

/// Flags of a container's user namespace.
#[derive(Debug, Args)]
pub(super) struct UserNamespaceFlags {
    /// User namespace: host, auto or auto:size=N; the daemon's default when left out
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Map users of the container to users of the host; groups too, without --gidmap
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT", conflicts_with = "userns")]
    uidmap: Vec<IdMapping>,
    /// Map groups of the container to groups of the host; users too, without --uidmap
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT", conflicts_with = "userns")]
    gidmap: Vec<IdMapping>,
}

impl UserNamespaceFlags {
    /// The options with what was asked.
    pub(super) fn apply(self, mut options: ContainerOptions) -> Result<ContainerOptions, Failure> {
        let users = if self.uidmap.is_empty() { &self.gidmap } else { &self.uidmap };
        let list = |mappings: &[IdMapping]| mappings.iter().copied().map(v1::IdMapping::from).collect();
        (options.uid_mappings, options.gid_mappings) = (list(users), list(&self.gidmap));
        let Some(text) = self.userns.as_deref() else { return Ok(options) };
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let mode = match (word, rest) {
            ("", "") => UserNamespaceMode::Unspecified,
            ("host", "") => UserNamespaceMode::Host,
            ("auto", "") => UserNamespaceMode::Auto,
            ("auto", rest) => {
                let size = rest.strip_prefix("size=").and_then(|number| number.parse().ok());
                options.user_namespace_ids = size.filter(|size| *size > 0).ok_or_else(|| unknown(text))?;
                UserNamespaceMode::Auto
            }
            _ => return Err(unknown(text)),
        };
        options.user_namespace_mode = mode.into();
        Ok(options)
    }
}

fn unknown(text: &str) -> Failure {
    Failure::new(format!("--userns {text:?} is not available"))
        .hint("use --userns host, auto or auto:size=N, or --uidmap and --gidmap")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: UserNamespaceFlags,
    }

    fn options(words: &str) -> Option<ContainerOptions> {
        let words = ["gantry"].into_iter().chain(words.split_whitespace());
        Line::try_parse_from(words).ok()?.flags.apply(ContainerOptions::default()).ok()
    }

    #[test]
    fn a_mode_may_have_a_size() {
        let mode = |words: &str| {
            options(words).map(|options| (options.user_namespace_mode(), options.user_namespace_ids))
        };
        assert_eq!(mode(""), Some((UserNamespaceMode::Unspecified, 0)));
        assert_eq!(mode("--userns host"), Some((UserNamespaceMode::Host, 0)));
        assert_eq!(mode("--userns auto"), Some((UserNamespaceMode::Auto, 0)));
        assert_eq!(mode("--userns=auto:size=1000"), Some((UserNamespaceMode::Auto, 1000)));
        for words in [
            "--userns keep-id",
            "--userns host:x",
            "--userns auto:size=0",
            "--userns auto:size=x",
            "--userns auto:x",
        ] {
            assert_eq!(mode(words), None, "{words}");
        }
    }

    #[test]
    fn one_kind_of_mapping_is_both_and_none_goes_with_a_mode() {
        let mapped = options("--gidmap 0:1000:1").expect("allowed");
        assert_eq!((mapped.uid_mappings.len(), mapped.gid_mappings.len()), (1, 1));
        let mapped = options("--uidmap 0:1000:1 --uidmap 1:5000:9").expect("allowed");
        assert_eq!(
            (mapped.uid_mappings.len(), mapped.gid_mappings.len()),
            (2, 0),
            "the daemon fills them in"
        );
        assert!(options("--uidmap 0:1000").is_none() && options("--userns auto --uidmap 0:1000:1").is_none());
    }
}
