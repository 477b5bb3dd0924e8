//! The export: every row in a text file that people can read and mend, and that proves itself whole.
//! It is what a new database is made from when the old one does not open, so the store keeps one by itself.
//!
//! ```text
//! {"gantry_export":1,"schema":3,"revision":712}
//! {"table":"containers","key":"default%00web%00","revision":698,"value":{…}}
//! …
//! {"rows":42,"sha256":"<hex of everything above this line>"}
//! ```

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use gantry_types::{Class, Classified};

use crate::backend::{BackendError, Record};
use crate::folder::{EXPORT, sync_path};
use crate::key::{from_readable, readable};
use crate::rows::Rows;
use crate::schema::Schema;
use crate::table::Revision;

const FORMAT: u32 = 1;
/// Longer lines are not read: a row's limit, escaped.
const LINE_BYTES_MAX: u64 = 2 * crate::transaction::VALUE_BYTES_MAX as u64;

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The schema's version.
    pub schema: u32,
    /// The store's revision at the time.
    pub revision: Revision,
    /// The number of rows.
    pub rows: u64,
}

/// Why an export cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be written or read.
    #[error("cannot {operation} {path:?}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A line is not of this format.
    #[error("line {line} of {path:?} is not a line of an export")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it; `None` when its key is wrong or it is too long.
        source: Option<serde_json::Error>,
    },
    /// A format that this version does not know.
    #[error("{path:?} is an export of format {found}, and this version of Gantry reads {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// The last line is missing: the file was cut off.
    #[error("{path:?} is cut off after {rows} rows")]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Rows before the cut.
        rows: u64,
    },
    /// The file was changed after it was written.
    #[error("{path:?} does not match its checksum")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What the checksum should be for the file as it is.
        found: String,
    },
    /// A row does not turn into JSON.
    #[error("a row of table {table:?} cannot be written")]
    Row {
        /// The table.
        table: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A folder or a file could not be synced.
    #[error("the export's files cannot be used")]
    Files {
        /// Which, and why.
        #[from]
        source: BackendError,
    },
}

impl Classified for ExportError {
    fn class(&self) -> Class {
        match self {
            Self::Io { .. } | Self::Files { .. } => Class::Unavailable,
            Self::Line { .. } | Self::CutOff { .. } | Self::Checksum { .. } => Class::DataLoss,
            Self::Format { .. } => Class::FailedPrecondition,
            Self::Row { .. } => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Files { .. } => "EXPORT_FILE_UNUSABLE",
            Self::Line { .. } => "EXPORT_LINE_INVALID",
            Self::CutOff { .. } => "EXPORT_CUT_OFF",
            Self::Checksum { .. } => "EXPORT_CHECKSUM_MISMATCH",
            Self::Format { .. } => "EXPORT_FORMAT_UNKNOWN",
            Self::Row { .. } => "EXPORT_ROW_UNWRITABLE",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Checksum { found, .. } => {
                Some(format!("if you changed it on purpose, put {found} into the last line's sha256"))
            }
            Self::Io { .. }
            | Self::Line { .. }
            | Self::Format { .. }
            | Self::CutOff { .. }
            | Self::Row { .. }
            | Self::Files { .. } => None,
        }
    }
}

/// Reads an export through and checks it.
pub fn verify(path: &Path) -> Result<Summary, ExportError> {
    read(path, |_| {})
}

/// The revision of the export kept in a store's folder, if there is one. The database was durable at that
/// revision before the export was put in place, so a database that is behind has lost its end.
pub(crate) fn kept_revision(folder: &Path) -> Option<Revision> {
    let file = File::open(folder.join(EXPORT)).ok()?;
    let mut lines = Lines { path: folder, input: BufReader::new(file), number: 0, buffer: Vec::new() };
    lines.advance().ok()?;
    Some(serde_json::from_slice::<Header>(&lines.buffer).ok()?.revision)
}

#[derive(Serialize, Deserialize)]
struct Header {
    gantry_export: u32,
    schema: u32,
    revision: Revision,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    table: &'a str,
    key: String,
    revision: u64,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    rows: u64,
    sha256: String,
}

/// Keeps the export in a store's folder. The rows must be durable.
pub(crate) fn keep(folder: &Path, rows: &Rows, schema: &Schema) -> Result<Summary, ExportError> {
    let path = folder.join(EXPORT);
    let mut out = Writer::create(&path, schema.version, rows.revision)?;
    for (table, sorted) in &rows.tables {
        let encode = schema.tables.get(table).expect("rows are of the schema's tables").encode;
        for (key, entry) in sorted {
            let json = encode(&entry.value).map_err(|source| ExportError::Row { table, source })?;
            out.row(table, key, entry.revision.0, &json)?;
        }
    }
    out.finish()
}

/// Writes an export beside its path, and puts it there when it is whole and on disk.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    sum: Sha256,
    summary: Summary,
}

impl Writer {
    pub(crate) fn create(path: &Path, schema: u32, revision: Revision) -> Result<Self, ExportError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).map_err(io("make", &temporary))?;
        let summary = Summary { schema, revision, rows: 0 };
        let mut out =
            Self { path: path.to_owned(), temporary, out: BufWriter::new(file), sum: Sha256::new(), summary };
        out.line(&Header { gantry_export: FORMAT, schema, revision })?;
        Ok(out)
    }

    pub(crate) fn row(
        &mut self,
        table: &str,
        key: &[u8],
        revision: u64,
        json: &[u8],
    ) -> Result<(), ExportError> {
        let line = self.summary.rows + 2;
        let invalid = |source| ExportError::Line { path: self.path.clone(), line, source: Some(source) };
        let value: &RawValue = serde_json::from_slice(json).map_err(invalid)?;
        self.line(&Line { table, key: readable(key), revision, value })?;
        self.summary.rows += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Summary, ExportError> {
        let sha256 = hex(&self.sum.finalize_reset());
        self.line(&Trailer { rows: self.summary.rows, sha256 })?;
        let Self { path, temporary, out, summary, .. } = self;
        let file = out.into_inner().map_err(|reason| io("write", &temporary)(reason.into_error()))?;
        file.sync_all().map_err(io("sync", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            sync_path(folder)?;
        }
        Ok(summary)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), ExportError> {
        let mut json = serde_json::to_vec(line).expect("text, numbers and JSON turn into JSON");
        json.push(b'\n');
        self.sum.update(&json);
        self.out.write_all(&json).map_err(io("write", &self.temporary))
    }
}

/// Reads an export, giving every row to `take`. What was taken counts only when this returns well.
pub(crate) fn read(path: &Path, mut take: impl FnMut(Record)) -> Result<Summary, ExportError> {
    let file = File::open(path).map_err(io("open", path))?;
    let mut lines = Lines { path, input: BufReader::new(file), number: 0, buffer: Vec::new() };
    let mut sum = Sha256::new();
    let mut summary: Option<Summary> = None;
    while lines.advance()? {
        let text = lines.buffer.as_slice();
        let Some(known) = &mut summary else {
            let header: Header =
                serde_json::from_slice(text).map_err(|source| lines.invalid(Some(source)))?;
            if header.gantry_export != FORMAT {
                return Err(ExportError::Format { path: path.to_owned(), found: header.gantry_export });
            }
            summary = Some(Summary { schema: header.schema, revision: header.revision, rows: 0 });
            sum.update(text);
            continue;
        };
        if let Ok(trailer) = serde_json::from_slice::<Trailer>(text) {
            let found = hex(&sum.finalize());
            let same = found == trailer.sha256 && known.rows == trailer.rows;
            return if same {
                Ok(*known)
            } else {
                Err(ExportError::Checksum { path: path.to_owned(), found })
            };
        }
        let line: Line<'_> = serde_json::from_slice(text).map_err(|source| lines.invalid(Some(source)))?;
        let key = from_readable(&line.key).ok_or_else(|| lines.invalid(None))?;
        let value = line.value.get().as_bytes().to_vec();
        take(Record { table: line.table.to_owned(), key, revision: line.revision, value });
        known.rows += 1;
        sum.update(text);
    }
    Err(ExportError::CutOff { path: path.to_owned(), rows: summary.map_or(0, |summary| summary.rows) })
}

struct Lines<'a> {
    path: &'a Path,
    input: BufReader<File>,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines<'_> {
    /// Reads the next line into the buffer, with its end. False at the end of the file.
    fn advance(&mut self) -> Result<bool, ExportError> {
        use std::io::Read as _;

        self.number += 1;
        self.buffer.clear();
        let mut limited = self.input.by_ref().take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut self.buffer).map_err(io("read", self.path))?;
        Ok(self.buffer.last() == Some(&b'\n'))
    }

    fn invalid(&self, source: Option<serde_json::Error>) -> ExportError {
        ExportError::Line { path: self.path.to_owned(), line: self.number, source }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String succeeds");
        text
    })
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Io { operation, path, source }
}
