//! Which signal does a text mean? Names of signal(7) with or without `SIG`, real-time signals relative to
//! either end, and numbers. Sending it is somebody else's work.

use super::SpecError;

/// Names by number on x86 and arm; 16 (`STKFLT`) included.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// First and last real-time signal as programs see them (glibc and musl keep 32 and 33 for threads).
const REAL_TIME: (u8, u8) = (34, 64);

/// A signal by number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// The number, as kill(2) takes it.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }

    /// Parses `SIGTERM`, `term`, `RTMIN+3`, `RTMAX-1` or a number.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        lookup(text)
            .map(Self)
            .ok_or_else(|| SpecError::UnknownSignal { text: text.chars().take(64).collect() })
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 < REAL_TIME.0 => write!(f, "{}", self.0),
            None => write!(f, "SIGRTMIN+{}", self.0 - REAL_TIME.0),
        }
    }
}

/// The signal that asks a container to end: the request's, else the image's, else SIGTERM.
pub fn stop_signal(
    options: &gantry_types::ContainerOptions,
    image: &gantry_types::ImageConfig,
) -> Result<Signal, SpecError> {
    match options.stop_signal.as_deref() {
        Some(text) => Signal::parse(text),
        None if image.stop_signal.is_empty() => Ok(Signal::TERM),
        None => Signal::parse(&image.stop_signal),
    }
}

fn lookup(text: &str) -> Option<u8> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=REAL_TIME.1).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let span = REAL_TIME.1 - REAL_TIME.0;
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').filter(|n| *n <= span).map(|n| REAL_TIME.0 + n);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-').filter(|n| *n <= span).map(|n| REAL_TIME.1 - n);
    }
    let name = match name {
        "POLL" => "IO",
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        other => other,
    };
    let position = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(position + 1).ok()
}

fn offset(text: &str, sign: char) -> Option<u8> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals_parse() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGSYS", 31),
            ("POLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("sigrtmax", 64),
            ("64", 64),
            ("WINCH", 28),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "0",
            "65",
            "-9",
            "+9",
            "SIGNOPE",
            "RTMIN-1",
            "RTMIN+31",
            "RTMIN+",
            "RTMAX+1",
            "15 ",
            "SIGSIGTERM",
        ] {
            assert!(Signal::parse(text).is_err(), "{text:?}");
        }
    }
}
