//! What the runtime reads: specs, seccomp profiles, plans, the shim's frames, an image's users.

use anyhow::{Context as _, Result, ensure};
use gantry_api::shim::v1::{Request, Response};
use gantry_api::shim::{FrameReader, encode, stdio};
use gantry_runtime::cgroup::{Host, UnifiedHierarchy};
use gantry_runtime::plan::{ExecPlan, Plan, PlanInput, compile};
use gantry_runtime::seccomp::{self, Architecture, Target as Machine, default_profile, parse_profile};
use gantry_runtime::spec::CapabilitySet;
use gantry_runtime::user::{UserDatabases, resolve};
use oci_spec::runtime::Spec;
use prost::Message;

use super::{Target, text, texts};

pub(super) fn all() -> Vec<Target> {
    vec![
        Target { name: "spec", samples: specs, words: SPEC, run: spec },
        Target { name: "seccomp_profile", samples: profiles, words: PROFILE, run: profile },
        Target { name: "plan", samples: plans, words: &["../", "/proc/self/fd/3"], run: plan },
        Target {
            name: "shim_frames",
            samples: frames,
            words: &["\0\0\0\0", "\u{1}\0\0\0"],
            run: shim_frames,
        },
        Target {
            name: "stdio_frames",
            samples: stdio_frames_samples,
            words: &["\0\0\0\0\0"],
            run: stdio_frames,
        },
        Target {
            name: "user",
            samples: || {
                texts(&[
                    "alice\0root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:\n\0root:x:0:\nalice:x:1000:alice\n",
                    "1000:5\0\0",
                    "0\0x:x:0:0\0",
                ])
            },
            words: &["-1", "+0", "0x0", "4294967295", "4294967296", " ", ":", "\n", "::", "root"],
            run: user,
        },
    ]
}

const SPEC: &[&str] = &[
    "null",
    "{}",
    "[]",
    "\"path\":\"../..\"",
    "\"type\":\"bind\"",
    "\"options\":[\"rbind\",\"ro\"]",
    "\"destination\":\"/proc\"",
    "\"cwd\":\"x\"",
    "\"args\":[]",
    "\"capabilities\":{\"bounding\":[\"CAP_SYS_ADMIN\"]}",
    "-1",
    "\"uidMappings\":[]",
    "\"namespaces\":[{\"type\":\"user\"}]",
    "\"sysctl\":{\"kernel.x\":\"1\"}",
    "\"resources\":{\"memory\":{\"limit\":-1}}",
    "\\u0000",
];
const PROFILE: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "\"op\":\"SCMP_CMP_MASKED_EQ\"",
    "\"index\":6",
    "\"errnoRet\":65536",
    "\"names\":[]",
    "read",
    "null",
    "\"minKernel\":\"99.0\"",
];

fn specs() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"ociVersion":"1.2.0","root":{"path":"rootfs","readonly":true},"hostname":"box","process":{"user":{"uid":1,"gid":2,"additionalGids":[5]},"args":["sh"],"env":["PATH=/bin"],"cwd":"/","rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"oomScoreAdj":1},"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid"]},{"destination":"/d","type":"bind","source":"/h","options":["rbind","ro"]}],"linux":{"cgroupsPath":"/a/b","resources":{"pids":{"limit":64},"memory":{"limit":1048576}},"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"uts"},{"type":"network"}],"sysctl":{"net.ipv4.ip_forward":"1"},"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],"maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"]}}"#,
        r#"{"ociVersion":"1.0.2","root":{"path":"r"},"process":{"user":{"uid":0,"gid":0},"args":["x"],"cwd":"/"},"linux":{"namespaces":[{"type":"mount"}]}}"#,
    ])
}

fn input() -> PlanInput {
    let controllers = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
    let unified = UnifiedHierarchy { mountpoint: "/sys/fs/cgroup".to_owned(), controllers };
    PlanInput { cgroups: Host { legacy: Vec::new(), unified: Some(unified) }, ..PlanInput::default() }
}

fn spec(bytes: &[u8]) -> Result<bool> {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return Ok(false) };
    let Ok(plan) = compile(&spec, &input()) else { return Ok(false) };
    ensure!(Plan::decode(plan.encode_to_vec().as_slice())? == plan, "a plan does not survive its journey");
    Ok(true)
}

fn machine() -> Machine {
    Machine { architecture: Architecture::X86_64, kernel: (6, 1), capabilities: CapabilitySet::EMPTY }
}

fn profiles() -> Vec<Vec<u8>> {
    let whole = serde_json::to_vec(&default_profile(&machine())).expect("a profile is JSON");
    let small = br#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"minKernel":"4.8"},"excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
    vec![small.to_vec(), whole]
}

fn profile(bytes: &[u8]) -> Result<bool> {
    let Ok(profile) = parse_profile(&text(bytes), &machine()) else { return Ok(false) };
    let Ok(filter) = seccomp::compile_for(&profile, Architecture::X86_64) else { return Ok(false) };
    // The kernel takes no more (BPF_MAXINSNS, bpf_common.h).
    ensure!((1..=4096).contains(&filter.instructions.len()), "{} instructions", filter.instructions.len());
    Ok(true)
}

fn plans() -> Vec<Vec<u8>> {
    let compiled = |spec: Vec<u8>| {
        let spec: Spec = serde_json::from_slice(&spec).expect("a sample");
        compile(&spec, &input()).expect("a sample").encode_to_vec()
    };
    specs().into_iter().map(compiled).collect()
}

fn plan(bytes: &[u8]) -> Result<bool> {
    let exec = ExecPlan::decode(bytes);
    if let Ok(exec) = exec {
        ensure!(
            ExecPlan::decode(exec.encode_to_vec().as_slice())? == exec,
            "an exec's plan changes on its way"
        );
    }
    let Ok(plan) = Plan::decode(bytes) else { return Ok(false) };
    ensure!(Plan::decode(plan.encode_to_vec().as_slice())? == plan, "a plan changes on its way");
    Ok(true)
}

fn frames() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    for number in 1..4 {
        let request = Request { id: number, ..Request::default() };
        encode(&request, &mut bytes).expect("a small frame");
    }
    vec![bytes]
}

/// However the bytes are cut up on their way, the same messages come out.
fn shim_frames(bytes: &[u8]) -> Result<bool> {
    let read = |step: usize| {
        let mut reader = FrameReader::new();
        let mut messages: Vec<Request> = Vec::new();
        for piece in bytes.chunks(step.max(1)) {
            reader.extend(piece);
            loop {
                match reader.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => return (messages, false),
                }
            }
        }
        let whole = !reader.is_mid_frame();
        (messages, whole)
    };
    let (messages, whole) = read(bytes.len());
    ensure!(read(3) == (messages.clone(), whole), "cut into pieces it is something else");
    let mut reader = FrameReader::new();
    reader.extend(bytes);
    while let Ok(Some(_)) = reader.next_message::<Response>() {}
    for message in &messages {
        let mut again = Vec::new();
        if encode(message, &mut again).is_ok() {
            let mut reader = FrameReader::new();
            reader.extend(&again);
            ensure!(reader.next_message::<Request>()?.as_ref() == Some(message), "{message:?}");
        }
    }
    Ok(whole && !messages.is_empty())
}

fn stdio_frames_samples() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    stdio::encode(stdio::Tag::Stdout, b"hello", &mut bytes);
    stdio::encode(stdio::Tag::Stderr, &[7; 300], &mut bytes);
    vec![bytes]
}

fn stdio_frames(bytes: &[u8]) -> Result<bool> {
    let mut reader = stdio::StdioReader::new();
    let mut payload = 0;
    for piece in bytes.chunks(7) {
        reader.extend(piece);
        loop {
            match reader.next_frame() {
                Ok(Some((_, data))) => payload += data.len(),
                Ok(None) => break,
                Err(_) => return Ok(false),
            }
        }
    }
    ensure!(payload <= bytes.len(), "more came out than went in");
    Ok(payload > 0)
}

/// The user, the passwd file and the group file, with a NUL between them.
fn user(bytes: &[u8]) -> Result<bool> {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let name = text(parts.next().unwrap_or_default());
    let (passwd, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(user) = resolve(&name, &[], UserDatabases { passwd, group }) else { return Ok(false) };
    ensure!(user.groups.contains(&user.gid), "the primary group is not among {:?}", user.groups);
    // A number is that number, whatever the image's files make of it (CVE-2016-3697, CVE-2024-40635).
    let word = name.split(':').next().unwrap_or_default();
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u32 = word.parse().context("a number that does not fit was taken")?;
        ensure!(user.uid == number, "{name:?} became {}", user.uid);
    }
    Ok(true)
}
