//! Undoing a layer's compression, in this process (no external decompressor is ever run, CVE-2014-9357). The bytes
//! themselves say how they are compressed, because media types are wrong often enough; the diff id decides what is right.

use std::io::{self, BufRead, Chain, Cursor, Read};

/// Bytes of window that a zstd stream may ask for, as a power of two: what `zstd -d` takes by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A reader of the uncompressed bytes: gzip with any number of members, zstd with any number of frames, or as it is.
pub fn decoder<'source>(
    mut source: impl BufRead + Send + 'source,
) -> io::Result<Box<dyn Read + Send + 'source>> {
    let mut magic = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut magic)?;
    let kind = (magic.starts_with(&GZIP_MAGIC), magic == ZSTD_MAGIC);
    let whole: Chain<Cursor<Vec<u8>>, _> = Cursor::new(magic).chain(source);
    Ok(match kind {
        (true, _) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        (_, true) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        (false, false) => Box::new(whole),
    })
}
