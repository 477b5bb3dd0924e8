//! How a root filesystem is stacked from layers: a detached overlay mount. Layers are told one by one
//! (`lowerdir+`, Linux 6.7). Older kernels (Debian 12 has 6.1) take them only joined in one string, of which
//! fsconfig(2) takes 255 bytes; when they do not fit, the mount is made by mount(2) in a mount namespace of
//! its own that lives for a moment, with the layers named by descriptor numbers, and a detached copy is taken
//! out of it. No way leaves a line in the caller's mount table. The folders are Gantry's own, never a
//! container's: they are given as paths.

use std::ffi::CString;
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use crate::error::{Errno, Result, SyscallError};
use crate::mount::{AttributeChange, FsContext, MountAttributes, Propagation};
use crate::sys;

/// An overlay to be made.
#[derive(Debug, Default)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first; at least one, or two when there is no upper.
    pub lower: &'a [&'a str],
    /// Where writes go, and the empty work folder on the same filesystem; `None` makes the whole read-only.
    pub upper_and_work: Option<(&'a str, &'a str)>,
    /// Writes need not survive a power cut (`volatile`).
    pub volatile: bool,
    /// Further options; without a value they are flags.
    pub options: &'a [(&'a str, Option<&'a str>)],
    /// Whether the caller is in [`apart`] already, where its layers are attached and nowhere else.
    pub is_apart: bool,
}

impl Overlay<'_> {
    /// Makes the superblock and a detached mount of it.
    pub fn mount(&self, attributes: MountAttributes) -> Result<OwnedFd> {
        let Some(context) = self.context_of_lower()? else {
            return if self.is_apart { self.mount_here(attributes) } else { self.mount_apart(attributes) };
        };
        if let Some((upper, work)) = self.upper_and_work {
            context.set_string("upperdir", upper)?;
            context.set_string("workdir", work)?;
        }
        if self.volatile {
            context.set_flag("volatile")?;
        }
        for (key, value) in self.options {
            match value {
                Some(value) => context.set_string(key, value)?,
                None => context.set_flag(key)?,
            }
        }
        context.create()?;
        context.mount(attributes)
    }

    /// A context that knows the layers; `None` when only [`Self::mount_apart`] can tell them.
    fn context_of_lower(&self) -> Result<Option<FsContext>> {
        const VALUE_BYTES_MAX: usize = 255;
        let mut context = FsContext::open("overlay")?;
        let Some((first, others)) = self.lower.split_first() else { return Ok(Some(context)) };
        if knows_its_options(&context)? {
            match context.set_string("lowerdir+", first) {
                // Linux 6.5 and 6.6 do not know the option.
                Err(error) if error.errno == Errno::INVAL => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    others.iter().try_for_each(|layer| context.set_string("lowerdir+", layer))?;
                    return Ok(Some(context));
                }
            }
        } else {
            // The other one has taken the option that does not exist.
            context = FsContext::open("overlay")?;
        }
        let value = joined(self.lower);
        if value.len() > VALUE_BYTES_MAX || value.contains(',') {
            return Ok(None);
        }
        context.set_string("lowerdir", &value)?;
        Ok(Some(context))
    }

    /// Makes the mount by mount(2) where nobody sees it.
    fn mount_apart(&self, attributes: MountAttributes) -> Result<OwnedFd> {
        apart(|| self.mount_here(attributes))
    }

    fn mount_here(&self, attributes: MountAttributes) -> Result<OwnedFd> {
        let lower = self.lower.iter().map(|path| open_folder(path)).collect::<Result<Vec<_>>>()?;
        let upper = self.upper_and_work.map(|(upper, work)| Ok((open_folder(upper)?, open_folder(work)?)));
        let upper = upper.transpose()?;
        let invalid = SyscallError::name("mount", "overlay");
        let data = CString::new(self.data(&lower, upper.as_ref())).map_err(|_| invalid(Errno::INVAL))?;
        // Covered for a moment, in this thread's namespace only.
        let target = self.lower.first().ok_or_else(|| invalid(Errno::INVAL))?;
        rustix::process::chdir("/proc/thread-self/fd").map_err(SyscallError::name("chdir", "descriptors"))?;
        rustix::mount::mount("overlay", *target, "overlay", MountFlags::empty(), Some(data.as_c_str()))
            .map_err(invalid)?;
        let mount = crate::mount::clone_tree(open_folder(target)?.as_fd(), false)?;
        let change = AttributeChange { set: attributes, ..AttributeChange::default() };
        crate::mount::set_attributes(mount.as_fd(), &change)?;
        Ok(mount)
    }

    /// The option string, with folders named by descriptor numbers.
    fn data(&self, lower: &[OwnedFd], upper: Option<&(OwnedFd, OwnedFd)>) -> String {
        let name = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let mut data = format!("lowerdir={}", lower.iter().map(name).collect::<Vec<_>>().join(":"));
        let mut add = |key: &str, value: Option<&str>| {
            match value {
                Some(value) => write!(data, ",{key}={value}"),
                None => write!(data, ",{key}"),
            }
            .expect("writing to a String cannot fail");
        };
        if let Some((upper, work)) = upper {
            add("upperdir", Some(&name(upper)));
            add("workdir", Some(&name(work)));
        }
        if self.volatile {
            add("volatile", None);
        }
        for (key, value) in self.options {
            add(key, *value);
        }
        data
    }
}

/// Does something in a mount namespace that is a copy of the caller's and ends with it, so that nobody sees what is
/// mounted in between. It takes a thread, because a thread alone can leave the mount namespace and the working folder that
/// the process shares; descriptors are the process's.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    const STACK_BYTES: usize = 256 << 10;
    let work = || {
        // SAFETY: takes a number; afterwards this thread's folders and mounts are its own.
        let returned = unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS | libc::CLONE_NEWNS) };
        sys::check(returned).map_err(SyscallError::name("unshare", "mounts"))?;
        crate::mount::set_propagation(c"/", Propagation::Private, true)?;
        work()
    };
    let fail = SyscallError::caller("clone");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
        thread.join().unwrap_or_else(|_| Err(fail(Errno::CANCELED)))
    })
}

/// Whether overlayfs looks at each option when it is set (Linux 6.5). Before, anything is taken and found wrong
/// at the end, together with everything else that may be wrong then. A context that looks is as good as new
/// afterwards; a second one just to ask would cost an expedited grace period of RCU when it is closed.
fn knows_its_options(context: &FsContext) -> Result<bool> {
    match context.set_flag("no_such_option") {
        Ok(()) => Ok(false),
        Err(error) if error.errno == Errno::INVAL => {
            // Read, so that it is not told with what may go wrong later.
            drop(context.messages());
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn open_folder(path: &str) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(SyscallError::path("open", path))
}

/// All layers in one value. A colon separates, so that one in a name is escaped.
fn joined(layers: &[&str]) -> String {
    layers.iter().map(|layer| layer.replace('\\', "\\\\").replace(':', "\\:")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::path::{RootDir, read_bounded};

    /// Layer folders, topmost first, with an upper and a work folder, all with awkward names.
    struct Layers {
        base: tempfile::TempDir,
        lower: Vec<String>,
        upper: String,
        work: String,
    }

    fn layers(count: usize) -> Layers {
        let base = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).expect("create_dir");
            path.to_str().expect("utf-8").to_owned()
        };
        let lower: Vec<String> = (0..count).map(|number| folder(&format!("la:yer{number}"))).collect();
        for (number, layer) in lower.iter().enumerate() {
            fs::write(format!("{layer}/all"), number.to_string()).expect("write");
            fs::write(format!("{layer}/only{number}"), "here").expect("write");
        }
        Layers { lower, upper: folder("upper"), work: folder("work"), base }
    }

    fn check(layers: &Layers, make: impl Fn(&Overlay<'_>) -> Result<OwnedFd>) {
        let lower: Vec<&str> = layers.lower.iter().map(String::as_str).collect();
        let upper_and_work = Some((layers.upper.as_str(), layers.work.as_str()));
        let overlay = Overlay { lower: &lower, upper_and_work, ..Overlay::default() };
        let root = RootDir::new(make(&overlay).expect("overlay"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
        assert!(!mounts.contains(layers.base.path().to_str().expect("utf-8")), "{mounts}");
        let read = |path: &str| read_bounded(root.open_file(path).expect("open"), 100).expect("read");
        assert_eq!(read("all"), b"0", "the topmost layer wins");
        assert_eq!(read(&format!("only{}", lower.len() - 1)), b"here");
        root.create_dir_all("new/folder", 0o755).expect("mkdir");
        assert!(layers.base.path().join("upper/new/folder").is_dir());
    }

    #[test]
    fn the_topmost_layer_wins_and_writes_go_to_the_upper_folder() {
        if crate::testing::is_root_or_skipped() {
            check(&layers(2), |overlay| overlay.mount(MountAttributes::NODEV));
        }
    }

    #[test]
    fn many_layers_with_long_names_are_stacked_whatever_the_kernel() {
        if crate::testing::is_root_or_skipped() {
            check(&layers(60), |overlay| overlay.mount(MountAttributes::empty()));
        }
    }

    #[test]
    fn the_way_of_older_kernels_makes_the_same_with_many_layers_and_is_not_seen() {
        if crate::testing::is_root_or_skipped() {
            check(&layers(100), |overlay| overlay.mount_apart(MountAttributes::NODEV));
        }
    }

    #[test]
    fn joined_layers_escape_colons() {
        assert_eq!(joined(&["/a:b", "/c\\d"]), "/a\\:b:/c\\\\d");
    }
}
