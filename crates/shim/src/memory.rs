//! Kills for want of memory. The kernel counts them in the control group, and a group that the shim takes away itself
//! is read whenever that suits it. One that a service manager gave goes, with its counter, as soon as nobody is in it,
//! and that may be before the shim has seen init's end. What is known then: whether the group said a moment ago that its memory
//! ran out, and whether the group above, which counts what happens below it, counts more kills than at the last look.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use gantry_runtime::cgroup::Cgroup;

use crate::clock;
use crate::poller::{Interest, Poller, Token};

/// Bytes of notices taken at once, some sixteen; what is in them does not matter.
const NOTICE_BYTES: usize = 256;
/// How long after a notice a kill may follow of which there is no notice: the kernel gives one in ten milliseconds.
const NOTICE_COUNTS_FOR: Duration = Duration::from_secs(1);

/// What is known of a container's kills.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Readable when the group's memory ran out.
    notifier: Option<OwnedFd>,
    /// When it last said so.
    noticed_at: Option<Instant>,
    /// Kills in the container.
    kills: u64,
    /// Kills in the group above at the last look, if the container's group is a given one.
    kills_above: u64,
}

impl Memory {
    /// Kills seen.
    pub(crate) fn kills(&self) -> u64 {
        self.kills
    }

    /// Has the loop told when memory runs out. Without a notifier the kills are seen when they are counted.
    pub(crate) fn watch(&mut self, cgroup: &Cgroup, poller: &Poller) {
        if self.notifier.is_some() {
            return;
        }
        if cgroup.is_given() {
            self.kills_above = cgroup.oom_kills_above();
        }
        let Ok(Some(notifier)) = cgroup.oom_notifier() else { return };
        let mut interest = Interest::NONE;
        if interest.change(poller, &notifier, Token::OutOfMemory, Interest::READ).is_ok() {
            self.notifier = Some(notifier);
        }
    }

    /// Before the group is removed: version 1 gives notice of that, too.
    pub(crate) fn unwatch(&mut self) {
        self.notifier = None;
    }

    /// Takes the notices that are there. The killer may be at it still: the kills are counted again later.
    pub(crate) fn take_notice(&mut self) {
        let Some(notifier) = &self.notifier else { return };
        match rustix::io::read(notifier, &mut [0; NOTICE_BYTES]) {
            Ok(_) => self.noticed_at = Some(clock::steady()),
            Err(rustix::io::Errno::AGAIN) => {}
            // It has nothing more to say, and would keep the loop awake.
            Err(_) => self.notifier = None,
        }
    }

    /// Looks at the counter, and says whether there were more kills than at the last look.
    pub(crate) fn count(&mut self, cgroup: &Cgroup) -> bool {
        // Before the group's own, so that a kill in between is seen twice rather than never.
        let above = if cgroup.is_given() { cgroup.oom_kills_above() } else { 0 };
        let before = self.kills;
        match cgroup.oom_kills() {
            Ok(Some(kills)) => {
                self.kills = kills.max(before);
                self.kills_above = above;
            }
            Ok(None) if above > self.kills_above && self.has_just_noticed() => {
                self.kills += 1;
                self.kills_above = above;
            }
            Ok(None) | Err(_) => {}
        }
        self.kills > before
    }

    fn has_just_noticed(&mut self) -> bool {
        self.take_notice();
        self.noticed_at.is_some_and(|at| clock::steady().duration_since(at) < NOTICE_COUNTS_FOR)
    }
}
