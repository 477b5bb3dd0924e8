//! How a process gets into version 1's folders without waiting. Written from outside, `cgroup.procs` takes a lock over
//! all processes of the machine, whose first taker waits for a whole RCU grace period: some 15 ms on a busy
//! machine, the dearest step of a start. A thread that moves itself (0 into `tasks`) needs no such lock. So the folders'
//! files are opened outside, where they can be reached, and the child writes as soon as it is born, while it has
//! one thread. Who may write is decided by who opened (kernel/cgroup/cgroup-v1.c).

use std::os::fd::OwnedFd;

use gantry_linux::Errno;
use rustix::fs::{Mode, OFlags};

use super::CgroupError;
use super::directory::{Cgroup, Place, Role, open_file};

/// The open files through which a process enters.
#[derive(Debug)]
pub struct Doors(Box<[OwnedFd]>);

impl Cgroup {
    /// Opens what a child enters by. None on version 2, where it is born in its folder.
    pub fn doors(&self) -> Result<Doors, CgroupError> {
        let places = self.joined().filter(|(place, _)| place.role != Role::Unified);
        let open = |(place, folder): (&Place, String)| {
            let fail = |source| CgroupError::Read { path: folder.clone(), source };
            if place.role == Role::Cpuset && is_empty(&format!("{folder}/cpuset.cpus")) {
                // It takes nobody yet: the folders above were made by somebody else.
                place.fill_cpusets(&folder).map_err(fail)?;
            }
            open_file(&format!("{folder}/tasks")).map_err(fail)
        };
        Ok(Doors(places.map(open).collect::<Result<_, _>>()?))
    }
}

impl Doors {
    /// Moves the calling thread, the only one of its process. No allocation. An error has the number of the folder.
    pub fn enter(&self) -> Result<(), (u32, Errno)> {
        (0..).zip(&self.0).try_for_each(|(number, door)| match rustix::io::write(door, b"0") {
            Ok(_) => Ok(()),
            Err(errno) => Err((number, errno)),
        })
    }
}

/// Whether a list has nothing in it; one that cannot be read is left to the kernel to refuse.
fn is_empty(path: &str) -> bool {
    let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    let mut text = [0; 2];
    rustix::io::read(&file, &mut text).is_ok_and(|length| text[..length].trim_ascii().is_empty())
}
