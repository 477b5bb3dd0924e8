//! Which bytes come next? A sample, changed a few times over: bits, numbers at the edges of their range, words that the
//! format knows, pieces left out, doubled or taken from another sample. Every input is a function of the seed and its number.

use std::hash::{DefaultHasher, Hasher as _};

/// Bytes of one input; parsers have their own limits, tested elsewhere.
const BYTES_MAX: usize = 64 << 10;
/// Numbers that break things: limits of integers and of lengths.
const EDGES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
];

/// Makes inputs.
#[derive(Debug)]
pub(crate) struct Mutator<'samples> {
    seed: u64,
    drawn: u64,
    words: &'static [&'static str],
    samples: &'samples [Vec<u8>],
}

impl<'samples> Mutator<'samples> {
    pub(crate) fn new(seed: u64, words: &'static [&'static str], samples: &'samples [Vec<u8>]) -> Self {
        Self { seed, drawn: 0, words, samples }
    }

    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.sample();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    /// A number below `end`, 0 when there is none.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a usize fits");
        usize::try_from(self.draw() % end).expect("below a usize")
    }

    fn sample(&mut self) -> Vec<u8> {
        let at = self.below(self.samples.len());
        self.samples.get(at).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(1 + input.len() / 4)).min(input.len());
        match self.below(11) {
            0 | 1 => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            2 => {
                let byte = self.draw().to_le_bytes()[0];
                input.insert(at, byte);
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                let times = 1 + self.below(4);
                splice(input, at, &piece.repeat(times));
            }
            5 => {
                let other = self.sample();
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                splice(input, at, &other[from..to]);
            }
            6 => {
                let edge = EDGES[self.below(EDGES.len())];
                replace_number(input, at, edge);
            }
            7 => input.truncate(at),
            8 => {
                // A length or a count in the middle of binary data.
                let value = [0_u32, 1, 0x7fff_ffff, u32::MAX, 0x8000_0000][self.below(5)].to_le_bytes();
                let end = (at + 4).min(input.len());
                input.splice(at..end, value);
            }
            9 | 10 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                if self.below(2) == 0 {
                    drop(input.drain(at..end));
                }
                splice(input, at, word.as_bytes());
            }
            _ => input.extend_from_slice(b"\0\xff\xfe\x80"),
        }
    }
}

fn splice(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}

/// Puts a number in the place of the next run of digits.
fn replace_number(input: &mut Vec<u8>, from: usize, number: &str) {
    let Some(start) = input[from..].iter().position(u8::is_ascii_digit).map(|found| from + found) else {
        return splice(input, from, number.as_bytes());
    };
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(start..start + length, number.bytes());
}
