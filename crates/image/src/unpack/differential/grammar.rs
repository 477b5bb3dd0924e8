//! Which archives could readers disagree on? Those whose headers say a thing twice, out of order, in an odd encoding or not at
//! all. Every archive is a function of its seed.

/// A source of choices: splitmix64 (Steele, Lea, Flood 2014), which is short and good enough.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn pick<'list, T: ?Sized>(&mut self, list: &[&'list T]) -> &'list T {
        list[self.below(list.len())]
    }
}

const NAMES: [&str; 12] =
    ["a", "b", "a/b", "a/b/c", "./a", "/b", "a//b", "d/", "caf\u{e9}", "with space", "x\\y", "."];
const SIZES: [&str; 12] = ["0", "1", "5", "511", "512", "513", "1024", "05", "+5", " 5", "-1", "8589934592"];

/// The archive of a seed.
pub(super) fn archive(seed: u64) -> Vec<u8> {
    let dice = &mut Dice(seed);
    let mut bytes = Vec::new();
    // Most archives have one or two oddities, so that many are still taken.
    let oddity = 2 + dice.below(20);
    for _ in 0..=dice.below(4) {
        if dice.one_in(3) {
            extension(dice, &mut bytes, oddity);
        }
        if dice.one_in(3 * oddity) {
            extension(dice, &mut bytes, oddity);
        }
        entry(dice, &mut bytes, oddity);
        if dice.one_in(8 * oddity) {
            bytes.extend_from_slice(&[0; 512]);
        }
    }
    match dice.below(oddity + 4) {
        0 => {}
        1 => bytes.extend_from_slice(&[0; 512]),
        2 => bytes.extend_from_slice(&[0; 10240]),
        3 if dice.one_in(2) => {
            bytes.extend_from_slice(&[0; 1024]);
            bytes.extend(header(b"hidden", b'0', "00000000000"));
        }
        _ => bytes.extend_from_slice(&[0; 1024]),
    }
    if dice.one_in(6 * oddity) {
        bytes.truncate(dice.below(bytes.len() + 1));
    }
    if dice.one_in(10 * oddity) && !bytes.is_empty() {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }
    bytes
}

/// A PAX or GNU header for the entry that follows.
fn extension(dice: &mut Dice, bytes: &mut Vec<u8>, oddity: usize) {
    let kind = if dice.one_in(oddity) {
        dice.pick(&[b"g".as_slice(), b"X", b"N", b"V"])[0]
    } else {
        b"xLK"[dice.below(3)]
    };
    let body = match kind {
        b'L' | b'K' => {
            let mut name = long_name(dice).into_bytes();
            name.push(0);
            if dice.one_in(oddity) {
                name.extend_from_slice(b"more\0");
            }
            if dice.one_in(oddity) {
                name.pop();
            }
            name
        }
        _ => (0..=dice.below(3)).flat_map(|_| record(dice, oddity)).collect(),
    };
    bytes.extend(header(b"././@Ext", kind, &format!("{:011o}", body.len())));
    put(bytes, &body);
}

fn long_name(dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => "long/".repeat(1 + dice.below(40)) + "name",
        1 => dice.pick(&NAMES).to_owned(),
        _ => "n".repeat(90 + dice.below(30)),
    }
}

/// One PAX record, perhaps with a wrong length.
fn record(dice: &mut Dice, oddity: usize) -> Vec<u8> {
    let key = dice.pick(&[
        "path",
        "path",
        "linkpath",
        "size",
        "size",
        "uid",
        "gid",
        "mtime",
        "comment",
        "atime",
        "charset",
        "hdrcharset",
        "SCHILY.xattr.user.x",
        "LIBARCHIVE.xattr.user.x",
        "GNU.sparse.major",
        "GNU.sparse.name",
        "GNU.sparse.realsize",
        "SCHILY.realsize",
        "SCHILY.devmajor",
        "RHT.security.selinux",
        "SCHILY.filetype",
        "GNU.volume.label",
        "",
    ]);
    let value = match key {
        "path" | "linkpath" | "GNU.sparse.name" if dice.one_in(oddity) => "",
        "path" | "linkpath" | "GNU.sparse.name" => dice.pick(&NAMES),
        "size" | "uid" | "gid" | "SCHILY.realsize" | "GNU.sparse.realsize" => dice.pick(&SIZES),
        "mtime" => dice.pick(&["1", "1.5", "-1.5", "x"]),
        "hdrcharset" => dice.pick(&["BINARY", "ISO-IR 10646 2000 UTF-8"]),
        _ => dice.pick(&["1", "5", "x\n10 path=y", "a=b"]),
    };
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length.to_string().len() + rest.len() != length {
        length += 1;
    }
    if dice.one_in(4 * oddity) {
        length = length + dice.below(3) - 1;
    }
    let zeros = if dice.one_in(4 * oddity) { "0" } else { "" };
    format!("{zeros}{length}{rest}").into_bytes()
}

/// An entry with its data.
fn entry(dice: &mut Dice, bytes: &mut Vec<u8>, oddity: usize) {
    let kind = if dice.one_in(2 * oddity) {
        dice.pick(&[b"7".as_slice(), b"S", b"D", b"M", b"Z", b"\0", b"A"])[0]
    } else {
        b"0001255634"[dice.below(10)]
    };
    let length = if matches!(kind, b'0' | b'7' | 0) || dice.one_in(4 * oddity) {
        [0, 1, 5, 511, 512, 513, 1024][dice.below(7)]
    } else {
        0
    };
    let size = match dice.below(4 * oddity) {
        0 => format!("{length:o} "),
        1 => format!("{length:>11o}"),
        2 => format!("{length:o}\09"),
        3 => format!("{length:011o}7"),
        4 => format!("{length:o}x"),
        5 => String::new(),
        6 => "\u{1}base256".into(),
        7 => format!("{:011o}", length + 512),
        _ => format!("{length:011o}"),
    };
    let mut block = header(dice.pick(&NAMES).as_bytes(), kind, &size);
    if size.starts_with('\u{1}') {
        // The size in base 256, as GNU tar writes large ones.
        block[124..136].fill(0);
        block[124] = 0x80;
        block[128..136].copy_from_slice(&(length as u64).to_be_bytes());
    }
    if matches!(kind, b'1' | b'2') || dice.one_in(4 * oddity) {
        let target = dice.pick(&NAMES);
        block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    }
    odd_header(dice, &mut block, oddity);
    checksum(&mut block);
    bytes.extend(block);
    let data = if length >= 512 && dice.one_in(2) {
        header(b"smuggled", b'0', "00000000000").to_vec()
    } else {
        vec![b'd'; length]
    };
    put(bytes, &data[..data.len().min(length)]);
    if data.len() < length {
        let padded = data.len().next_multiple_of(512);
        bytes.resize(bytes.len() + length.next_multiple_of(512) - padded, b'd');
    }
}

/// Fields that the format variants disagree on.
fn odd_header(dice: &mut Dice, block: &mut [u8; 512], oddity: usize) {
    match dice.below(6 * oddity) {
        // The old format without magic, GNU's with its own, and a magic of nobody's.
        0 => block[257..265].fill(0),
        1 => block[257..265].copy_from_slice(b"ustar  \0"),
        2 => block[257..265].copy_from_slice(b"tar\0\0\0\0\0"),
        // The prefix, which GNU's magic makes into times.
        3 => block[345..348].copy_from_slice(b"pre"),
        4 => {
            block[257..265].copy_from_slice(b"ustar  \0");
            block[345..348].copy_from_slice(b"123");
        }
        5 => block[..100].fill(b'n'),
        6 => block[0] = 0,
        7 => block[..8].copy_from_slice(b"nu\0l\0\0\0\0"),
        8 => block[108..116].copy_from_slice(b"0001750\0"),
        9 => block[108..116].copy_from_slice(b"\x80\0\0\0\0\0\x03\xe8"),
        10 => block[108..116].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xfe"),
        11 => block[100..108].fill(b' '),
        12 => block[136..148].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0"),
        // The modern star's mark, and a prefix that only it reads otherwise.
        13 => block[508..512].copy_from_slice(b"tar\0"),
        14 => block[476..480].copy_from_slice(b"star"),
        15 => {
            block[257..265].copy_from_slice(b"ustar  \0");
            // GNU's mark of a sparse file's further headers.
            block[482] = 1;
        }
        _ => {}
    }
}

/// A header block in ustar form.
fn header(name: &[u8], kind: u8, size: &str) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..124 + size.len().min(12)].copy_from_slice(&size.as_bytes()[..size.len().min(12)]);
    block[136..148].copy_from_slice(b"00000000001\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000001\0");
    block[337..345].copy_from_slice(b"0000003\0");
    checksum(&mut block);
    block
}

fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Data and its padding.
fn put(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}
