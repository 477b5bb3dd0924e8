//! When does a rule hold? The comparisons of an OCI rule, what they mean for an argument register, and the
//! instructions that decide them: arguments have 64 bits and the machine of seccomp has 32.
//!
//! On a 32-bit architecture the kernel takes only the low word of a register, and a 64-bit program that
//! makes a 32-bit call can leave anything above it. So there the high word counts as zero, unread.

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};

use super::assemble::{Assembler, Compare, Goal};

/// Offset of the first argument in `seccomp_data`; each has 8 bytes, low word first (little endian).
const ARGUMENTS_OFFSET: u32 = 16;

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    /// Which argument, 0 to 5.
    pub(crate) index: u8,
    /// What it must be.
    pub(crate) test: Test,
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessEqual(u64),
    Greater(u64),
    GreaterEqual(u64),
    /// The bits of the mask are those of the value.
    Masked {
        mask: u64,
        value: u64,
    },
}

impl Condition {
    /// The comparison of an OCI rule; `None` when the index is beyond the last argument. Bits of a masked
    /// value that are outside the mask are ignored, as libseccomp does.
    pub(crate) fn new(argument: &LinuxSeccompArg) -> Option<Self> {
        let value = argument.value();
        let test = match argument.op() {
            LinuxSeccompOperator::ScmpCmpEq => Test::Equal(value),
            LinuxSeccompOperator::ScmpCmpNe => Test::NotEqual(value),
            LinuxSeccompOperator::ScmpCmpLt => Test::Less(value),
            LinuxSeccompOperator::ScmpCmpLe => Test::LessEqual(value),
            LinuxSeccompOperator::ScmpCmpGt => Test::Greater(value),
            LinuxSeccompOperator::ScmpCmpGe => Test::GreaterEqual(value),
            LinuxSeccompOperator::ScmpCmpMaskedEq => {
                Test::Masked { mask: value, value: argument.value_two().unwrap_or(0) & value }
            }
        };
        let index = u8::try_from(argument.index()).ok().filter(|index| *index <= 5)?;
        Some(Self { index, test })
    }

    /// Whether the high word does not count on any architecture.
    pub(crate) fn low_only(&self) -> bool {
        match self.test {
            Test::Masked { mask, .. } => split(mask).0 == 0,
            Test::Equal(_)
            | Test::NotEqual(_)
            | Test::Less(_)
            | Test::LessEqual(_)
            | Test::Greater(_)
            | Test::GreaterEqual(_) => false,
        }
    }

    /// Writes the instructions that decide it.
    pub(crate) fn assemble(self, code: &mut Assembler, narrow: bool, holds: Goal, fails: Goal) -> Goal {
        let words = Words { low: ARGUMENTS_OFFSET + 8 * u32::from(self.index), narrow };
        match self.test {
            Test::Equal(value) => words.masked(code, u64::MAX, value, holds, fails),
            Test::NotEqual(value) => words.masked(code, u64::MAX, value, fails, holds),
            Test::Masked { mask, value } => words.masked(code, mask, value, holds, fails),
            Test::Greater(value) => words.ordered(code, Compare::Greater, value, holds, fails),
            Test::GreaterEqual(value) => words.ordered(code, Compare::GreaterEqual, value, holds, fails),
            Test::Less(value) => words.ordered(code, Compare::GreaterEqual, value, fails, holds),
            Test::LessEqual(value) => words.ordered(code, Compare::Greater, value, fails, holds),
        }
    }
}

/// Where an argument is, and whether its high word counts.
#[derive(Debug, Clone, Copy)]
struct Words {
    low: u32,
    narrow: bool,
}

impl Words {
    fn masked(self, code: &mut Assembler, mask: u64, value: u64, holds: Goal, fails: Goal) -> Goal {
        let (mask_high, mask_low) = split(mask);
        let (value_high, value_low) = split(value);
        if self.narrow && value_high != 0 {
            return fails;
        }
        let low = masked_word(code, self.low, mask_low, value_low, holds, fails);
        if self.narrow {
            return low;
        }
        masked_word(code, self.low + 4, mask_high, value_high, low, fails)
    }

    fn ordered(self, code: &mut Assembler, compare: Compare, value: u64, holds: Goal, fails: Goal) -> Goal {
        let (high, low) = split(value);
        if self.narrow && high != 0 {
            // Zero is below any high word.
            return fails;
        }
        let decided = code.compare(compare, low, holds, fails);
        let decided = load_unless_decided(code, self.low, decided, holds, fails);
        if self.narrow {
            return decided;
        }
        let equal = code.compare(Compare::Equal, high, decided, fails);
        let greater = code.compare(Compare::Greater, high, holds, equal);
        load_unless_decided(code, self.low + 4, greater, holds, fails)
    }
}

/// Compares one word under a mask; a mask of nothing needs no instruction.
fn masked_word(code: &mut Assembler, offset: u32, mask: u32, value: u32, holds: Goal, fails: Goal) -> Goal {
    if mask == 0 {
        return holds;
    }
    let mut goal = code.compare(Compare::Equal, value, holds, fails);
    if goal != holds && mask != u32::MAX {
        goal = code.and(mask, goal);
    }
    load_unless_decided(code, offset, goal, holds, fails)
}

/// A comparison whose two outcomes are one was never written, and needs no operand.
fn load_unless_decided(code: &mut Assembler, offset: u32, goal: Goal, holds: Goal, fails: Goal) -> Goal {
    if holds == fails { goal } else { code.load(offset, goal) }
}

fn split(value: u64) -> (u32, u32) {
    let word = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("is masked");
    (word(value >> 32), word(value))
}
