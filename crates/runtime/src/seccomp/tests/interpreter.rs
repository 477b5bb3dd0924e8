//! The machine that the kernel runs filters on, as linux/filter.h and networking/filter.rst describe it.

use crate::seccomp::{Architecture, Instruction};

/// `struct seccomp_data`, without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) audit: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    pub(super) fn new(architecture: Architecture, number: u32, arguments: [u64; 6]) -> Self {
        Self { number: super::marked(architecture, number), audit: architecture.audit(), arguments }
    }

    fn word(&self, offset: u32) -> u32 {
        let index = usize::try_from(offset.saturating_sub(16) / 8).expect("fits");
        let low = offset.is_multiple_of(8);
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[index];
                u32::try_from(if low { argument & 0xffff_ffff } else { argument >> 32 }).expect("fits")
            }
            _ => panic!("no field of seccomp_data is at {offset}"),
        }
    }
}

/// The action that a program answers to a call.
pub(super) fn run(program: &[Instruction], call: &Call) -> u32 {
    let mut accumulator = 0;
    let mut next = 0;
    loop {
        let Instruction { code, jt, jf, k } = program[next];
        next += 1;
        let holds = match code {
            0x20 => {
                accumulator = call.word(k);
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                next += usize::try_from(k).expect("fits");
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            _ => panic!("operation {code:#x} is not one of a filter's"),
        };
        next += usize::from(if holds { jt } else { jf });
    }
}
