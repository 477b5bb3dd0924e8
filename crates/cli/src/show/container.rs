//! Containers in docker's words: a row of `ps`, and the document of `inspect`.

use gantry_api::containers::v1::mount::Kind;
use gantry_api::containers::v1::{
    Container, ContainerOptions, ContainerState, Exit, IdMapping, Mount, NamespaceMode, NetworkMode,
    Resources, SeccompMode, UserNamespaceMode,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{moment, port};

/// The lower-case word of a container's state.
pub(crate) fn state(container: &Container) -> &'static str {
    match container.state() {
        ContainerState::Unspecified => "unknown",
        ContainerState::Creating => "creating",
        ContainerState::Created => "created",
        ContainerState::Starting => "starting",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Exited => "exited",
        ContainerState::Removing => "removing",
    }
}

/// The fields of one row; `truncate` shortens ids and commands.
pub(crate) fn row(container: &Container, now: Timestamp, truncate: bool) -> Value {
    let id = if truncate { container.id.get(..12).unwrap_or(&container.id) } else { &container.id };
    let mut command = container.command.join(" ");
    if truncate && command.chars().count() > 20 {
        command = command.chars().take(19).chain(['…']).collect();
    }
    let created = container.create_time.unwrap_or_default();
    let labels: Vec<String> = container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "ID": id, "Names": container.name, "Image": container.image, "Command": format!("\"{command}\""),
        "CreatedAt": moment::rfc3339(&created), "RunningFor": format!("{} ago", moment::since(&created, now)),
        "State": state(container), "Status": status(container, now), "Labels": labels.join(","),
        "Networks": networks(container), "Ports": port::summary(&container.ports),
    })
}

/// The header above a field of a row.
pub(crate) fn header(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".into(),
        "RunningFor" => "CREATED".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_uppercase(),
    }
}

fn status(container: &Container, now: Timestamp) -> String {
    match container.state() {
        ContainerState::Running => {
            format!("Up {}", moment::since(&container.start_time.unwrap_or_default(), now))
        }
        ContainerState::Paused => {
            format!("Up {} (Paused)", moment::since(&container.start_time.unwrap_or_default(), now))
        }
        ContainerState::Exited => {
            let exit = container.exit.unwrap_or_default();
            format!("Exited ({}) {} ago", exit.code, moment::since(&exit.time.unwrap_or_default(), now))
        }
        ContainerState::Unspecified
        | ContainerState::Creating
        | ContainerState::Created
        | ContainerState::Starting
        | ContainerState::Removing => {
            let word = state(container);
            word[..1].to_uppercase() + &word[1..]
        }
    }
}

/// What `--network` would say.
fn network(options: &ContainerOptions) -> String {
    match options.network() {
        NetworkMode::Unspecified | NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container => format!("container:{}", options.network_container),
        NetworkMode::Sandbox => format!("sandbox:{}", options.network_sandbox),
        NetworkMode::Networks => {
            options.networks.first().map(|place| place.network.clone()).unwrap_or_default()
        }
    }
}

/// The names of its networks.
fn networks(container: &Container) -> String {
    let names: Vec<&str> =
        container.endpoints.iter().map(|endpoint| endpoint.network_name.as_str()).collect();
    if names.is_empty() { network(&container.options.clone().unwrap_or_default()) } else { names.join(",") }
}

/// `NetworkSettings` of `inspect`.
fn network_settings(container: &Container) -> Value {
    let address = |text: &str| text.split_once('/').map_or(String::new(), |(address, _)| address.to_owned());
    let length =
        |text: &str| text.split_once('/').and_then(|(_, length)| length.parse::<u8>().ok()).unwrap_or(0);
    let networks: Map<String, Value> = container
        .endpoints
        .iter()
        .map(|endpoint| {
            let options = endpoint.options.clone().unwrap_or_default();
            let document = json!({
                "NetworkID": endpoint.network_id, "EndpointID": endpoint.id, "Gateway": endpoint.ipv4_gateway,
                "IPAddress": address(&endpoint.ipv4), "IPPrefixLen": length(&endpoint.ipv4),
                "IPv6Gateway": endpoint.ipv6_gateway, "GlobalIPv6Address": address(&endpoint.ipv6),
                "GlobalIPv6PrefixLen": length(&endpoint.ipv6), "MacAddress": endpoint.mac,
                "Aliases": options.aliases, "DNSNames": endpoint.names, "Interface": endpoint.interface,
                "GwPriority": options.gateway_priority, "Connected": endpoint.connected,
            });
            (endpoint.network_name.clone(), document)
        })
        .collect();
    let mut ports: Map<String, Value> = Map::new();
    for line in port::lines(&container.ports) {
        let (address, number) = line.host.rsplit_once(':').unwrap_or((&line.host, ""));
        let binding = json!({"HostIp": address.trim_matches(['[', ']']), "HostPort": number});
        if let Value::Array(bindings) = ports.entry(line.container()).or_insert_with(|| json!([])) {
            bindings.push(binding);
        }
    }
    let first = container.endpoints.first().cloned().unwrap_or_default();
    json!({
        "IPAddress": address(&first.ipv4), "Gateway": first.ipv4_gateway, "MacAddress": first.mac,
        "GlobalIPv6Address": address(&first.ipv6), "IPv6Gateway": first.ipv6_gateway,
        "Ports": ports, "Networks": networks,
    })
}

/// The document of `inspect`.
pub(crate) fn document(container: &Container) -> Value {
    let options = container.options.clone().unwrap_or_default();
    let time = |time: Option<prost_types::Timestamp>| match time {
        Some(time) => moment::rfc3339(&time),
        // What docker shows for a time that never came.
        None => "0001-01-01T00:00:00Z".to_owned(),
    };
    let exit = container.exit.unwrap_or_default();
    let paused = container.state() == ContainerState::Paused;
    let running = paused || container.state() == ContainerState::Running;
    let mut words = container.command.iter();
    json!({
        "Id": container.id,
        "Name": container.name,
        "Namespace": container.namespace,
        "Revision": container.revision,
        "Created": time(container.create_time),
        "Path": words.next(),
        "Args": words.collect::<Vec<_>>(),
        "State": {
            "Status": state(container), "Running": running, "Paused": paused, "Pid": container.pid, "ExitCode": exit.code,
            "OOMKilled": exit.oom_killed, "Error": container.error, "StartedAt": time(container.start_time),
            "FinishedAt": time(container.exit.as_ref().and_then(|exit: &Exit| exit.time)),
        },
        "Image": container.image_id,
        "ImageDigest": container.image_digest,
        "RestartCount": container.restart_count,
        "Driver": "overlayfs",
        "Snapshot": container.snapshot_key,
        "Mounts": options.mounts.iter().map(mount).collect::<Vec<_>>(),
        "NetworkSettings": network_settings(container),
        "HostConfig": host_config(&options),
        "Config": config(container, &options),
    })
}

fn mount(mount: &Mount) -> Value {
    match &mount.kind {
        Some(Kind::Bind(bind)) => json!({
            "Type": "bind", "Source": bind.source, "Destination": bind.target, "RW": !bind.read_only,
            "IdMapped": bind.id_mapped,
            "Propagation": bind.propagation().as_str_name().trim_start_matches("MOUNT_PROPAGATION_").to_lowercase(),
        }),
        Some(Kind::Tmpfs(tmpfs)) => json!({
            "Type": "tmpfs", "Destination": tmpfs.target, "RW": !tmpfs.read_only, "SizeBytes": tmpfs.size_bytes,
            "Mode": tmpfs.mode.map(|mode| format!("{mode:o}")), "Options": tmpfs.options,
        }),
        None => Value::Null,
    }
}

fn config(container: &Container, options: &ContainerOptions) -> Value {
    let process = options.process.clone().unwrap_or_default();
    json!({
        "Hostname": container.hostname, "Domainname": options.domainname, "User": process.user, "Env": process.env,
        "Cmd": process.args, "Entrypoint": process.entrypoint.map(|entrypoint| entrypoint.args),
        "Image": container.image, "WorkingDir": process.working_dir, "Tty": process.terminal,
        "OpenStdin": process.stdin_open, "Labels": container.labels, "StopSignal": options.stop_signal,
        "StopTimeoutMs": options.stop_timeout_ms,
    })
}

fn user_namespace(options: &ContainerOptions) -> &'static str {
    match options.user_namespace_mode() {
        UserNamespaceMode::Unspecified | UserNamespaceMode::Host => "host",
        UserNamespaceMode::Auto => "auto",
        UserNamespaceMode::Mapped => "private",
    }
}

/// As `--uidmap` takes them.
fn mappings(list: &[IdMapping]) -> Vec<String> {
    list.iter().map(|one| format!("{}:{}:{}", one.inside, one.outside, one.count)).collect()
}

fn host_config(options: &ContainerOptions) -> Value {
    let resources: Resources = options.resources.clone().unwrap_or_default();
    let security = options.security.clone().unwrap_or_default();
    let mode = |mode: NamespaceMode| match mode {
        NamespaceMode::Unspecified | NamespaceMode::Private => "private",
        NamespaceMode::Host => "host",
    };
    let seccomp = match security.seccomp.unwrap_or_default().mode() {
        SeccompMode::Unspecified | SeccompMode::Default => "default",
        SeccompMode::Unconfined => "unconfined",
        SeccompMode::Profile => "profile",
    };
    let ulimits: Vec<Value> = options
        .ulimits
        .iter()
        .map(|(name, limit)| json!({"Name": name, "Soft": limit.soft, "Hard": limit.hard}))
        .collect();
    let devices: Vec<Value> = options
        .devices
        .iter()
        .map(|device| {
            json!({"PathOnHost": device.host_path, "PathInContainer": device.container_path,
                   "CgroupPermissions": device.permissions})
        })
        .collect();
    let hosts: Vec<String> =
        options.extra_hosts.iter().map(|entry| format!("{}:{}", entry.name, entry.address)).collect();
    json!({
        "NetworkMode": network(options), "PidMode": mode(options.pid_mode()), "IpcMode": mode(options.ipc_mode()),
        "UTSMode": mode(options.uts_mode()), "UsernsMode": user_namespace(options),
        "IDMappings": {"UidMap": mappings(&options.uid_mappings), "GidMap": mappings(&options.gid_mappings)},
        "Memory": resources.memory_bytes, "MemorySwap": resources.memory_swap_bytes,
        "MemoryReservation": resources.memory_reservation_bytes, "NanoCpus": resources.nano_cpus,
        "CpuShares": resources.cpu_shares, "CpusetCpus": resources.cpuset_cpus, "CpusetMems": resources.cpuset_mems,
        "PidsLimit": resources.pids_max, "BlkioWeight": resources.blkio_weight, "Privileged": security.privileged,
        "CapAdd": security.cap_add, "CapDrop": security.cap_drop, "Seccomp": seccomp,
        "NoNewPrivileges": security.no_new_privileges, "ReadonlyRootfs": options.read_only_rootfs,
        "ShmSize": options.shm_size_bytes, "Ulimits": ulimits, "Sysctls": options.sysctls, "Devices": devices,
        "Init": options.init, "AutoRemove": options.auto_remove, "Runtime": options.runtime,
        "ExtraHosts": hosts, "Dns": options.dns,
        "DnsSearch": options.dns_search, "DnsOptions": options.dns_options, "Annotations": options.annotations,
    })
}
