//! Standard streams: input, terminals, slow and stuck attachments.

use gantry_api::shim::stdio::Tag;
use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::{ConsoleSize, ResizeRequest, Stdio};

use crate::bench::{Bench, open_stdin, until};

#[test]
fn input_comes_back_from_cat_and_its_end_ends_it() {
    let (bench, mut daemon) = Bench::running(&["cat"], open_stdin());
    let mut client = daemon.attach("");
    client.send(Tag::Stdin, b"hello\n");
    client.expect_output("hello\n");
    client.send(Tag::CloseStdin, b"");
    assert_eq!(client.rest(), (String::new(), String::new()));
    assert_eq!(daemon.exited().exit_code, 0);
    daemon.release(&bench);
}

#[test]
fn without_standard_input_the_end_of_file_comes_at_once() {
    let (bench, mut daemon) = Bench::running(&["cat"], Stdio::default());
    assert_eq!(daemon.exited().exit_code, 0);
    daemon.release(&bench);
}

#[test]
fn a_client_that_detaches_leaves_the_process_and_can_come_back() {
    let (bench, mut daemon) = Bench::running(&["cat"], open_stdin());
    drop(daemon.attach(""));
    let mut client = daemon.attach("");
    client.send(Tag::Stdin, b"again\n");
    client.expect_output("again\n");
    client.send(Tag::CloseStdin, b"");
    client.rest();
    daemon.exited();
    daemon.release(&bench);
}

#[test]
fn a_terminal_has_the_size_it_was_given_and_takes_a_new_one() {
    let console = Some(ConsoleSize { columns: 80, rows: 24 });
    let stdio = Stdio { terminal: true, console, ..Stdio::default() };
    let (bench, mut daemon) = Bench::new();
    daemon.launch(&bench, &["sh", "-c", "stty size; read line; stty size; exit 5"], stdio).expect("launched");
    let mut client = daemon.attach("");
    daemon.start().expect("started");
    client.expect_output("24 80\r\n");
    let console = Some(ConsoleSize { columns: 132, rows: 50 });
    daemon.ask(Action::Resize(ResizeRequest { exec_id: String::new(), console })).expect("resized");
    client.send(Tag::Stdin, b"\n");
    client.expect_output("50 132\r\n");
    client.rest();
    assert_eq!(daemon.exited().exit_code, 5);
    assert!(bench.logged("stdout").contains("50 132"));
    daemon.release(&bench);
}

#[test]
fn the_end_of_input_of_a_terminal_is_its_end_of_file_character() {
    let stdio = Stdio { terminal: true, ..Stdio::default() };
    let (bench, mut daemon) = Bench::running(&["cat"], stdio);
    let mut client = daemon.attach("");
    client.send(Tag::CloseStdin, b"");
    client.rest();
    assert_eq!(daemon.exited().exit_code, 0);
    daemon.release(&bench);
}

#[test]
fn a_stuck_attachment_holds_back_output_but_neither_signals_nor_the_exit() {
    let (bench, mut daemon) = Bench::new();
    daemon.launch(&bench, &["yes"], Stdio::default()).expect("launched");
    let stuck = daemon.attach("");
    daemon.start().expect("started");
    // Held back: the log is the same at twenty looks in a row.
    let (mut before, mut same) = (0, 0);
    until("the output stops", || {
        let now = bench.log_text().len();
        same = if now > 0 && now == before { same + 1 } else { 0 };
        before = now;
        same == 20
    });
    assert_eq!(daemon.state().init.expect("runs").attachments, 1);
    daemon.kill("", 9).expect("sent");
    assert_eq!(daemon.exited().exit_code, 137);
    drop(stuck);
    daemon.release(&bench);
}

#[test]
fn a_slow_attachment_gets_everything_even_after_the_release() {
    let (bench, mut daemon) = Bench::new();
    daemon.launch(&bench, &["seq", "1", "60000"], Stdio::default()).expect("launched");
    let mut slow = daemon.attach("");
    daemon.start().expect("started");
    let reader = std::thread::spawn(move || slow.rest().0);
    assert_eq!(daemon.exited().exit_code, 0);
    daemon.release(&bench);
    let expected = (1..=60000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n") + "\n";
    assert!(reader.join().expect("read") == expected, "something is lost");
    assert!(bench.logged("stdout") == expected, "the log lost something");
}
