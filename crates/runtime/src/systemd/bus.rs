//! The connection to systemd: its own socket, which root may use and which needs no other program, or the system bus
//! where that is not there. One call at a time; signals that come meanwhile are kept for who waits for a job. Every wait
//! ends with the operation's deadline. Deliberately absent: descriptors, other services, other users' buses.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use gantry_linux::event::wait_readable;
use gantry_linux::socket::{self, Kind as SocketKind};
use gantry_linux::{Errno, SyscallError};

use super::SystemdError;
use super::wire::{self, Kind, Message, Target, Writer};

/// The folder that systemd makes when it is process 1.
const BOOTED: &str = "/run/systemd/system";
/// systemd's own socket: messages go straight to it.
const PRIVATE: &str = "/run/systemd/private";
/// The system bus.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// Signals that are kept; a job's own comes soon after its call.
const SIGNALS_MAX: usize = 1024;
/// Bytes of a line of the greeting.
const LINE_BYTES_MAX: usize = 512;

const SYSTEMD: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const BUS: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// Whether systemd is process 1 (sd_booted(3)).
pub(super) fn is_booted() -> bool {
    Path::new(BOOTED).is_dir()
}

/// A connection that is let in.
#[derive(Debug)]
pub(super) struct Bus {
    socket: OwnedFd,
    serial: u32,
    signals: VecDeque<Message>,
}

impl Bus {
    pub(super) fn connect(deadline: Instant) -> Result<Self, SystemdError> {
        if !is_booted() {
            return Err(SystemdError::Absent);
        }
        if gantry_linux::process::effective_uid() != 0 {
            return Err(SystemdError::NotRoot);
        }
        // Nonblocking: a peer that does not read must not hold us.
        if let Ok(socket) = socket::connect(SocketKind::Stream, Path::new(PRIVATE), true) {
            return Self::greeted(socket, deadline);
        }
        let socket = socket::connect(SocketKind::Stream, Path::new(SYSTEM_BUS), true)
            .map_err(|source| SystemdError::Unreachable { path: SYSTEM_BUS, source })?;
        let mut bus = Self::greeted(socket, deadline)?;
        bus.call_to(BUS, "Hello", "", &Writer::default(), deadline)?;
        let mut rule = Writer::default();
        rule.text("type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'");
        bus.call_to(BUS, "AddMatch", "s", &rule, deadline)?;
        bus.call("Subscribe", "", &Writer::default(), deadline)?;
        Ok(bus)
    }

    /// Calls systemd and waits for its answer.
    pub(super) fn call(
        &mut self,
        member: &str,
        signature: &str,
        body: &Writer,
        deadline: Instant,
    ) -> Result<Message, SystemdError> {
        self.call_to(SYSTEMD, member, signature, body, deadline)
    }

    /// Waits for the end of the job that an answer names.
    pub(super) fn wait_for_job(
        &mut self,
        answer: &Message,
        unit: &str,
        deadline: Instant,
    ) -> Result<(), SystemdError> {
        let texts = answer.texts()?;
        let job = *texts.first().ok_or(SystemdError::Malformed)?;
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.receive(deadline, || format!("the job for {unit}"))?,
            };
            if message.kind != Kind::Signal || message.member != "JobRemoved" {
                continue;
            }
            match message.texts()?[..] {
                [removed, _, "done"] if removed == job => return Ok(()),
                [removed, _, result] if removed == job => {
                    return Err(SystemdError::Job { unit: unit.to_owned(), result: result.to_owned() });
                }
                _ => {}
            }
        }
    }

    fn call_to(
        &mut self,
        target: Target,
        member: &str,
        signature: &str,
        body: &Writer,
        deadline: Instant,
    ) -> Result<Message, SystemdError> {
        self.serial += 1;
        self.send(&wire::call(target, member, signature, body, self.serial))?;
        loop {
            let message = self.receive(deadline, || member.to_owned())?;
            match message.kind {
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message),
                Kind::Error if message.reply_to == Some(self.serial) => {
                    let texts = message.texts()?;
                    let text = texts.first().copied().unwrap_or_default().to_owned();
                    return Err(SystemdError::Refused {
                        call: member.to_owned(),
                        name: message.error.clone(),
                        message: text,
                    });
                }
                Kind::Signal => {
                    self.signals.push_back(message);
                    // Those of other units, before our job began.
                    if self.signals.len() > SIGNALS_MAX {
                        self.signals.pop_front();
                    }
                }
                Kind::Return | Kind::Error | Kind::Other => {}
            }
        }
    }

    /// The greeting (D-Bus Specification, "Authentication Protocol"): who we are the kernel says.
    fn greeted(socket: OwnedFd, deadline: Instant) -> Result<Self, SystemdError> {
        let bus = Self { socket, serial: 0, signals: VecDeque::new() };
        let uid = gantry_linux::process::effective_uid().to_string();
        let digits: Vec<_> = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        // In one piece: what systemd reads together with the last line it looks at only when more comes, so that a call
        // that followed the line at once could wait for ever.
        bus.send(format!("\0AUTH EXTERNAL {}\r\nBEGIN\r\n", digits.concat()).as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            bus.read(&mut byte, deadline, || "the greeting".to_owned())?;
            line.extend(byte);
            if line.len() > LINE_BYTES_MAX {
                return Err(SystemdError::Malformed);
            }
        }
        if line.starts_with(b"OK ") { Ok(bus) } else { Err(SystemdError::NotAccepted) }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), SystemdError> {
        while !bytes.is_empty() {
            let sent = socket::send(self.socket.as_fd(), bytes, &[]).map_err(SystemdError::connection)?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn receive(&self, deadline: Instant, what: impl Fn() -> String) -> Result<Message, SystemdError> {
        let mut prefix = [0; wire::PREFIX];
        self.read(&mut prefix, deadline, &what)?;
        let mut bytes = vec![0; wire::total(&prefix)?];
        bytes[..wire::PREFIX].copy_from_slice(&prefix);
        self.read(&mut bytes[wire::PREFIX..], deadline, &what)?;
        wire::decode(&bytes)
    }

    /// Fills the buffer.
    fn read(
        &self,
        mut buffer: &mut [u8],
        deadline: Instant,
        what: impl Fn() -> String,
    ) -> Result<(), SystemdError> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero()
                || !wait_readable(self.socket.as_fd(), Some(left)).map_err(SystemdError::connection)?
            {
                return Err(SystemdError::Late { call: what() });
            }
            match socket::receive(self.socket.as_fd(), buffer) {
                Ok(received) if received.length == 0 => return Err(SystemdError::Closed),
                Ok(received) => buffer = &mut buffer[received.length..],
                Err(SyscallError { errno: Errno::AGAIN, .. }) => {}
                Err(source) => return Err(SystemdError::Connection { source }),
            }
        }
        Ok(())
    }
}
