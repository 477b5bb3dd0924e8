//! What the words of a mount's `options` mean (runtime-spec, config.md "Linux mount options"). One table,
//! so that a word is either here, or a parameter of the filesystem, or refused.

use crate::plan::{PlanError, Setting};

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub(crate) const RDONLY: u64 = 0x01;
pub(crate) const NOSUID: u64 = 0x02;
pub(crate) const NODEV: u64 = 0x04;
pub(crate) const NOEXEC: u64 = 0x08;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x0020_0000;

/// `MS_*` of mount(2), where mount_setattr(2) takes them as propagation.
pub(crate) const UNBINDABLE: u64 = 1 << 17;
pub(crate) const PRIVATE: u64 = 1 << 18;
pub(crate) const SLAVE: u64 = 1 << 19;
pub(crate) const SHARED: u64 = 1 << 20;

/// A mount's options, sorted by what they change.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `bind` or `rbind`.
    pub(crate) bind: bool,
    /// `remount`: the mount that is there changes.
    pub(crate) remount: bool,
    /// `rbind`.
    pub(crate) recursive: bool,
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) set_all: u64,
    pub(crate) clear_all: u64,
    pub(crate) propagation: u64,
    pub(crate) propagation_all: bool,
    /// `tmpcopyup`.
    pub(crate) copy_up: bool,
    /// `idmap`, or with true `ridmap`.
    pub(crate) id_map: Option<bool>,
    /// What follows its `=`: ranges of its own.
    pub(crate) id_ranges: Option<String>,
    /// Words that are the filesystem's own.
    pub(crate) settings: Vec<Setting>,
}

/// Attribute words: name, bits set, bits cleared. With `r` in front they are for the whole tree.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", NOSUID, 0),
    ("suid", 0, NOSUID),
    ("nodev", NODEV, 0),
    ("dev", 0, NODEV),
    ("noexec", NOEXEC, 0),
    ("exec", 0, NOEXEC),
    ("noatime", NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", 0, ATIME),
    ("strictatime", STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
    ("symfollow", 0, NOSYMFOLLOW),
];

const PROPAGATIONS: [(&str, u64); 4] =
    [("private", PRIVATE), ("slave", SLAVE), ("shared", SHARED), ("unbindable", UNBINDABLE)];

/// A word that is valid and would change something that is not there yet.
const UNSUPPORTED: &str = "copy";

/// Words about a whole filesystem that mean nothing for a bind mount, where mount(2) ignores them too.
const WHOLE: [&str; 7] = ["sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"];

/// Sorts the words of the mount whose field is called `field`.
pub(crate) fn parse(field: &str, words: &[String]) -> Result<Options, PlanError> {
    let mut options = Options::default();
    for word in words {
        if word == UNSUPPORTED {
            return Err(PlanError::unsupported(format!("{field}.options {word:?}")));
        }
        if word.is_empty() || word.contains('\0') {
            return Err(PlanError::invalid(format!("{field}.options"), word));
        }
        options.add(word);
    }
    Ok(options)
}

impl Options {
    fn add(&mut self, word: &str) {
        match word {
            "defaults" | "loud" | "silent" | "iversion" | "noiversion" => return,
            "tmpcopyup" => return self.copy_up = true,
            "idmap" => return self.id_map = Some(false),
            "ridmap" => return self.id_map = Some(true),
            "bind" => return self.bind = true,
            "remount" => return self.remount = true,
            "rbind" => {
                self.bind = true;
                self.recursive = true;
                return;
            }
            _ => {}
        }
        if let Some(ranges) = word.strip_prefix("idmap=").or_else(|| word.strip_prefix("ridmap=")) {
            self.id_map = Some(word.starts_with('r'));
            self.id_ranges = Some(ranges.to_owned());
            return;
        }
        if let Some((bits, all)) = propagation(word) {
            self.propagation = bits;
            self.propagation_all = all;
        } else if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(name, ..)| *name == word) {
            change(&mut self.set, &mut self.clear, *set, *clear);
        } else if let Some((_, set, clear)) =
            word.strip_prefix('r').and_then(|rest| ATTRIBUTES.iter().find(|(name, ..)| *name == rest))
        {
            change(&mut self.set_all, &mut self.clear_all, *set, *clear);
        } else {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (word, None),
            };
            self.settings.push(Setting { key: key.to_owned(), value });
        }
    }
}

/// Whether a word is about a whole filesystem.
pub(crate) fn is_about_whole(word: &str) -> bool {
    WHOLE.contains(&word)
}

/// `private`, `rprivate` and so on: the bits, and whether the whole tree is meant.
pub(crate) fn propagation(word: &str) -> Option<(u64, bool)> {
    let find = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, bits)| *bits);
    find(word).map(|bits| (bits, false)).or_else(|| find(word.strip_prefix('r')?).map(|bits| (bits, true)))
}

/// The last word wins, as in mount(8). The kernel wants the whole access-time field cleared whenever a value
/// of it is set.
fn change(set: &mut u64, clear: &mut u64, on: u64, off: u64) {
    *set = (*set & !off) | on;
    *clear = ((*clear & !on) | off) & (!*set | ATIME);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_of_two_opposite_words_wins() {
        let options = parse("m", &words("ro rw nosuid")).expect("valid");
        assert_eq!((options.set, options.clear), (NOSUID, RDONLY));
        let options = parse("m", &words("rw ro")).expect("valid");
        assert_eq!((options.set, options.clear), (RDONLY, 0));
    }

    #[test]
    fn an_access_time_is_set_with_its_whole_field_cleared() {
        let options = parse("m", &words("noatime strictatime")).expect("valid");
        assert_eq!(options.set, STRICTATIME);
        assert_eq!(options.clear & ATIME, ATIME);
    }

    #[test]
    fn words_with_r_are_for_the_whole_tree() {
        let options = parse("m", &words("rbind rro rnosuid rslave")).expect("valid");
        assert!(options.bind && options.recursive && options.propagation_all);
        assert_eq!((options.set_all, options.propagation), (RDONLY | NOSUID, SLAVE));
        let options = parse("m", &words("rw relatime")).expect("valid");
        assert_eq!(options.set_all, 0, "rw and relatime are words of their own");
    }

    #[test]
    fn other_words_are_the_filesystems_own() {
        let options = parse("m", &words("mode=755 size=64k newinstance")).expect("valid");
        let shown: Vec<_> = options.settings.iter().map(|s| (s.key.as_str(), s.value.as_deref())).collect();
        assert_eq!(shown, [("mode", Some("755")), ("size", Some("64k")), ("newinstance", None)]);
    }

    #[test]
    fn words_that_would_be_ignored_are_refused() {
        assert!(matches!(parse("m", &words("copy")), Err(PlanError::Unsupported { .. })));
        assert!(parse("m", &[String::new()]).is_err());
    }
}
