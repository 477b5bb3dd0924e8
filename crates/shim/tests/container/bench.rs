//! What the tests stand on: a root filesystem of busybox, plans for it, a running shim, and a daemon's side of
//! the protocol. Everything waits with a deadline and cleans up when dropped.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_api::shim::stdio::{self, StdioReader, Tag};
use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::response::Result as Answer;
use gantry_api::shim::v1::{
    AttachRequest, Event, ExecRequest, Exited, Failure, HelloRequest, KillRequest, LaunchRequest,
    ReleaseRequest, Request, ShimMessage, StartRequest, StateRequest, StateResponse, Stdio, event,
    shim_message,
};
use gantry_api::shim::{self, FrameReader, SOCKET_FILE};
use gantry_linux::signal::{self, Signal};
use gantry_linux::spawn::{Spawn, Spawned};
use gantry_runtime::plan::{
    Bind, Console, ExecPlan, Mount, Namespace, NamespaceKind, Op, Plan, Process, Root, Rootfs, Setting, Step,
    Symlink, Terminal, VERSION,
};
use prost::Message;
use rustix::event::{PollFd, PollFlags, poll};

/// How long anything may take that is expected.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const NAMESPACES: [NamespaceKind; 4] =
    [NamespaceKind::Mount, NamespaceKind::Pid, NamespaceKind::Uts, NamespaceKind::Ipc];

/// One container's folders and shim.
pub(crate) struct Bench {
    _dir: tempfile::TempDir,
    pub(crate) rootfs: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) shim: Spawned,
}

impl Bench {
    /// A shim that nothing was said to, and the daemon's end of its first connection.
    pub(crate) fn new() -> (Self, Daemon) {
        let dir = tempfile::tempdir().expect("tempdir");
        let [rootfs, bundle, log] = ["rootfs", "bundle", "log"].map(|name| dir.path().join(name));
        make_rootfs(&rootfs);
        fs::create_dir(&bundle).expect("made");
        fs::create_dir(&log).expect("made");
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        let shim = spawn(theirs.as_fd());
        (Self { _dir: dir, rootfs, bundle, log, shim }, Daemon::new(ours))
    }

    /// A launched and started container.
    pub(crate) fn running(args: &[&str], stdio: Stdio) -> (Self, Daemon) {
        let (bench, mut daemon) = Self::new();
        daemon.launch(&bench, args, stdio).expect("launched");
        daemon.start().expect("started");
        (bench, daemon)
    }

    /// What another daemon does: connect to the socket in the bundle.
    pub(crate) fn connect(&self) -> Daemon {
        let mut daemon = Daemon::new(UnixStream::connect(self.bundle.join(SOCKET_FILE)).expect("listening"));
        daemon.hello();
        daemon
    }

    /// A plan that runs `args`.
    pub(crate) fn plan(&self, args: &[&str], terminal: bool) -> Plan {
        let mut steps: Vec<Step> = vec![mount("/proc", "proc", &[]).into(), null_device().into()];
        if terminal {
            let settings = [("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("0620"))];
            steps.push(mount("/dev/pts", "devpts", &settings).into());
            steps.push(Op::Symlink(Symlink { path: "/dev/ptmx".into(), target: "pts/ptmx".into() }).into());
            steps.push(Op::Console(Console {}).into());
        }
        let root = Root::Folder(self.rootfs.to_str().expect("utf-8").into());
        let namespaces =
            NAMESPACES.map(|kind| Namespace { kind: kind.into(), path: String::new(), passed: false }).into();
        Plan {
            version: VERSION,
            rootfs: Some(Rootfs { root: Some(root), id_mapped: false }),
            namespaces,
            steps,
            process: Some(process(args, terminal)),
            ..Plan::default()
        }
    }

    /// The log's text, all segments.
    pub(crate) fn log_text(&self) -> String {
        let mut names: Vec<_> =
            fs::read_dir(&self.log).expect("readable").map(|entry| entry.expect("entry").path()).collect();
        names.sort();
        names.iter().map(|name| fs::read_to_string(name).expect("utf-8")).collect()
    }

    /// The content of the log's records of one stream, partial ones joined.
    pub(crate) fn logged(&self, stream: &str) -> String {
        let log = self.log_text();
        // What is being written now is no record yet.
        let whole_records = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
        let mut text = String::new();
        for line in whole_records.lines() {
            let mut fields = line.splitn(4, ' ').skip(1);
            if fields.next() == Some(stream) {
                let whole = fields.next() == Some("F");
                text.push_str(fields.next().expect("content"));
                text.push_str(if whole { "\n" } else { "" });
            }
        }
        text
    }

    /// Waits for the shim's own end.
    pub(crate) fn wait_for_end(&self) {
        let mut polled = [PollFd::new(&self.shim.pidfd, PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut polled, Some(&timeout)).expect("poll"), 1, "the shim does not end");
    }

    /// Waits for the shim's end and checks that nothing is left.
    pub(crate) fn expect_nothing_left(&self) {
        self.wait_for_end();
        assert!(!self.bundle.exists(), "the bundle is left");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Its container ends with it. Already gone is what the test wanted.
        let _ = signal::send_to_pidfd(self.shim.pidfd.as_fd(), Signal::KILL);
        if !std::thread::panicking() {
            self.wait_for_end();
        }
    }
}

/// The shim's file.
pub(crate) fn programme() -> File {
    // The release build is tested by naming it.
    let built =
        std::env::var_os("GANTRY_TEST_SHIM").unwrap_or_else(|| env!("CARGO_BIN_EXE_gantry-shim").into());
    File::open(built).expect("built")
}

fn spawn(control: std::os::fd::BorrowedFd<'_>) -> Spawned {
    let programme = programme();
    let null = File::options().read(true).write(true).open("/dev/null").expect("a kernel device");
    Spawn {
        programme: programme.as_fd(),
        args: vec![c"gantry-shim".into(), c"test/0123456789ab".into()],
        env: Vec::new(),
        descriptors: vec![(null.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2), (control, 3)],
    }
    .start()
    .expect("the shim starts")
}

fn make_rootfs(path: &Path) {
    for folder in ["bin", "proc", "dev/pts", "tmp"] {
        fs::create_dir_all(path.join(folder)).expect("made");
    }
    fs::copy("/bin/busybox", path.join("bin/busybox")).expect("the tests need busybox-static");
    for applet in ["sh", "cat", "echo", "sleep", "stty", "yes", "true", "seq"] {
        symlink("busybox", path.join("bin").join(applet)).expect("linked");
    }
}

fn mount(target: &str, fstype: &str, settings: &[(&str, Option<&str>)]) -> Op {
    let setting = |(key, value): &(&str, Option<&str>)| Setting {
        key: (*key).to_owned(),
        value: value.map(str::to_owned),
    };
    Op::Mount(Mount {
        target: target.to_owned(),
        fstype: fstype.to_owned(),
        source: fstype.to_owned(),
        settings: settings.iter().map(setting).collect(),
        ..Mount::default()
    })
}

/// What a shell gives its background jobs as standard input.
fn null_device() -> Op {
    let null = "/dev/null".to_owned();
    Op::Bind(Bind { source: null.clone(), target: null, ..Bind::default() })
}

fn process(args: &[&str], terminal: bool) -> Process {
    Process {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        terminal: terminal.then(Terminal::default),
        ..Process::default()
    }
}

/// Pipes, with standard input.
pub(crate) fn open_stdin() -> Stdio {
    Stdio { stdin_open: true, ..Stdio::default() }
}

/// The daemon's side of a control connection.
pub(crate) struct Daemon {
    socket: UnixStream,
    reader: FrameReader,
    next_id: u64,
    answers: VecDeque<(u64, Answer)>,
    events: VecDeque<event::Event>,
}

impl Daemon {
    pub(crate) fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).expect("set");
        Self {
            socket,
            reader: FrameReader::new(),
            next_id: 1,
            answers: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sends a request without waiting; its id.
    pub(crate) fn send(&mut self, action: Action, descriptor: Option<&OwnedFd>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut bytes = Vec::new();
        shim::encode(&Request { id, action: Some(action) }, &mut bytes).expect("under the limit");
        let sent = match descriptor {
            None => 0,
            Some(passed) => {
                gantry_linux::socket::send(self.socket.as_fd(), &bytes, &[passed.as_fd()]).expect("sent")
            }
        };
        self.socket.write_all(&bytes[sent..]).expect("sent");
        id
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, id: u64) -> Result<Answer, Failure> {
        loop {
            if let Some(at) = self.answers.iter().position(|(answered, _)| *answered == id) {
                let (_, answer) = self.answers.remove(at).expect("found above");
                return if let Answer::Failure(failure) = answer { Err(failure) } else { Ok(answer) };
            }
            assert!(self.receive(), "the shim hung up");
        }
    }

    pub(crate) fn ask(&mut self, action: Action) -> Result<Answer, Failure> {
        let id = self.send(action, None);
        self.answer(id)
    }

    /// The next event, which must come.
    pub(crate) fn event(&mut self) -> event::Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(self.receive(), "the shim hung up");
        }
    }

    /// The next event, which must be an end.
    pub(crate) fn exited(&mut self) -> Exited {
        match self.event() {
            event::Event::Exited(exited) => exited,
            event::Event::OutOfMemory(_) => panic!("nobody uses that much memory"),
        }
    }

    pub(crate) fn hello(&mut self) {
        let hello = HelloRequest { version: shim::VERSION, version_min: 1, daemon_release: "test".into() };
        assert!(matches!(self.ask(Action::Hello(hello)), Ok(Answer::Hello(_))));
    }

    /// Hello and Launch.
    pub(crate) fn launch(&mut self, bench: &Bench, args: &[&str], stdio: Stdio) -> Result<Answer, Failure> {
        self.hello();
        let launch = launch_request(bench, &bench.plan(args, stdio.terminal), stdio);
        self.ask(Action::Launch(launch))
    }

    pub(crate) fn start(&mut self) -> Result<Answer, Failure> {
        self.ask(Action::Start(StartRequest {}))
    }

    /// Attaches to a process; empty is init.
    pub(crate) fn attach(&mut self, exec_id: &str) -> Client {
        let (client, theirs) = Client::pair();
        let id = self.send(Action::Attach(attach_request(exec_id)), Some(&theirs));
        self.answer(id).expect("attached");
        client
    }

    /// Runs an exec with an attachment.
    pub(crate) fn exec(&mut self, exec_id: &str, args: &[&str], stdio: Stdio) -> Result<Client, Failure> {
        let plan = ExecPlan {
            version: VERSION,
            namespaces: NAMESPACES.map(i32::from).into(),
            process: Some(process(args, stdio.terminal)),
            ids: None,
        };
        let exec = ExecRequest {
            exec_id: exec_id.to_owned(),
            plan: plan.encode_to_vec(),
            stdio: Some(stdio),
            attach: Some(attach_request("")),
            foreign_process: Vec::new(),
        };
        let (client, theirs) = Client::pair();
        let id = self.send(Action::Exec(exec), Some(&theirs));
        self.answer(id).map(|_| client)
    }

    pub(crate) fn kill(&mut self, exec_id: &str, signal: u32) -> Result<Answer, Failure> {
        self.ask(Action::Kill(KillRequest { exec_id: exec_id.to_owned(), signal, all: false }))
    }

    pub(crate) fn state(&mut self) -> StateResponse {
        match self.ask(Action::State(StateRequest {})) {
            Ok(Answer::State(state)) => state,
            other => panic!("not a state: {other:?}"),
        }
    }

    /// Releases, and checks that nothing is left.
    pub(crate) fn release(&mut self, bench: &Bench) {
        match self.ask(Action::Release(ReleaseRequest {})) {
            Ok(Answer::Release(release)) => assert_eq!(release.left, Vec::<String>::new()),
            other => panic!("not released: {other:?}"),
        }
        bench.expect_nothing_left();
    }

    /// Takes what comes next; `false` at the end.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = self.socket.read(&mut bytes).expect("an answer in time");
        self.reader.extend(&bytes[..count]);
        while let Some(message) = self.reader.next_message::<ShimMessage>().expect("well formed") {
            match message.message.expect("one of the two") {
                shim_message::Message::Response(response) => {
                    self.answers.push_back((response.request_id, response.result.expect("a result")));
                }
                shim_message::Message::Event(Event { event }) => self.events.extend(event),
            }
        }
        count > 0
    }
}

pub(crate) fn launch_request(bench: &Bench, plan: &Plan, stdio: Stdio) -> LaunchRequest {
    let text = |path: &Path| path.to_str().expect("utf-8").to_owned();
    LaunchRequest {
        plan: plan.encode_to_vec(),
        bundle_dir: text(&bench.bundle),
        log_dir: text(&bench.log),
        log_limits: None,
        stdio: Some(stdio),
        network_namespace: false,
        foreign: None,
    }
}

fn attach_request(exec_id: &str) -> AttachRequest {
    AttachRequest {
        exec_id: exec_id.to_owned(),
        stdin: true,
        stdout: true,
        stderr: true,
        close_stdin_at_detach: false,
    }
}

/// A client's end of an attachment.
pub(crate) struct Client {
    pub(crate) socket: UnixStream,
    reader: StdioReader,
    frames: VecDeque<(Tag, Vec<u8>)>,
}

impl Client {
    fn pair() -> (Self, OwnedFd) {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        ours.set_read_timeout(Some(DEADLINE)).expect("set");
        (Self { socket: ours, reader: StdioReader::new(), frames: VecDeque::new() }, theirs.into())
    }

    pub(crate) fn send(&mut self, tag: Tag, payload: &[u8]) {
        let mut bytes = Vec::new();
        stdio::encode(tag, payload, &mut bytes);
        self.socket.write_all(&bytes).expect("sent");
    }

    /// The next frame; `None` when the shim closed.
    pub(crate) fn frame(&mut self) -> Option<(Tag, Vec<u8>)> {
        let mut bytes = [0; 4096];
        while self.frames.is_empty() {
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.reader.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no frame in time: {error}"),
            }
            while let Some((tag, payload)) = self.reader.next_frame().expect("well formed") {
                self.frames.push_back((tag, payload.to_vec()));
            }
        }
        self.frames.pop_front()
    }

    /// Reads standard output until it contains `text`.
    pub(crate) fn expect_output(&mut self, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.frame() {
                Some((Tag::Stdout, payload)) => seen.push_str(&String::from_utf8_lossy(&payload)),
                other => panic!("{other:?} instead of {text:?} after {seen:?}"),
            }
        }
    }

    /// Everything until the end: standard output and standard error.
    pub(crate) fn rest(&mut self) -> (String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.frame() {
                Some((Tag::Stdout, payload)) => stdout.extend(payload),
                Some((Tag::Stderr, payload)) => stderr.extend(payload),
                Some((Tag::End, _)) => break,
                other => panic!("{other:?} before the end"),
            }
        }
        let text = |bytes| String::from_utf8(bytes).expect("utf-8");
        (text(stdout), text(stderr))
    }
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
