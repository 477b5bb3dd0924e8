//! What is asked of networks whose links are somebody else's to make: CNI plugins' and external drivers'. What a CNI
//! configuration says itself (addresses, MTU, ways out) cannot be asked for beside it.

use gantry_types::{CniOptions, ExternalOptions, NetworkDriver};

use super::field::{FieldProblem, InvalidField};
use super::{check, request};
use crate::networks::v1;

/// Bytes of a CNI configuration at the most.
const CONFIGURATION_BYTES_MAX: usize = 1 << 20;
/// Bytes of a name of a configuration or of a driver at the most.
const NAME_BYTES_MAX: usize = 128;

/// Refuses what the driver has no use for.
pub(super) fn check(driver: NetworkDriver, given: &v1::NetworkOptions) -> Result<(), InvalidField> {
    let refuse = |is_given: bool, field: &str, other: &'static str| {
        if is_given { Err(InvalidField::new(field, FieldProblem::Conflict { other })) } else { Ok(()) }
    };
    refuse(given.cni.is_some() && driver != NetworkDriver::Cni, "cni", "driver, which is not CNI")?;
    let external = driver == NetworkDriver::External;
    refuse(given.external.is_some() && !external, "external", "driver, which is not an external one")?;
    if driver != NetworkDriver::Cni {
        return Ok(());
    }
    let other = "driver, which is CNI: the configuration says so itself";
    refuse(!given.subnets.is_empty(), "subnets", other)?;
    refuse(given.no_ipv4, "no_ipv4", other)?;
    refuse(given.ipv6, "ipv6", other)?;
    refuse(given.internal, "internal", other)?;
    refuse(given.mtu.is_some(), "mtu", other)
}

/// A CNI configuration, or which one to look for; whether it is one is the engine's to say.
pub(super) fn cni(given: Option<v1::CniOptions>) -> Result<CniOptions, InvalidField> {
    let given = given.unwrap_or_default();
    Ok(CniOptions {
        name: check::optional_text("name", given.name, NAME_BYTES_MAX)?,
        configuration: check::optional_text("configuration", given.configuration, CONFIGURATION_BYTES_MAX)?,
    })
}

/// An external driver; whether there is one of that name is the daemon's to say.
pub(super) fn external(
    driver: NetworkDriver,
    given: Option<v1::ExternalOptions>,
) -> Result<ExternalOptions, InvalidField> {
    if driver != NetworkDriver::External {
        return Ok(ExternalOptions::default());
    }
    let given = given.unwrap_or_default();
    Ok(ExternalOptions {
        driver: check::text("driver", given.driver, NAME_BYTES_MAX)?,
        options: request::bounded_map("options", given.options)?,
    })
}
