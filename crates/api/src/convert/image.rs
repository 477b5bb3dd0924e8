//! What an image says about running it, both ways. An image's configuration is bounded where it is read, so
//! nothing is checked again here except what a client sends with an import.

use gantry_types::ImageConfig;

use super::check;
use super::field::InvalidField;
use super::request::labels;
use crate::images::v1;

impl From<&ImageConfig> for v1::ImageConfig {
    fn from(config: &ImageConfig) -> Self {
        Self {
            entrypoint: config.entrypoint.clone(),
            command: config.command.clone(),
            env: config.env.clone(),
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            stop_signal: config.stop_signal.clone(),
            volumes: config.volumes.iter().cloned().collect(),
            exposed_ports: config.exposed_ports.iter().cloned().collect(),
            labels: config.labels.clone(),
        }
    }
}

impl TryFrom<v1::ImageConfig> for ImageConfig {
    type Error = InvalidField;

    fn try_from(given: v1::ImageConfig) -> Result<Self, InvalidField> {
        Ok(Self {
            entrypoint: check::texts("entrypoint", given.entrypoint, gantry_types::ARGS_MAX)?,
            command: check::texts("command", given.command, gantry_types::ARGS_MAX)?,
            env: check::texts("env", given.env, gantry_types::ENV_MAX)?,
            working_dir: check::optional_text("working_dir", given.working_dir, 4095)?,
            user: check::optional_text("user", given.user, 256)?,
            stop_signal: check::optional_text("stop_signal", given.stop_signal, 32)?,
            volumes: check::texts("volumes", given.volumes, 256)?.into_iter().collect(),
            exposed_ports: check::texts("exposed_ports", given.exposed_ports, 1024)?.into_iter().collect(),
            labels: labels(given.labels)?,
        })
    }
}
