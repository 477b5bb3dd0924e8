//! Is what a container said kept and told? `gantry logs` with its flags, while it runs, after it ended and across daemons.

use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

tests![
    output_and_errors_are_kept_apart,
    following_shows_new_lines_and_ends_with_the_container,
    the_tail_is_the_last_lines,
    since_and_until_cut_by_time,
    timestamps_are_in_rfc_3339_with_nanoseconds,
    lines_without_an_end_and_long_lines_come_back_whole,
    binary_output_comes_back_byte_for_byte,
    a_log_that_grows_beyond_its_segments_loses_its_beginning_only,
    logs_of_a_running_container_are_read_by_two_at_once,
    logs_end_where_they_ended_though_the_container_writes_on,
];

fn output_and_errors_are_kept_apart(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", "echo out; echo err >&2"])?;
    daemon.ok(&["wait", &id])?;
    let said = daemon.gantry(&["logs", &id])?;
    ensure!(said.stdout == "out\n" && said.stderr == "err\n", "{said}");
    world.done(daemon);
    Ok(())
}

fn following_shows_new_lines_and_ends_with_the_container(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "echo first; while read line; do echo got $line; done; echo last";
    let id = daemon.ok(&["run", "-d", "-i", &image, "sh", "-c", script])?;
    let mut follower = daemon.begin(&["logs", "-f", &id])?;
    ensure!(follower.next_line()? == "first");
    let mut attached = daemon.begin(&["attach", &id])?;
    attached.say("one\n")?;
    ensure!(follower.next_line()? == "got one");
    attached.say("two\n")?;
    ensure!(follower.next_line()? == "got two");
    daemon.ok(&["kill", &id])?;
    follower.finish()?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn the_tail_is_the_last_lines(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "seq", "1", "100"])?;
    daemon.ok(&["wait", &id])?;
    ensure!(daemon.ok(&["logs", "--tail", "3", &id])? == "98\n99\n100");
    ensure!(daemon.ok(&["logs", "-n", "0", &id])?.is_empty());
    ensure!(daemon.ok(&["logs", "--tail", "all", &id])?.lines().count() == 100);
    world.done(daemon);
    Ok(())
}

fn since_and_until_cut_by_time(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "-i", &image, "sh", "-c", "echo early; read x; echo late"])?;
    until_true("the first line", seconds(10), || Ok(daemon.ok(&["logs", &id])? == "early"))?;
    let early = daemon.ok(&["logs", "-t", &id])?;
    let early = early.split(' ').next().context("a line has a time")?.to_owned();
    // A moment strictly after the first line: the clock is waited for, not the container.
    let middle = format!("{}", unix_now()? + 0.002);
    until_true("the clock to pass", seconds(2), || Ok(unix_now()? > middle.parse()?))?;
    let mut attached = daemon.begin(&["attach", &id])?;
    attached.say("go\n")?;
    daemon.ok(&["wait", &id])?;
    ensure!(daemon.ok(&["logs", "--since", &middle, &id])? == "late");
    ensure!(daemon.ok(&["logs", "--until", &middle, &id])? == "early");
    ensure!(daemon.ok(&["logs", "--since", "1h", &id])? == "early\nlate");
    ensure!(daemon.ok(&["logs", "--since", &early, &id])?.contains("early"));
    world.done(daemon);
    Ok(())
}

fn unix_now() -> Result<f64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64())
}

fn timestamps_are_in_rfc_3339_with_nanoseconds(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "echo", "line"])?;
    daemon.ok(&["wait", &id])?;
    let line = daemon.ok(&["logs", "-t", &id])?;
    let (time, rest) = line.split_once(' ').context("a time and a line")?;
    ensure!(rest == "line", "{line}");
    ensure!(time.len() == "2026-01-02T03:04:05.678901234Z".len() && time.ends_with('Z'), "{line}");
    world.done(daemon);
    Ok(())
}

fn lines_without_an_end_and_long_lines_come_back_whole(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no end'";
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", script])?;
    daemon.ok(&["wait", &id])?;
    let said = daemon.gantry(&["logs", &id])?;
    ensure!(
        said.stdout == format!("{}\nno end", "x".repeat(100_000)),
        "{} bytes came back",
        said.stdout.len()
    );
    world.done(daemon);
    Ok(())
}

fn binary_output_comes_back_byte_for_byte(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "head -c 50000 /bin/busybox";
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", script])?;
    daemon.ok(&["wait", &id])?;
    let inside = daemon.ok(&["run", "--rm", &image, "sh", "-c", &format!("{script} | sha256sum")])?;
    let file = daemon.path("log-of-container");
    let mut command = gantry_tests::cli::gantry(&daemon.socket(), &["logs", &id]);
    let status = command.stdout(std::fs::File::create(&file)?).status()?;
    ensure!(status.success());
    let outside = std::process::Command::new("sha256sum").stdin(std::fs::File::open(&file)?).output()?;
    ensure!(String::from_utf8(outside.stdout)?.trim() == inside.trim(), "the bytes differ");
    world.done(daemon);
    Ok(())
}

fn a_log_that_grows_beyond_its_segments_loses_its_beginning_only(world: &World) -> Result<()> {
    let mut daemon = gantry_tests::daemon::Daemon::prepare()?;
    daemon.write_config("containers.log_segment_bytes = 65536\ncontainers.log_segments_max = 3\n")?;
    daemon.restart()?;
    let image = &world.shared.busybox.reference;
    daemon.ok(&["pull", "-q", image])?;
    let id = daemon.ok(&["run", "-d", image, "seq", "1", "50000"])?;
    daemon.ok(&["wait", &id])?;
    let log = daemon.ok(&["logs", &id])?;
    let lines: Vec<u32> = log.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(lines.last() == Some(&50_000), "the end is missing: {:?}", lines.last());
    ensure!(lines.len() < 50_000 && lines.len() > 500, "{} lines were kept", lines.len());
    ensure!(lines.windows(2).all(|pair| pair[1] == pair[0] + 1), "a line in the middle is missing");
    world.done(daemon);
    Ok(())
}

fn logs_of_a_running_container_are_read_by_two_at_once(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; sleep 1000";
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", script])?;
    let mut followers = [daemon.begin(&["logs", "-f", &id])?, daemon.begin(&["logs", "-f", &id])?];
    for follower in &mut followers {
        for number in 0..200 {
            let line = follower.next_line()?;
            ensure!(line == format!("line {number}"), "{line}");
        }
    }
    world.done(daemon);
    Ok(())
}

fn logs_end_where_they_ended_though_the_container_writes_on(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "yes"])?;
    until_true("it to write", seconds(10), || Ok(!daemon.ok(&["logs", "-n", "1", &id])?.is_empty()))?;
    // It writes faster than any client reads; each of these has a deadline.
    let some = daemon.ok(&["logs", "-n", "1000", &id])?;
    ensure!(some.lines().count() <= 1001 && some.lines().all(|line| line == "y"), "{}", some.len());
    let all = daemon.gantry(&["logs", &id])?.exits(0)?;
    ensure!(all.stdout.starts_with("y\n"));
    ensure!(daemon.inspect(&id, "{{.State.Status}}")? == "running");
    daemon.ok(&["kill", &id])?;
    world.done(daemon);
    Ok(())
}
