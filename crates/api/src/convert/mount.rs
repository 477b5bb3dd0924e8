//! Mounts and devices, both ways.

use gantry_types::{Device, Mount};

use super::check;
use super::field::{FieldProblem, InvalidField};
use crate::containers::v1;
use v1::MountPropagation as Propagation;
use v1::mount::Kind;

impl TryFrom<v1::Mount> for Mount {
    type Error = InvalidField;

    fn try_from(given: v1::Mount) -> Result<Self, InvalidField> {
        match given.kind {
            None => Err(InvalidField::new("kind", FieldProblem::Missing)),
            Some(Kind::Bind(bind)) => bind_mount(bind).map_err(|error| error.inside("bind")),
            Some(Kind::Tmpfs(tmpfs)) => tmpfs_mount(tmpfs).map_err(|error| error.inside("tmpfs")),
        }
    }
}

/// A path inside the container that is not its root.
fn target(path: String) -> Result<String, InvalidField> {
    check::must("target", check::absolute_path("target", path)?, "below the root folder", |path| {
        path.split('/').any(|part| !matches!(part, "" | "."))
    })
}

fn bind_mount(given: v1::BindMount) -> Result<Mount, InvalidField> {
    let propagation = match check::known::<Propagation>("propagation", "MountPropagation", given.propagation)?
    {
        Propagation::Unspecified => None,
        Propagation::Private => Some("private"),
        Propagation::Rprivate => Some("rprivate"),
        Propagation::Slave => Some("slave"),
        Propagation::Rslave => Some("rslave"),
        Propagation::Shared => Some("shared"),
        Propagation::Rshared => Some("rshared"),
    };
    Ok(Mount::Bind {
        source: check::absolute_path("source", given.source)?,
        target: target(given.target)?,
        read_only: given.read_only,
        recursive: !given.non_recursive,
        propagation: propagation.map(str::to_owned),
        create_source: given.create_source,
        id_mapped: given.id_mapped,
    })
}

fn tmpfs_mount(given: v1::TmpfsMount) -> Result<Mount, InvalidField> {
    check::within("mode", given.mode.map(u64::from), 0..=0o7777)?;
    Ok(Mount::Tmpfs {
        target: target(given.target)?,
        size_bytes: check::within("size_bytes", given.size_bytes, 1..=u64::MAX)?,
        mode: given.mode,
        read_only: given.read_only,
        options: check::texts("options", given.options, 64)?,
    })
}

impl From<&Mount> for v1::Mount {
    fn from(mount: &Mount) -> Self {
        let kind = match mount {
            Mount::Bind { source, target, read_only, recursive, propagation, create_source, id_mapped } => {
                Kind::Bind(v1::BindMount {
                    source: source.clone(),
                    target: target.clone(),
                    read_only: *read_only,
                    non_recursive: !recursive,
                    propagation: propagation_number(propagation.as_deref()),
                    create_source: *create_source,
                    id_mapped: *id_mapped,
                })
            }
            Mount::Tmpfs { target, size_bytes, mode, read_only, options } => Kind::Tmpfs(v1::TmpfsMount {
                target: target.clone(),
                size_bytes: *size_bytes,
                mode: *mode,
                read_only: *read_only,
                options: options.clone(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

/// The enum's number; a word that no conversion above makes means the default.
fn propagation_number(word: Option<&str>) -> i32 {
    let value = match word {
        Some("private") => Propagation::Private,
        Some("rprivate") => Propagation::Rprivate,
        Some("slave") => Propagation::Slave,
        Some("rslave") => Propagation::Rslave,
        Some("shared") => Propagation::Shared,
        Some("rshared") => Propagation::Rshared,
        Some(_) | None => Propagation::Unspecified,
    };
    value.into()
}

impl TryFrom<v1::Device> for Device {
    type Error = InvalidField;

    fn try_from(given: v1::Device) -> Result<Self, InvalidField> {
        let host_path = check::absolute_path("host_path", given.host_path)?;
        let container_path = if given.container_path.is_empty() {
            host_path.clone()
        } else {
            check::absolute_path("container_path", given.container_path)?
        };
        let permissions = if given.permissions.is_empty() { "rwm".into() } else { given.permissions };
        let permissions = check::must("permissions", permissions, "made of r, w and m", |text| {
            text.len() <= 3 && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'))
        })?;
        Ok(Self { host_path, container_path, permissions })
    }
}

impl From<&Device> for v1::Device {
    fn from(device: &Device) -> Self {
        Self {
            host_path: device.host_path.clone(),
            container_path: device.container_path.clone(),
            permissions: device.permissions.clone(),
        }
    }
}
