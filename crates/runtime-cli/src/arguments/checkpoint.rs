//! The options of `checkpoint` and `restore`: runc's. What would need a server of pages is refused, and so is what
//! only has a meaning with one.

use lexopt::Parser;

use super::words::{flag, path, text};
use super::{Reader, option_of_create};
use crate::failure::Failure;
use crate::options::{CgroupMode, Checkpoint, Images, Restore};

impl Reader {
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint, Failure> {
        let mut checkpoint = Checkpoint::default();
        let words = self.rest(|parser, name| {
            match name {
                "parent-path" => {
                    checkpoint.parent = Some(path(parser)?).filter(|p| !p.as_os_str().is_empty());
                }
                "leave-running" => checkpoint.leave_running = flag(parser)?,
                "pre-dump" => checkpoint.pre_dump = flag(parser)?,
                "tcp-skip-in-flight" => checkpoint.tcp_skip_in_flight = flag(parser)?,
                "link-remap" => checkpoint.link_remap = flag(parser)?,
                name => return option_of_images(&mut checkpoint.images, parser, name),
            }
            Ok(true)
        })?;
        checkpoint.id = words.one()?;
        match &checkpoint.parent {
            Some(parent) if parent.is_absolute() => {
                Err(Failure::usage("--parent-path is seen from the folder of the images, and not absolute"))
            }
            _ => Ok(checkpoint),
        }
    }

    pub(super) fn restore(&mut self) -> Result<Restore, Failure> {
        let mut restore = Restore::default();
        let words = self.rest(|parser, name| {
            match name {
                "lsm-profile" => restore.lsm_profile = Some(text(parser)?),
                "lsm-mount-context" => restore.lsm_mount_context = Some(text(parser)?),
                name => {
                    return Ok(option_of_images(&mut restore.images, parser, name)?
                        || option_of_create(&mut restore.create, parser, name)?);
                }
            }
            Ok(true)
        })?;
        restore.create.id = words.one()?;
        Ok(restore)
    }
}

fn option_of_images(images: &mut Images, parser: &mut Parser, name: &str) -> Result<bool, Failure> {
    match name {
        "image-path" => images.path = Some(path(parser)?).filter(|path| !path.as_os_str().is_empty()),
        "work-path" => images.work = Some(path(parser)?).filter(|path| !path.as_os_str().is_empty()),
        "tcp-established" => images.tcp_established = flag(parser)?,
        "ext-unix-sk" => images.ext_unix_sk = flag(parser)?,
        "shell-job" => images.shell_job = flag(parser)?,
        "file-locks" => images.file_locks = flag(parser)?,
        "auto-dedup" => images.auto_dedup = flag(parser)?,
        "manage-cgroups-mode" => images.cgroup_mode = cgroup_mode(&text(parser)?)?,
        "empty-ns" => match text(parser)?.as_str() {
            "network" => images.empty_network = true,
            other => return Err(Failure::usage(format!("--empty-ns is for the network, not for {other:?}"))),
        },
        "lazy-pages" if !flag(parser)? => {}
        "lazy-pages" => return Err(without_server("--lazy-pages")),
        "page-server" => return Err(without_server("--page-server")),
        "status-fd" => return Err(without_server("--status-fd")),
        _ => return Ok(false),
    }
    Ok(true)
}

fn cgroup_mode(word: &str) -> Result<CgroupMode, Failure> {
    match word {
        "ignore" => Ok(CgroupMode::Ignore),
        "soft" | "" => Ok(CgroupMode::Soft),
        "full" => Ok(CgroupMode::Full),
        "strict" => Ok(CgroupMode::Strict),
        other => Err(Failure::usage(format!("unknown --manage-cgroups-mode {other:?}"))),
    }
}

fn without_server(what: &'static str) -> Failure {
    let why = "memory is in the images and read before the container goes on; no server of pages is run";
    Failure::Unavailable { what, why: why.to_owned() }
}
