//! What does each reader of tar make of an archive? The same few facts of every entry, in one form.

use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::unpack::{Kind, TarReader, UnpackLimits};

/// A reader that is not ours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reader {
    GnuTar,
    Python,
    TarCrate,
}

/// One entry, as far as every reader tells of it.
#[derive(Debug)]
pub(super) struct Seen {
    /// `f`ile, `d`irectory, `s`ymbolic link, `h`ard link, `c`haracter or `b`lock device, `p`ipe.
    kind: char,
    /// Without `./`, leading and trailing slashes.
    path: String,
    size: u64,
    /// The target of a link.
    link: String,
    /// Owner and group.
    owner: (u64, u64),
    /// A regular file's data, hashed; `None` where the reader was only asked for a list.
    data: Option<u64>,
}

impl Seen {
    /// Whether another reader sees the same entry.
    pub(super) fn is(&self, theirs: &Self) -> bool {
        let told = |seen: &Self| (seen.kind, seen.path.clone(), seen.size, seen.link.clone(), seen.owner);
        told(self) == told(theirs) && (theirs.data.is_none() || self.data == theirs.data)
    }
}

fn hashed(data: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}

const LIMITS: UnpackLimits = UnpackLimits { bytes_max: 1 << 20, entries_max: 100 };

/// The entries as we see them; `None` when the archive is refused.
pub(super) fn ours(bytes: &[u8]) -> Option<Vec<Seen>> {
    let mut reader = TarReader::new(bytes, LIMITS);
    let mut seen = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (kind, size, link) = match &entry.kind {
            Kind::File { size } => ('f', *size, String::new()),
            Kind::Folder => ('d', 0, String::new()),
            Kind::Symlink { target } => ('s', 0, text(target)),
            Kind::Hardlink { target } => ('h', 0, text(target)),
            Kind::CharDevice { .. } => ('c', 0, String::new()),
            Kind::BlockDevice { .. } => ('b', 0, String::new()),
            Kind::Fifo => ('p', 0, String::new()),
        };
        let mut data = Vec::new();
        reader
            .data(|piece| {
                data.extend_from_slice(piece);
                Ok::<(), crate::unpack::UnpackError>(())
            })
            .ok()?;
        let owner = (u64::from(entry.uid), u64::from(entry.gid));
        seen.push(Seen {
            kind,
            path: text(&entry.path),
            size,
            link,
            owner,
            data: (kind == 'f').then(|| hashed(&data)),
        });
    }
    reader.finish().ok()?;
    Some(seen)
}

/// What a reader makes of the files named after these seeds in `folder`; an error is a refusal.
pub(super) fn read_all(
    reader: Reader,
    folder: &Path,
    seeds: impl Iterator<Item = u64>,
) -> Vec<(u64, Result<Vec<Seen>, String>)> {
    let seeds: Vec<u64> = seeds.collect();
    match reader {
        Reader::TarCrate => seeds
            .into_iter()
            .map(|seed| {
                (seed, tar_crate(&std::fs::read(folder.join(seed.to_string())).expect("written before")))
            })
            .collect(),
        Reader::Python => python(folder, &seeds),
        Reader::GnuTar => {
            seeds.into_iter().map(|seed| (seed, gnu_tar(&folder.join(seed.to_string())))).collect()
        }
    }
}

/// Our form of a path: readers differ in what they strip, not in what they mean.
fn plain(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

fn seen(kind: char, path: &str, size: u64, link: &str, owner: (u64, u64), data: Option<u64>) -> Seen {
    // A file whose name ends in a slash is a folder to all.
    let kind = if kind == 'f' && path.ends_with('/') { 'd' } else { kind };
    let link = match kind {
        's' => link.to_owned(),
        'h' => plain(link),
        _ => String::new(),
    };
    let size = if kind == 'f' { size } else { 0 };
    Seen { kind, path: plain(path), size, link, owner, data: data.filter(|_| kind == 'f') }
}

fn tar_crate(bytes: &[u8]) -> Result<Vec<Seen>, String> {
    let mut archive = tar::Archive::new(bytes);
    let mut list = Vec::new();
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let kind = entry.header().entry_type();
        let kind = match kind {
            kind if kind.is_dir() => 'd',
            kind if kind.is_symlink() => 's',
            kind if kind.is_hard_link() => 'h',
            kind if kind.is_character_special() => 'c',
            kind if kind.is_block_special() => 'b',
            kind if kind.is_fifo() => 'p',
            kind if kind.is_pax_global_extensions() => continue,
            kind if kind.is_file() || kind.is_contiguous() || kind.as_byte() == 0 => 'f',
            other => return Err(format!("{other:?}")),
        };
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry
            .link_name_bytes()
            .map(|link| String::from_utf8_lossy(&link).into_owned())
            .unwrap_or_default();
        let owner = |field: std::io::Result<u64>| field.map_err(|error| error.to_string());
        let owner = (owner(entry.header().uid())?, owner(entry.header().gid())?);
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(|error| error.to_string())?;
        list.push(seen(kind, &path, entry.size(), &link, owner, Some(hashed(&data))));
    }
    Ok(list)
}

/// `tar --list --verbose`, whose form is the same in every locale with these flags.
fn gnu_tar(file: &Path) -> Result<Vec<Seen>, String> {
    #[expect(clippy::disallowed_methods, reason = "a test runs the other reader")]
    let mut command = Command::new("tar");
    command.args([
        "--list",
        "--verbose",
        "--verbose",
        "--numeric-owner",
        "--absolute-names",
        "--quoting-style=c",
        "--file",
    ]);
    let output =
        command.arg(file).env("LC_ALL", "C").stdin(Stdio::null()).output().expect("GNU tar is installed");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| !line.is_empty()).map(gnu_line).collect()
}

/// `-rw-r--r-- 0/0   5 1970-01-01 00:00 "name" -> "target"`
fn gnu_line(line: &str) -> Result<Seen, String> {
    let odd = || format!("a line of another form: {line:?}");
    let (facts, names) = line.split_once('"').ok_or_else(odd)?;
    let mut facts = facts.split_whitespace();
    let mode = facts.next().ok_or_else(odd)?;
    let (uid, gid) = facts.next().and_then(|owner| owner.split_once('/')).ok_or_else(odd)?;
    let size = facts.next().ok_or_else(odd)?;
    let (name, rest) = unquoted(names).ok_or_else(odd)?;
    let kind = match mode.chars().next().ok_or_else(odd)? {
        '-' | 'C' => 'f',
        'l' => 's',
        kind @ ('d' | 'h' | 'c' | 'b' | 'p') => kind,
        _ => return Err(odd()),
    };
    let target = rest.split_once('"').and_then(|(_, quoted)| unquoted(quoted)).map(|(target, _)| target);
    let number = |text: &str| text.parse().map_err(|_| odd());
    // Devices have their numbers in the place of a size.
    let size = if kind == 'f' { number(size)? } else { 0 };
    Ok(seen(kind, &name, size, &target.unwrap_or_default(), (number(uid)?, number(gid)?), None))
}

/// Undoes C's quoting up to the closing quote; what follows it is the second part.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter().enumerate();
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'"' => return Some((String::from_utf8_lossy(&bytes).into_owned(), &text[at + 1..])),
            b'\\' => match *rest.next()?.1 {
                b'n' => bytes.push(b'\n'),
                digit @ b'0'..=b'7' => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        value = value * 8 + u32::from(rest.next()?.1.checked_sub(b'0')?);
                    }
                    bytes.push(u8::try_from(value).ok()?);
                }
                other => bytes.push(other),
            },
            other => bytes.push(*other),
        }
    }
    None
}

/// Python's tarfile, one process for all archives; it prints a line of fields in hexadecimal for each entry.
const SCRIPT: &str = r#"
import sys, tarfile
KINDS = {tarfile.REGTYPE: "f", tarfile.AREGTYPE: "f", tarfile.CONTTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "s",
         tarfile.LNKTYPE: "h", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}
raw = lambda text: text.encode("utf-8", "surrogateescape").hex()
for seed in sys.argv[2:]:
    print("archive", seed)
    try:
        with tarfile.open(f"{sys.argv[1]}/{seed}", "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for entry in archive:
                data = archive.extractfile(entry).read().hex() if entry.isreg() else ""
                kind = KINDS[entry.type]
                print("entry", kind, raw(entry.name) or "-", entry.size, raw(entry.linkname) or "-", entry.uid, entry.gid, data or "-")
    except Exception as error:
        print("refused", type(error).__name__)
"#;

fn python(folder: &Path, seeds: &[u64]) -> Vec<(u64, Result<Vec<Seen>, String>)> {
    #[expect(clippy::disallowed_methods, reason = "a test runs the other reader")]
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(folder).args(seeds.iter().map(u64::to_string));
    let output = command.stdin(Stdio::null()).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: Vec<(u64, Result<Vec<Seen>, String>)> = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match (fields.as_slice(), found.last_mut()) {
            (["archive", seed], _) => found.push((seed.parse().expect("as it was given"), Ok(Vec::new()))),
            (["refused", why], Some((_, list))) => *list = Err((*why).to_owned()),
            (["entry", kind, path, size, link, uid, gid, data], Some((_, Ok(list)))) => {
                let text = |field: &str| String::from_utf8_lossy(&hex(field)).into_owned();
                let number = |field: &str| field.parse().unwrap_or(u64::MAX);
                let kind = kind.chars().next().expect("one letter");
                let owner = (number(uid), number(gid));
                list.push(seen(
                    kind,
                    &text(path),
                    number(size),
                    &text(link),
                    owner,
                    Some(hashed(&hex(data))),
                ));
            }
            (other, _) => panic!("python said {other:?}"),
        }
    }
    found
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair.first()?)? * 16 + digit(pair.get(1)?)?);
    text.as_bytes().chunks(2).filter_map(pair).collect()
}
