//! The running kernel as the judge: it takes the default filter, and answers as the profile says. A filter
//! belongs to the thread that installs it, so each test spends a thread.

use std::time::{Duration, Instant};

use gantry_linux::seccomp::{FilterFlags, install_bytes};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::*;

fn host_target(capabilities: CapabilitySet) -> Option<Target> {
    Architecture::host().map(|architecture| target(architecture, capabilities))
}

fn on_a_confined_thread<T: Send>(program: &plan::Seccomp, work: impl FnOnce(Duration) -> T + Send) -> T {
    let flags = FilterFlags::from_bits_truncate(program.flags);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            gantry_linux::process::set_no_new_privs().expect("needs no right");
            let start = Instant::now();
            install_bytes(&program.program, flags).expect("the kernel takes the filter");
            work(start.elapsed())
        });
        thread.join().expect("no panic")
    })
}

fn median_us(program: &plan::Seccomp) -> u128 {
    let mut times: Vec<Duration> = (0..51).map(|_| on_a_confined_thread(program, |time| time)).collect();
    times.sort_unstable();
    times[times.len() / 2].as_micros()
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says so, and the times are for people")]
fn the_kernel_takes_the_default_filter_and_refuses_what_it_refuses() {
    let Some(target) = host_target(CapabilitySet::container_default()) else {
        println!("SKIP: no filters are made for this architecture");
        return;
    };
    let program = compile(&super::super::default_profile(&target)).expect("compiles");
    let socket = |family: u16| {
        let family = AddressFamily::from_raw(family);
        socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map(drop)
    };
    on_a_confined_thread(&program, move |_| {
        assert_eq!(socket(1), Ok(()));
        assert_eq!(socket(38), Err(Errno::PERM));
        assert_eq!(socket(40), Err(Errno::PERM));
    });
    println!(
        "default profile: {} instructions, installed in {} µs",
        program.program.len() / 8,
        median_us(&program)
    );
    if let Ok(json) = std::fs::read_to_string(super::oracle::PODMAN_PROFILE) {
        let profile = parse_profile(&json, &target).expect("parses");
        let program = compile(&profile).expect("compiles");
        println!(
            "podman's profile: {} instructions, installed in {} µs",
            program.program.len() / 8,
            median_us(&program)
        );
        if let Some(oracle) = super::oracle::oracle() {
            let program = oracle.program(&profile, target.architecture);
            println!(
                "by libseccomp: {} instructions, installed in {} µs",
                program.program.len() / 8,
                median_us(&program)
            );
        }
    }
}
