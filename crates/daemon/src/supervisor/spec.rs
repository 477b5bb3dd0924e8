//! From a container's record to what its shim is told: the OCI spec, the plan compiled from it, the bundle
//! with the files that Gantry provides, and a shim that waits for the plan.

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use gantry_api::shim::v1::ForeignLaunch;
use gantry_runtime::plan::{self, NamespaceKind, PlanInput};
use gantry_runtime::spec::{self, ExecInput, GeneratedFiles, HostFacts, SpecInput};
use gantry_runtime::user::ResolvedUser;
use gantry_snapshot::Rootfs;
use gantry_types::{ContainerOptions, NetworkMode, ProcessOptions, RuntimeName};
use oci_spec::runtime::Spec;
use prost::Message;
use tokio::net::UnixStream;

use super::scope::Begun;
use crate::assemble::Daemon;
use crate::control::folders::snapshot_key;
use crate::error::Error;
use crate::tables::ContainerRecord;
use crate::{files, host, runtimes, users};

/// A shim that runs and waits to be told what to launch.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) socket: UnixStream,
    /// The encoded plan; empty with `foreign`.
    pub(super) plan: Vec<u8>,
    /// What another runtime is told, if one makes the container.
    pub(super) foreign: Option<ForeignLaunch>,
    /// The scope that waits for the container, where systemd makes control groups.
    pub(super) begun: Option<Begun>,
}

/// A further process, for whoever makes it.
#[derive(Debug)]
pub(super) enum Compiled {
    /// An encoded plan, for the shim.
    Plan(Vec<u8>),
    /// The OCI process in JSON, for another runtime.
    Foreign(Vec<u8>),
}

impl Daemon {
    /// Refuses a container whose spec could never be built, with nobody looked up and nothing touched.
    pub(crate) fn check_spec(&self, record: &ContainerRecord) -> Result<(), Error> {
        let nobody = ResolvedUser { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() };
        runtimes::check(&record.options)?;
        runtimes::find(&self.config, &record.options)?;
        self.build_spec(record, &nobody).map(drop)
    }

    /// Makes the bundle, compiles the plan and starts the shim.
    pub(super) async fn prepare_launch(
        self: &Arc<Self>,
        record: &Arc<ContainerRecord>,
    ) -> Result<Launch, Error> {
        let (daemon, record) = (Arc::clone(self), Arc::clone(record));
        let (socket, plan, foreign, begun) = self
            .blocking
            .run(move || {
                let socket = daemon.shims.shim(&format!("{}/{}", record.namespace, record.id.short()))?;
                daemon.write_bundle(&record)?;
                match daemon.foreign(&record)? {
                    None => {
                        let mut plan = daemon.compile_plan(&record)?;
                        let begun = daemon.begin_scope(&record, &mut plan)?;
                        Ok::<_, Error>((socket, plan.encode_to_vec(), None, begun))
                    }
                    Some(runtime) => {
                        let foreign = daemon.prepare_foreign(&record, &runtime)?;
                        Ok((socket, Vec::new(), Some(foreign), None))
                    }
                }
            })
            .await?;
        let socket = UnixStream::from_std(socket)
            .map_err(|source| Error::Io { action: "use the shim's socket", source })?;
        Ok(Launch { socket, plan, foreign, begun })
    }

    /// Compiles a further process of a running container, and encodes it: as a plan, or for another runtime.
    pub(super) async fn compile_exec(
        self: &Arc<Self>,
        record: &Arc<ContainerRecord>,
        process: &ProcessOptions,
    ) -> Result<Compiled, Error> {
        let (daemon, record, options) = (Arc::clone(self), Arc::clone(record), process.clone());
        self.blocking
            .run(move || {
                let rootfs = daemon.describe(&record)?;
                if !is_own(&record) {
                    return Ok(Compiled::Foreign(daemon.foreign_exec(&record, &options, &rootfs)?));
                }
                let own = &record.options.process;
                let text = options.user.as_ref().or(own.user.as_ref()).unwrap_or(&record.image_config.user);
                let user = users::look_up(&rootfs, text, &options.additional_groups)?;
                let container_user = container_user(&record, &rootfs)?;
                let spec = daemon.build_spec(&record, &container_user)?;
                let plan = daemon.compile_spec(&record, &spec, &rootfs)?;
                let process = spec::process_for_exec(&ExecInput {
                    spec: &spec,
                    container: &record.options,
                    image: &record.image_config,
                    hostname: &daemon.hostname(&record),
                    options: &options,
                    user: &user,
                    host: &daemon.host,
                })?;
                let filter = if options.privileged {
                    None
                } else {
                    plan.process.as_ref().and_then(|process| process.seccomp.clone())
                };
                Ok(Compiled::Plan(plan::compile_exec(&plan, &process, filter)?.encode_to_vec()))
            })
            .await
    }

    /// The host name inside the container.
    pub(crate) fn hostname(&self, record: &ContainerRecord) -> String {
        match record.options.uts_mode {
            gantry_types::NamespaceMode::Host => self.host.hostname.clone(),
            gantry_types::NamespaceMode::Private => {
                record.options.hostname.clone().unwrap_or_else(|| record.id.short().to_owned())
            }
        }
    }

    fn compile_plan(&self, record: &ContainerRecord) -> Result<plan::Plan, Error> {
        let rootfs = self.describe(record)?;
        let user = container_user(record, &rootfs)?;
        let spec = self.build_spec(record, &user)?;
        self.compile_spec(record, &spec, &rootfs)
    }

    pub(super) fn describe(&self, record: &ContainerRecord) -> Result<Rootfs, Error> {
        Ok(self.snapshotter.describe(&snapshot_key(record), &record.layers)?)
    }

    /// The container's OCI spec.
    pub(crate) fn build_spec(&self, record: &ContainerRecord, user: &ResolvedUser) -> Result<Spec, Error> {
        let bundle = self.layout.bundle(&record.namespace, &record.id);
        let files = GeneratedFiles {
            hostname: bundle.join(files::HOSTNAME),
            hosts: bundle.join(files::HOSTS),
            resolv_conf: bundle.join(files::RESOLV_CONF),
        };
        let options = &record.options;
        let host = if options.devices.is_empty() && !options.security.privileged {
            Cow::Borrowed(&self.host)
        } else {
            Cow::Owned(HostFacts { devices: host::devices(options), ..self.host.clone() })
        };
        Ok(spec::build(&SpecInput {
            id: &record.id,
            options,
            image: &record.image_config,
            user,
            host: &host,
            rootfs: &bundle,
            files: &files,
            cgroup_path: Path::new(&self.cgroup_path(&record.namespace, &record.id)),
            default_filter_is_kept: is_own(record) && self.filters.has_default(&options.security),
        })?)
    }

    fn compile_spec(
        &self,
        record: &ContainerRecord,
        spec: &Spec,
        rootfs: &Rootfs,
    ) -> Result<plan::Plan, Error> {
        let filter = match spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
            Some(profile) => Some(self.filters.compiled(profile, &record.options.security)?),
            None => None,
        };
        let overlay = plan::Root::Overlay(self.overlay(record, rootfs));
        let input = PlanInput {
            rootfs: plan::Rootfs {
                root: Some(overlay),
                id_mapped: record.options.own_user_namespace().is_some(),
            },
            cgroups: self.cgroups.clone(),
            init: record.options.init,
            filter,
            passed: passed(&record.options),
            ..PlanInput::default()
        };
        Ok(plan::compile(spec, &input)?)
    }

    /// The mount that becomes its root.
    pub(super) fn overlay(&self, record: &ContainerRecord, rootfs: &Rootfs) -> plan::Overlay {
        // What is removed when it ends, or when it is found ended after a power cut, need not survive one; without
        // this the end of its root syncs the whole file system.
        let volatile = record.options.volatile_rootfs
            || record.options.auto_remove
            || self.config.containers.volatile_rootfs;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        plan::Overlay {
            lower: rootfs.lower.iter().map(|path| text(path)).collect(),
            upper: text(&rootfs.upper),
            work: text(&rootfs.work),
            volatile,
            settings: Vec::new(),
        }
    }

    fn write_bundle(&self, record: &ContainerRecord) -> Result<(), Error> {
        let bundle = self.layout.bundle(&record.namespace, &record.id);
        let write = || -> io::Result<()> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(bundle.join(files::FOLDER))?;
            self.name_scope(&record.namespace, &record.id)
        };
        write().map_err(|source| Error::Io { action: "make the container's bundle", source })?;
        self.write_files(record)
    }
}

/// Whether Gantry's own runtime makes it.
fn is_own(record: &ContainerRecord) -> bool {
    record.options.runtime.as_ref().is_none_or(RuntimeName::is_own)
}

/// The namespaces that the daemon makes and the shim passes on.
pub(super) fn passed(options: &ContainerOptions) -> Vec<NamespaceKind> {
    match &options.network {
        _ if makes_network(options) => Vec::new(),
        NetworkMode::Host => Vec::new(),
        NetworkMode::None
        | NetworkMode::Container(_)
        | NetworkMode::Sandbox(_)
        | NetworkMode::Networks(_) => vec![NamespaceKind::Network],
    }
}

/// Whether the container's init makes its network namespace, because that must belong to its user namespace: who is root
/// there has a say in it only then (ports below 1024, ping, parameters, `/sys`).
pub(super) fn makes_network(options: &ContainerOptions) -> bool {
    options.own_user_namespace().is_some() && options.network.is_private()
}

/// Whom the container's programme runs as, by the container's own user database.
pub(super) fn container_user(record: &ContainerRecord, rootfs: &Rootfs) -> Result<ResolvedUser, Error> {
    let own = &record.options.process;
    let text = own.user.as_ref().unwrap_or(&record.image_config.user);
    users::look_up(rootfs, text, &own.additional_groups)
}
