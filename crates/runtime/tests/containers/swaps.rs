//! A racer exchanges an object of the root filesystem with a hostile one as fast as it can, while containers
//! start. Whatever the moment, the container is refused or confined and the host untouched (CVE-2021-30465,
//! CVE-2019-19921, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565 and their like).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::hostile_root::{Evil, HostileRoot, NOT_OPEN};

/// Containers that start for each pair. The long run is asked for by the environment.
fn rounds() -> u32 {
    std::env::var("GANTRY_RACER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Stops the racer, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn race(bare_dev: bool, terminal: bool, object: &str, evil: Evil) {
    let Some(root) = HostileRoot::new_or_skip(bare_dev) else { return };
    let honest = root.path(object);
    let hostile = root.path("tmp").join("racer");
    if !honest.exists() {
        std::fs::create_dir_all(&honest).expect("create_dir_all");
    }
    root.plant(&hostile, evil);
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // What the runtime makes in between may take the place; then there is nothing to exchange.
                if renameat_with(CWD, &honest, CWD, &hostile, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let _stop = Stop(&stop);
        for round in 0..rounds() {
            let outcome = root.run(terminal, NOT_OPEN);
            let case = format!("{evil:?} at /{object}, round {round}");
            if let Ok(outcome) = outcome {
                assert_eq!(outcome.stdout, "", "{case}: {outcome:?}");
            }
            root.assert_host_is_untouched(&case);
        }
    });
    assert!(swaps.load(Ordering::Relaxed) > 0, "{evil:?} at /{object}: the racer never won a turn");
}

#[test]
fn a_mountpoint_that_is_swapped_leads_nowhere() {
    for object in ["volume", "volume/inner", "proc", "sys"] {
        for evil in [Evil::AbsoluteLink, Evil::DanglingLink] {
            race(false, false, object, evil);
        }
    }
}

#[test]
fn a_dev_that_is_swapped_leads_nowhere() {
    for object in ["dev", "dev/shm", "dev/null"] {
        race(true, false, object, Evil::AbsoluteLink);
    }
}

#[test]
fn a_console_that_is_swapped_leads_nowhere() {
    race(true, true, "dev/console", Evil::AbsoluteLink);
    race(true, true, "dev/pts", Evil::RelativeLink);
}

#[test]
fn a_working_folder_and_masked_paths_that_are_swapped_lead_nowhere() {
    for object in ["work", "secret", "plain", "etc"] {
        race(false, false, object, Evil::ChainedLink);
    }
}
