//! How words become a command. The custom is runc's, as its callers use it: global options first or anywhere
//! before a command of the container's, options before or after the id, `--option value` or `--option=value`.
//! Everything after the first word of `exec`'s command belongs to that.

mod checkpoint;
mod words;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use lexopt::{Arg, Parser};

use self::words::{duration, number, path, text};
use crate::failure::Failure;
use crate::options::{
    Checkpoint, Create, Delete, Events, Exec, Globals, Kill, Listing, Restore, Template, Update,
};
use crate::report::Format;

/// One call of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) globals: Globals,
    pub(crate) command: Command,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Create(Create),
    Run(Create),
    Start { id: String },
    State { id: String },
    Kill(Kill),
    Delete(Delete),
    Exec(Exec),
    Ps(Listing),
    List(Listing),
    Pause { id: String },
    Resume { id: String },
    Update(Update),
    Events(Events),
    Spec(Template),
    Checkpoint(Checkpoint),
    Restore(Restore),
    Features,
}

impl Command {
    /// What a failure exits with. exec's own failures are told apart from its process's by 255.
    pub(crate) fn code_of_failure(&self) -> u8 {
        if matches!(self, Self::Exec(_)) { 255 } else { 1 }
    }
}

/// Limits that `update` takes one by one.
const LIMITS: [&str; 18] = [
    "blkio-weight",
    "cpu-period",
    "cpu-quota",
    "cpu-burst",
    "cpu-share",
    "cpu-shares",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpuset-cpus",
    "cpuset-mems",
    "cpu-idle",
    "kernel-memory",
    "kernel-memory-tcp",
    "memory",
    "memory-reservation",
    "memory-swap",
    "pids-limit",
    "l3-cache-schema",
];

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Invocation, Failure> {
    let mut reader = Reader { parser: Parser::from_args(words), globals: Globals::default(), help: false };
    let command = match reader.command() {
        // What is missing beside it does not matter.
        _ if reader.help => Command::Help,
        command => command?,
    };
    Ok(Invocation { globals: reader.globals, command })
}

struct Reader {
    parser: Parser,
    globals: Globals,
    /// Whether a command was asked for its help.
    help: bool,
}

impl Reader {
    fn command(&mut self) -> Result<Command, Failure> {
        loop {
            // The name of the option must live on while its value is read.
            let word = match self.parser.next().map_err(words::refused)? {
                None | Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Command::Help),
                Some(Arg::Value(word)) => words::string(word)?,
                Some(Arg::Short('v') | Arg::Long("version")) => return Ok(Command::Version),
                Some(Arg::Short(short)) => return Err(unknown(&format!("-{short}"))),
                Some(Arg::Long(name)) => {
                    let name = name.to_owned();
                    if self.global(&name)? {
                        continue;
                    }
                    return Err(unknown(&format!("--{name}")));
                }
            };
            return self.command_named(&word);
        }
    }

    fn command_named(&mut self, word: &str) -> Result<Command, Failure> {
        Ok(match word {
            "create" => Command::Create(self.create()?),
            "run" => Command::Run(self.create()?),
            "start" => Command::Start { id: self.id_alone()? },
            "state" => Command::State { id: self.id_alone()? },
            "kill" => Command::Kill(self.kill()?),
            "delete" => Command::Delete(self.delete()?),
            "exec" => Command::Exec(self.exec()?),
            "ps" => Command::Ps(self.ps()?),
            "list" => Command::List(self.list()?),
            "pause" => Command::Pause { id: self.id_alone()? },
            "resume" => Command::Resume { id: self.id_alone()? },
            "update" => Command::Update(self.update()?),
            "events" => Command::Events(self.events()?),
            "spec" => Command::Spec(self.template()?),
            "features" => {
                self.rest(|_, _| Ok(false))?.none()?;
                Command::Features
            }
            "checkpoint" => Command::Checkpoint(self.checkpoint()?),
            "restore" => Command::Restore(self.restore()?),
            "help" => Command::Help,
            "version" => Command::Version,
            other => return Err(Failure::usage(format!("unknown command {other:?}"))),
        })
    }

    /// Reads a global option; false when it is none.
    fn global(&mut self, name: &str) -> Result<bool, Failure> {
        let (parser, globals) = (&mut self.parser, &mut self.globals);
        match name {
            "root" => globals.root = path(parser)?,
            "log" => globals.log = Some(path(parser)?).filter(|path| !path.as_os_str().is_empty()),
            "log-format" => {
                globals.log_format = match text(parser)?.as_str() {
                    "json" => Format::Json,
                    "text" | "" => Format::Text,
                    other => return Err(Failure::usage(format!("invalid log-format {other:?}"))),
                }
            }
            "log-level" => globals.debug = text(parser)? == "debug",
            "debug" => globals.debug = words::flag(parser)?,
            "systemd-cgroup" => globals.systemd_cgroup = words::flag(parser)?,
            "cgroup-manager" => {
                globals.systemd_cgroup = match text(parser)?.as_str() {
                    "systemd" => true,
                    "cgroupfs" | "disabled" => false,
                    other => return Err(Failure::usage(format!("unknown cgroup manager {other:?}"))),
                }
            }
            "rootless" => globals.rootless = text(parser)? == "true",
            "help" => self.help = true,
            "criu" => globals.criu = Some(path(parser)?).filter(|path| path.is_absolute()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the rest of the words. What is neither global nor taken by `option` is refused; `option` is given
    /// a long name, or a short one as one letter.
    fn rest(
        &mut self,
        mut option: impl FnMut(&mut Parser, &str) -> Result<bool, Failure>,
    ) -> Result<Positional, Failure> {
        let mut values = Vec::new();
        loop {
            let name = match self.parser.next().map_err(words::refused)? {
                None => return Ok(Positional(values)),
                Some(Arg::Value(word)) => {
                    values.push(words::string(word)?);
                    continue;
                }
                Some(Arg::Short(short)) => short.to_string(),
                Some(Arg::Long(long)) => long.to_owned(),
            };
            if !option(&mut self.parser, &name)? && !self.global(&name)? {
                return Err(unknown(&name));
            }
        }
    }

    fn id_alone(&mut self) -> Result<String, Failure> {
        self.rest(|_, _| Ok(false))?.one()
    }

    fn create(&mut self) -> Result<Create, Failure> {
        let mut create = Create::default();
        create.id = self.rest(|parser, name| option_of_create(&mut create, parser, name))?.one()?;
        Ok(create)
    }

    fn kill(&mut self) -> Result<Kill, Failure> {
        let mut kill = Kill::default();
        let words = self.rest(|parser, name| {
            match name {
                "all" | "a" => kill.all = words::flag(parser)?,
                "regex" | "r" => kill.regex = words::flag(parser)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        (kill.id, kill.signal) = words.one_or_two()?;
        Ok(kill)
    }

    fn delete(&mut self) -> Result<Delete, Failure> {
        let mut delete = Delete::default();
        let words = self.rest(|parser, name| {
            match name {
                "force" | "f" => delete.force = words::flag(parser)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        delete.id = words.one()?;
        Ok(delete)
    }

    fn exec(&mut self) -> Result<Exec, Failure> {
        let mut exec = Exec::default();
        loop {
            let name = match self.parser.next().map_err(words::refused)? {
                None => break,
                Some(Arg::Value(word)) if exec.id.is_empty() => {
                    exec.id = words::string(word)?;
                    continue;
                }
                Some(Arg::Value(word)) => {
                    exec.args.push(words::string(word)?);
                    let rest = self.parser.raw_args().map_err(words::refused)?;
                    for word in rest {
                        exec.args.push(words::string(word)?);
                    }
                    break;
                }
                Some(Arg::Short(short)) => short.to_string(),
                Some(Arg::Long(long)) => long.to_owned(),
            };
            if !option_of_exec(&mut exec, &mut self.parser, &name)? && !self.global(&name)? {
                return Err(unknown(&name));
            }
        }
        match (exec.id.is_empty(), exec.args.is_empty() && exec.process.is_none()) {
            (true, _) => Err(Failure::usage("a container id is needed")),
            (false, true) => Err(Failure::usage("a command, or --process, is needed")),
            (false, false) => Ok(exec),
        }
    }

    fn ps(&mut self) -> Result<Listing, Failure> {
        let mut ps = Listing::default();
        loop {
            let name = match self.parser.next().map_err(words::refused)? {
                None => break,
                Some(Arg::Value(word)) => {
                    ps.id = words::string(word)?;
                    // What follows the id is for ps(1), but for the one option that callers put there.
                    break;
                }
                Some(Arg::Short(short)) => short.to_string(),
                Some(Arg::Long(long)) => long.to_owned(),
            };
            match name.as_str() {
                "format" | "f" => ps.json = format_of_list(&mut self.parser)?,
                other if self.global(other)? => {}
                other => return Err(unknown(other)),
            }
        }
        let mut rest = Vec::new();
        for word in self.parser.raw_args().map_err(words::refused)? {
            rest.push(words::string(word)?);
        }
        ps.take_format(&mut rest)?;
        ps.args = rest;
        if ps.id.is_empty() { Err(Failure::usage("a container id is needed")) } else { Ok(ps) }
    }

    fn list(&mut self) -> Result<Listing, Failure> {
        let mut list = Listing::default();
        let words = self.rest(|parser, name| {
            match name {
                "format" | "f" => list.json = format_of_list(parser)?,
                "quiet" | "q" => list.quiet = words::flag(parser)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        words.none()?;
        Ok(list)
    }

    fn update(&mut self) -> Result<Update, Failure> {
        let mut update = Update::default();
        let words = self.rest(|parser, name| {
            if let Some(known) = LIMITS.iter().find(|known| **known == name) {
                update.limits.push((known, text(parser)?));
                return Ok(true);
            }
            match name {
                "resources" | "r" => update.resources = Some(path(parser)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        update.id = words.one()?;
        Ok(update)
    }

    fn events(&mut self) -> Result<Events, Failure> {
        let mut events = Events { id: String::new(), stats: false, interval: Duration::from_secs(5) };
        let words = self.rest(|parser, name| {
            match name {
                "stats" => events.stats = words::flag(parser)?,
                "interval" => events.interval = duration(&text(parser)?)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        events.id = words.one()?;
        Ok(events)
    }

    /// `--rootless` is a flag here, while the global one takes a value.
    fn template(&mut self) -> Result<Template, Failure> {
        let mut template = Template::default();
        let words = self.rest(|parser, name| {
            match name {
                "bundle" | "b" => template.bundle = Some(path(parser)?),
                "rootless" => template.rootless = words::flag(parser)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        words.none()?;
        Ok(template)
    }
}

fn option_of_create(create: &mut Create, parser: &mut Parser, name: &str) -> Result<bool, Failure> {
    match name {
        "bundle" | "b" => create.bundle = Some(path(parser)?),
        "config" | "f" => create.config = Some(path(parser)?),
        "console-socket" => create.console_socket = Some(path(parser)?).filter(|p| !is_empty(p)),
        "pid-file" => create.pid_file = Some(path(parser)?).filter(|p| !is_empty(p)),
        "no-pivot" => create.no_pivot = words::flag(parser)?,
        "no-new-keyring" => create.no_new_keyring = words::flag(parser)?,
        "preserve-fds" => create.preserve_fds = number(parser, name)?,
        "detach" | "d" => create.detach = words::flag(parser)?,
        "keep" => create.keep = words::flag(parser)?,
        "no-subreaper" => drop(words::flag(parser)?),
        "pidfd-socket" => drop(path(parser)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn option_of_exec(exec: &mut Exec, parser: &mut Parser, name: &str) -> Result<bool, Failure> {
    match name {
        "process" | "p" => exec.process = Some(path(parser)?),
        "tty" | "t" => exec.tty = words::flag(parser)?,
        "user" | "u" => exec.user = Some(text(parser)?),
        "cwd" => exec.cwd = Some(text(parser)?),
        "env" | "e" => exec.env.push(text(parser)?),
        "cap" | "c" => exec.capabilities.push(text(parser)?),
        "apparmor" => exec.apparmor = Some(text(parser)?),
        "process-label" => exec.process_label = Some(text(parser)?),
        "no-new-privs" => exec.no_new_privileges = Some(words::flag(parser)?),
        "additional-gids" | "g" => exec.additional_gids.push(number(parser, name)?),
        "cgroup" => exec.cgroup = Some(text(parser)?),
        "detach" | "d" => exec.detach = words::flag(parser)?,
        "pid-file" => exec.pid_file = Some(path(parser)?).filter(|p| !is_empty(p)),
        "console-socket" => exec.console_socket = Some(path(parser)?).filter(|p| !is_empty(p)),
        "preserve-fds" => exec.preserve_fds = number(parser, name)?,
        "ignore-paused" => exec.ignore_paused = words::flag(parser)?,
        "no-subreaper" => drop(words::flag(parser)?),
        "pidfd-socket" => drop(path(parser)?),
        _ => return Ok(false),
    }
    Ok(true)
}

impl Listing {
    /// Takes `--format json` out of words that follow the id.
    fn take_format(&mut self, rest: &mut Vec<String>) -> Result<(), Failure> {
        let (taken, value) = match rest.first().map(String::as_str) {
            Some("--format" | "-f") => (2, rest.get(1).cloned()),
            Some(word) => match word.strip_prefix("--format=") {
                Some(value) => (1, Some(value.to_owned())),
                None => return Ok(()),
            },
            None => return Ok(()),
        };
        let value = value.ok_or_else(|| Failure::usage("--format needs a value"))?;
        self.json = is_json(&value)?;
        rest.drain(..taken);
        Ok(())
    }
}

/// Words that are no options.
struct Positional(Vec<String>);

impl Positional {
    fn none(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(Failure::usage(format!("unexpected argument {word:?}"))),
        }
    }

    fn one(self) -> Result<String, Failure> {
        match self.one_or_two()? {
            (id, None) => Ok(id),
            (_, Some(word)) => Err(Failure::usage(format!("unexpected argument {word:?}"))),
        }
    }

    fn one_or_two(self) -> Result<(String, Option<String>), Failure> {
        let mut words = self.0.into_iter();
        let id = words.next().ok_or_else(|| Failure::usage("a container id is needed"))?;
        let second = words.next();
        Self(words.collect()).none()?;
        Ok((id, second))
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn format_of_list(parser: &mut Parser) -> Result<bool, Failure> {
    is_json(&text(parser)?)
}

fn is_json(format: &str) -> Result<bool, Failure> {
    match format {
        "json" => Ok(true),
        "table" | "" => Ok(false),
        other => Err(Failure::usage(format!("invalid format {other:?}"))),
    }
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("unknown option {name:?}"))
}

#[cfg(test)]
mod tests;
