//! Reading tar headers (POSIX ustar and PAX, GNU long names). Written here, on the `tar` crate's header fields, because what
//! matters is what is *refused*: a second reader (docker's, GNU tar's, Python's) must never see other entries than
//! we do (CVE-2025-62518 and its kin), and no header may make us allocate without limit (CVE-2025-58183).
//!
//! ```text
//!   [x: PAX header] [L: long name] [K: long link] header  data padded to 512   …   two blocks of zeros, anything zero
//! ```
//!
//! Deliberately absent: sparse files (no tool that makes layers writes them) and multi-volume archives.

use std::io::BufRead;

use tar::Header;

use super::entry::{Entry, Kind, clean};
use super::error::shown;
use super::pax::Pax;
use super::{UnpackError, UnpackLimits, Unpacked};

const BLOCK: u64 = 512;
/// Bytes of one PAX header. Extended attributes of a file are at most 64 KiB each on Linux.
const PAX_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a GNU long name.
const LONG_NAME_BYTES_MAX: u64 = 4097;
/// What an octal size field of eleven digits can hold; larger files need PAX.
const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;

/// Reads one tar from its start to its end.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    source: R,
    limits: UnpackLimits,
    /// Bytes taken from the source.
    at: u64,
    /// Bytes of the current entry's data not yet taken.
    data_left: u64,
    /// Bytes of padding behind them.
    padding: u64,
    entries: u64,
}

/// What headers before the entry's own say of it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(source: R, limits: UnpackLimits) -> Self {
        Self { source, limits, at: 0, data_left: 0, padding: 0, entries: 0 }
    }

    /// The next entry, `None` at the end of the archive. Data of the one before that was not read is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_data()?;
            let begins_at = self.at;
            let Some(header) = self.header()? else {
                if extensions.any() {
                    return Err(UnpackError::Truncated);
                }
                return Ok(None);
            };
            let bad = |field| UnpackError::Header { at: begins_at, field };
            let size = header.entry_size().map_err(|_| bad("size"))?;
            let flag = header.as_bytes()[156];
            match flag {
                b'x' | b'g' => {
                    let pax = Pax::parse(&self.small(size, PAX_BYTES_MAX, begins_at)?, begins_at)?;
                    match flag {
                        b'x' => set_once(&mut extensions.pax, pax, begins_at)?,
                        _ if pax.decides() => return Err(bad("global extended header")),
                        _ => {}
                    }
                }
                b'L' | b'K' => {
                    let name = cut_at_nul(self.small(size, LONG_NAME_BYTES_MAX, begins_at)?, begins_at)?;
                    let slot =
                        if flag == b'L' { &mut extensions.long_name } else { &mut extensions.long_link };
                    set_once(slot, name, begins_at)?;
                }
                _ => return self.entry(&header, flag, size, extensions, begins_at).map(Some),
            }
        }
    }

    /// Hands the current entry's data to `sink`, in pieces.
    pub(crate) fn data<E: From<UnpackError>>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.data_left > 0 {
            let piece = self.source.fill_buf().map_err(|source| UnpackError::Read { source })?;
            if piece.is_empty() {
                return Err(UnpackError::Truncated.into());
            }
            let count = piece.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
            sink(&piece[..count])?;
            self.source.consume(count);
            self.at += count as u64;
            self.data_left -= count as u64;
        }
        Ok(())
    }

    /// Reads what follows the archive's end, which is padding.
    pub(crate) fn finish(mut self) -> Result<Unpacked, UnpackError> {
        loop {
            let piece = self.source.fill_buf().map_err(|source| UnpackError::Read { source })?;
            let count = piece.len();
            if count == 0 {
                return Ok(Unpacked { bytes: self.at, entries: self.entries });
            }
            // Entries hidden here would be seen by readers that go on after the end (tar --ignore-zeros).
            if piece.iter().any(|byte| *byte != 0) {
                return Err(UnpackError::Header { at: self.at, field: "bytes after the end of the archive" });
            }
            self.source.consume(count);
            self.at += count as u64;
            self.check_size(0)?;
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        flag: u8,
        mut size: u64,
        extensions: Extensions,
        at: u64,
    ) -> Result<Entry, UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            return Err(UnpackError::TooMany { entries_max: self.limits.entries_max });
        }
        let pax = extensions.pax.unwrap_or_default();
        let name = one_of(pax.path, extensions.long_name, "name")?
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = one_of(pax.link, extensions.long_link, "link")?
            .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        if let Some(longer) = pax.size {
            // A header says 0 when its field is too small for the size; otherwise the two must agree.
            if longer != size && !(size == 0 && longer > OCTAL_SIZE_MAX) {
                return Err(UnpackError::Disagreement { entry: shown(&name), field: "size" });
            }
            size = longer;
        }
        unambiguous(header, flag, &name)?;
        let kind = kind(header, flag, size, &name, link, at)?;
        if let Kind::File { size } = kind {
            self.begin_data(size)?;
        }
        let bad = |field| UnpackError::Header { at, field };
        let number = |own: Option<u64>, field: std::io::Result<u64>, name| {
            let value = own.or_else(|| field.ok()).ok_or_else(|| bad(name))?;
            u32::try_from(value).map_err(|_| bad(name))
        };
        // Negative times come as the two's complement in base 256; whatever does not fit is the epoch.
        let seconds = header.mtime().unwrap_or(0).cast_signed();
        Ok(Entry {
            path: clean(&name)?,
            kind,
            mode: header.mode().map_err(|_| bad("mode"))? & 0o7777,
            uid: number(pax.uid, header.uid(), "owner")?,
            gid: number(pax.gid, header.gid(), "group")?,
            mtime: pax.mtime.unwrap_or((seconds, 0)),
            xattrs: pax.xattrs,
        })
    }

    /// One header block, `None` at the end of the archive: two zero blocks, or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let at = self.at;
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return match self.block()? {
                Some(second) if second.iter().any(|byte| *byte != 0) => {
                    Err(UnpackError::Header { at, field: "entry after a block of zeros" })
                }
                Some(_) | None => Ok(None),
            };
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        // The checksum is the sum of all bytes with its own field read as spaces.
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(UnpackError::Header { at, field: "checksum" });
        }
        Ok(Some(header))
    }

    fn block(&mut self) -> Result<Option<[u8; 512]>, UnpackError> {
        let mut block = [0; 512];
        let mut filled = 0;
        while filled < block.len() {
            let count =
                self.source.read(&mut block[filled..]).map_err(|source| UnpackError::Read { source })?;
            if count == 0 {
                break;
            }
            filled += count;
        }
        self.at += filled as u64;
        self.check_size(0)?;
        match filled {
            0 => Ok(None),
            512 => Ok(Some(block)),
            _ => Err(UnpackError::Truncated),
        }
    }

    /// The data of an extension header, which is small or refused.
    fn small(&mut self, size: u64, bytes_max: u64, at: u64) -> Result<Vec<u8>, UnpackError> {
        if size > bytes_max {
            return Err(UnpackError::Header { at, field: "size of an extended header" });
        }
        self.begin_data(size)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.data(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<(), UnpackError>(())
        })?;
        Ok(bytes)
    }

    fn begin_data(&mut self, size: u64) -> Result<(), UnpackError> {
        self.check_size(size)?;
        self.data_left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), UnpackError> {
        self.data_left += std::mem::take(&mut self.padding);
        self.data(|_| Ok(()))
    }

    fn check_size(&self, more: u64) -> Result<(), UnpackError> {
        if self.at.saturating_add(more) > self.limits.bytes_max {
            return Err(UnpackError::TooLarge { bytes_max: self.limits.bytes_max });
        }
        Ok(())
    }
}

impl Extensions {
    fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

/// Refuses a header of which readers make different names: some take what follows a GNU or an old header's fields for the
/// first part of the name, as in ustar; and some look for a folder's slash in the header's own name only.
fn unambiguous(header: &Header, flag: u8, name: &[u8]) -> Result<(), UnpackError> {
    let block = header.as_bytes();
    let refused = |field| Err(UnpackError::Disagreement { entry: shown(name), field });
    if &block[257..263] != b"ustar\0" && block[345..500].iter().any(|byte| *byte != 0) {
        return refused("name");
    }
    // Only in the old format does a slash make a folder, and Python looks for it in the header's name. Elsewhere a header may
    // have its name cut off behind a slash, or without the letters beyond ASCII that followed it (Go's archive/tar).
    if flag == 0 && header.path_bytes().ends_with(b"/") != name.ends_with(b"/") {
        return refused("kind");
    }
    Ok(())
}

fn kind(
    header: &Header,
    flag: u8,
    size: u64,
    name: &[u8],
    link: Vec<u8>,
    at: u64,
) -> Result<Kind, UnpackError> {
    let device = || {
        let part = |field: std::io::Result<Option<u32>>| {
            field.ok().flatten().ok_or(UnpackError::Header { at, field: "device number" })
        };
        Ok::<_, UnpackError>((part(header.device_major())?, part(header.device_minor())?))
    };
    let is_file = matches!(flag, b'0' | b'7' | 0);
    // Some readers take such a header's size as data that follows, some as nothing.
    let is_named_folder = is_file && name.ends_with(b"/");
    if size > 0 && (!is_file || is_named_folder) && matches!(flag, b'0'..=b'7' | 0) {
        return Err(UnpackError::Disagreement { entry: shown(name), field: "size" });
    }
    match flag {
        b'0' | b'7' | 0 if is_named_folder => Ok(Kind::Folder),
        b'0' | b'7' | 0 => Ok(Kind::File { size }),
        b'1' => Ok(Kind::Hardlink { target: clean(&link)? }),
        b'2' if link.is_empty() || link.contains(&0) || link.len() > 4095 => Err(UnpackError::Name {
            entry: shown(name),
            rule: "its link is empty, too long or has a NUL byte",
        }),
        b'2' => Ok(Kind::Symlink { target: link }),
        b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor }),
        b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor }),
        b'5' => Ok(Kind::Folder),
        b'6' => Ok(Kind::Fifo),
        other => Err(UnpackError::Kind { entry: shown(name), kind: char::from(other) }),
    }
}

/// A property that PAX and GNU headers can both give: readers prefer one or the other.
fn one_of(
    pax: Option<Vec<u8>>,
    gnu: Option<Vec<u8>>,
    field: &'static str,
) -> Result<Option<Vec<u8>>, UnpackError> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(UnpackError::Disagreement { entry: shown(&pax), field }),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn set_once<T>(slot: &mut Option<T>, new: T, at: u64) -> Result<(), UnpackError> {
    if slot.is_some() {
        return Err(UnpackError::Header { at, field: "two extended headers of one kind for one entry" });
    }
    *slot = Some(new);
    Ok(())
}

/// A GNU long name without its terminator. What follows one is part of the name to some readers.
fn cut_at_nul(mut bytes: Vec<u8>, at: u64) -> Result<Vec<u8>, UnpackError> {
    if let Some(nul) = bytes.iter().position(|byte| *byte == 0) {
        if bytes[nul..].iter().any(|byte| *byte != 0) {
            return Err(UnpackError::Header { at, field: "bytes after a long name" });
        }
        bytes.truncate(nul);
    }
    Ok(bytes)
}
