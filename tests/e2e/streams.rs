//! Do people at terminals and pipes reach the process? exec, attach, detach keys, the size of the terminal.

use anyhow::{Result, ensure};
use gantry_tests::cli::{send_signal, stop_all_threads};
use gantry_tests::terminal::Terminal;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until, until_true};
use nix::sys::signal::Signal;

tests![
    an_exec_runs_beside_the_first_process_and_answers_its_code,
    an_exec_has_its_own_user_environment_and_folder,
    an_exec_reads_its_standard_input_to_the_end,
    a_detached_exec_goes_on_by_itself,
    an_exec_in_a_container_that_does_not_run_is_an_error,
    attaching_shows_what_comes_and_passes_input_on,
    two_attached_clients_see_the_same,
    a_terminal_runs_a_shell_with_echo_and_job_control,
    the_terminal_has_the_size_of_the_clients_and_follows_it,
    the_detach_keys_leave_the_container_running,
    other_detach_keys_can_be_chosen,
    an_exec_on_a_terminal_behaves_as_one,
    a_terminal_is_restored_after_the_command,
    a_signal_ends_a_client_that_waits_for_the_removal,
    much_output_arrives_whole_through_a_slow_reader,
];

fn an_exec_runs_beside_the_first_process_and_answers_its_code(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let said = daemon.gantry(&[
        "exec",
        &id,
        "sh",
        "-c",
        "echo out; echo err >&2; tr '\\0' ' ' </proc/1/cmdline; exit 6",
    ])?;
    let said = said.exits(6)?.prints("out\nsleep 1000")?;
    ensure!(said.stderr == "err\n", "{said}");
    daemon.gantry(&["exec", &id, "sh", "-c", "kill -9 $$"])?.exits(137)?;
    world.done(daemon);
    Ok(())
}

fn an_exec_has_its_own_user_environment_and_folder(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "-e", "OLD=1", &image, "sleep", "1000"])?;
    let args = ["exec", "-u", "alice", "-w", "/tmp", "-e", "NEW=2", &id, "sh", "-c"];
    let script = "id -u; id -g; pwd; echo $OLD $NEW $HOME";
    daemon.gantry(&[&args[..], &[script]].concat())?.exits(0)?.prints("1000\n1000\n/tmp\n1 2 /home")?;
    world.done(daemon);
    Ok(())
}

fn an_exec_reads_its_standard_input_to_the_end(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let input = "0123456789abcdef\n".repeat(20_000);
    let said = daemon.gantry_with_input(&["exec", "-i", &id, "wc", "-c"], &input)?;
    said.exits(0)?.prints(&input.len().to_string())?;
    daemon.gantry(&["exec", &id, "wc", "-c"])?.exits(0)?.prints("0")?;
    world.done(daemon);
    Ok(())
}

fn a_detached_exec_goes_on_by_itself(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    daemon.ok(&["exec", "-d", &id, "sh", "-c", "echo done >/tmp/mark"])?;
    until_true("the mark", seconds(10), || {
        Ok(daemon.gantry(&["exec", &id, "cat", "/tmp/mark"])?.stdout == "done\n")
    })?;
    world.done(daemon);
    Ok(())
}

fn an_exec_in_a_container_that_does_not_run_is_an_error(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["create", &image, "true"])?;
    let said = daemon.gantry(&["exec", &id, "true"])?;
    ensure!(said.code != 0, "{said}");
    said.complains("not running")?;
    world.done(daemon);
    Ok(())
}

fn attaching_shows_what_comes_and_passes_input_on(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "while read line; do echo got $line; [ \"$line\" = end ] && exit 4; done";
    let id = daemon.ok(&["run", "-d", "-i", &image, "sh", "-c", script])?;
    let mut client = daemon.begin(&["attach", &id])?;
    client.say("one\n")?;
    ensure!(client.next_line()? == "got one");
    client.say("end\n")?;
    ensure!(client.next_line()? == "got end");
    client.finish()?.exits(4)?;
    world.done(daemon);
    Ok(())
}

fn two_attached_clients_see_the_same(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let script = "while read line; do echo got $line; done";
    let id = daemon.ok(&["run", "-d", "-i", &image, "sh", "-c", script])?;
    let mut first = daemon.begin(&["attach", &id])?;
    first.say("alone\n")?;
    ensure!(first.next_line()? == "got alone");
    let mut second = daemon.begin(&["attach", &id])?;
    second.say("both\n")?;
    ensure!(first.next_line()? == "got both");
    ensure!(second.line_with("both")? == "got both");
    world.done(daemon);
    Ok(())
}

fn a_terminal_runs_a_shell_with_echo_and_job_control(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let mut terminal = Terminal::start(&daemon.socket(), &["run", "--rm", "-it", &image, "sh"], 80, 24)?;
    terminal.press("tty; echo $((40 + 2))\r")?;
    terminal.see("/dev/")?;
    terminal.see("42")?;
    // Ctrl-C reaches the foreground process of the container, and only that.
    let child =
        "sh -c 'trap \"echo interrupted; exit\" INT; echo waiting $((3 + 3)); while :; do sleep 0.1; done'";
    terminal.press(&format!("{child}\r"))?;
    terminal.see("waiting 6")?;
    terminal.press("\x03")?;
    terminal.see("interrupted")?;
    terminal.press("echo still $((1 + 1)) here\r")?;
    terminal.see("still 2 here")?;
    terminal.press("exit 12\r")?;
    ensure!(terminal.finish()? == 12);
    world.done(daemon);
    Ok(())
}

fn the_terminal_has_the_size_of_the_clients_and_follows_it(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let mut terminal = Terminal::start(&daemon.socket(), &["run", "--rm", "-it", &image, "sh"], 111, 37)?;
    terminal.press("stty size\r")?;
    terminal.see("37 111")?;
    terminal.resize(99, 33)?;
    // The change travels by itself; the shell is asked until it has come.
    terminal
        .press("until [ \"$(stty size)\" = '33 99' ]; do sleep 0.1; done; echo size is $((3)) changed\r")?;
    terminal.see("size is 3 changed")?;
    terminal.press("exit\r")?;
    ensure!(terminal.finish()? == 0);
    world.done(daemon);
    Ok(())
}

fn the_detach_keys_leave_the_container_running(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let mut terminal =
        Terminal::start(&daemon.socket(), &["run", "-it", "--name", "kept", &image, "sh"], 80, 24)?;
    terminal.press("echo ready $((1 + 2))\r")?;
    terminal.see("ready 3")?;
    terminal.press("\x10\x11")?;
    ensure!(terminal.finish()? == 0);
    ensure!(daemon.inspect("kept", "{{.State.Status}}")? == "running");
    let mut again = Terminal::start(&daemon.socket(), &["attach", "kept"], 80, 24)?;
    again.press("echo back $((2 + 2))\r")?;
    again.see("back 4")?;
    again.press("exit 3\r")?;
    ensure!(again.finish()? == 3);
    world.done(daemon);
    Ok(())
}

fn other_detach_keys_can_be_chosen(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let args = ["run", "-it", "--name", "kept", "--detach-keys", "ctrl-x,q", &image, "sh"];
    let mut terminal = Terminal::start(&daemon.socket(), &args, 80, 24)?;
    terminal.press("echo ready $((1 + 2))\r")?;
    terminal.see("ready 3")?;
    terminal.press("\x18q")?;
    ensure!(terminal.finish()? == 0);
    ensure!(daemon.inspect("kept", "{{.State.Status}}")? == "running");
    world.done(daemon);
    Ok(())
}

fn an_exec_on_a_terminal_behaves_as_one(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", &image, "sleep", "1000"])?;
    let mut terminal = Terminal::start(&daemon.socket(), &["exec", "-it", &id, "sh"], 100, 30)?;
    terminal.press("stty size; test -t 0 && test -t 1 && echo a terminal $((5 + 5))\r")?;
    terminal.see("30 100")?;
    terminal.see("a terminal 10")?;
    terminal.press("exit 5\r")?;
    ensure!(terminal.finish()? == 5);
    world.done(daemon);
    Ok(())
}

fn a_terminal_is_restored_after_the_command(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let mut terminal = Terminal::start(&daemon.socket(), &["run", "--rm", "-it", &image, "sh"], 80, 24)?;
    terminal.press("echo up $((1 + 1))\r")?;
    terminal.see("up 2")?;
    let raw = terminal.settings()?;
    ensure!(raw.contains("-icanon") && raw.contains("-echo"), "the client's terminal is not raw: {raw}");
    terminal.press("exit\r")?;
    terminal.await_end()?;
    let after = terminal.settings()?;
    ensure!(!after.contains("-icanon") && !after.contains("-echo "), "the terminal stays raw: {after}");
    world.done(daemon);
    Ok(())
}

fn a_signal_ends_a_client_that_waits_for_the_removal(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let script = "while echo up; do sleep 0.1; done";
        let mut client = daemon.begin(&["run", "--rm", "--name", "short", &image, "sh", "-c", script])?;
        client.line_with("up")?;
        // The client is told of the end and asks for the removal, but the daemon never answers: both sleep in between.
        let mut beside = daemon.begin(&["attach", "short"])?;
        beside.line_with("up")?;
        stop_all_threads(client.pid())?;
        daemon.ok(&["kill", "short"])?;
        beside.finish()?.exits(137)?;
        until_true("the removal", seconds(10), || Ok(daemon.ok(&["ps", "-aq"])?.is_empty()))?;
        stop_all_threads(daemon.pid()?)?;
        send_signal(client.pid(), Signal::SIGCONT)?;
        // Until the client has read of the end, signals are still the container's.
        let ended = until("the client to end", seconds(10), || {
            send_signal(client.pid(), signal)?;
            client.exit_code()
        });
        send_signal(daemon.pid()?, Signal::SIGCONT)?;
        ensure!(ended? == code);
    }
    world.done(daemon);
    Ok(())
}

fn much_output_arrives_whole_through_a_slow_reader(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let mut client = daemon.begin(&["run", "--rm", &image, "seq", "1", "200000"])?;
    let mut expected = 1_u32;
    while expected <= 200_000 {
        let line = client.next_line()?;
        ensure!(line == expected.to_string(), "expected {expected}, got {line}");
        expected += 1;
    }
    client.finish()?.exits(0)?;
    world.done(daemon);
    Ok(())
}
