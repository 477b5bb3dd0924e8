//! What a control group tells of its container: who is in it, and whether the kernel killed somebody because
//! memory ran out.

use gantry_linux::{Errno, Pid};

use super::CgroupError;
use super::directory::{Cgroup, Role, read_file};
use super::end::processes_in_tree;

impl Cgroup {
    /// How many processes the kernel has killed in it for want of memory. 0 where nothing counts that, or the
    /// folder is gone.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let counters = self.places.iter().filter_map(|place| {
            let file = match place.role {
                Role::Unified => "memory.events",
                Role::Memory => "memory.oom_control",
                Role::Freezer | Role::Other => return None,
            };
            Some(format!("{}/{file}", place.folder(&self.path)))
        });
        let mut kills = 0;
        for path in counters {
            match read_file(&path) {
                Ok(text) => kills += field(&text, "oom_kill"),
                // On a hybrid machine version 2 has no memory controller.
                Err(error) if [Errno::NOENT, Errno::NODEV].contains(&error.errno) => {}
                Err(source) => return Err(CgroupError::Read { path, source }),
            }
        }
        Ok(kills)
    }

    /// Every process in it, at this moment.
    pub fn processes(&self) -> Result<Vec<Pid>, CgroupError> {
        let place = self.places.iter().find(|place| place.role == Role::Unified).or(self.places.first());
        place.map_or_else(|| Ok(Vec::new()), |place| processes_in_tree(&place.folder(&self.path)))
    }
}

/// A line `name value` of a flat keyed file; 0 when it is missing (oom_control has it since Linux 4.13).
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(events, "oom_kill"), 2);
        assert_eq!(field(events, "max"), 0);
    }
}
