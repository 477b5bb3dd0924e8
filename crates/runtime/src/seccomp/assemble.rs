//! How does a program of classic BPF come to be? Jumps only go forward and conditional ones at most 255
//! instructions, so the program is written from its end: every target exists, and its distance is known,
//! before the jump to it. A target that is too far gets a stepping stone: another return of the same
//! action, or one unconditional jump, which has 32 bits.

use std::collections::HashMap;

/// `BPF_LD | BPF_W | BPF_ABS`: the accumulator becomes a word of `seccomp_data`.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;
/// The farthest that a conditional jump reaches.
const REACH_MAX: usize = 255;

/// One `struct sock_filter` (`linux/filter.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions skipped when the condition holds.
    pub jt: u8,
    /// Instructions skipped when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Comparisons of the accumulator with a number (`BPF_JMP | … | BPF_K`), unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Greater,
    GreaterEqual,
}

/// The place of an instruction, counted from the program's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Label(usize);

/// Where a program goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    /// It ends with this action; the instruction is made when a jump needs it.
    Return(u32),
    /// It goes on here.
    At(Label),
}

/// A program in the making, last instruction first.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    /// The latest return of each action.
    returns: HashMap<u32, Label>,
}

impl Assembler {
    /// Compares the accumulator with `k`.
    pub(crate) fn compare(&mut self, compare: Compare, k: u32, holds: Goal, fails: Goal) -> Goal {
        if holds == fails {
            return holds;
        }
        let code = match compare {
            Compare::Equal => 0x15,
            Compare::Greater => 0x25,
            Compare::GreaterEqual => 0x35,
        };
        // The second target may push one stepping stone between the first and the jump.
        let holds = self.near(holds, REACH_MAX - 1);
        let fails = self.near(fails, REACH_MAX);
        let (jt, jf) = (self.skip(holds), self.skip(fails));
        self.push(code, jt, jf, k)
    }

    /// Loads the word at `offset` of `seccomp_data`, then goes on.
    pub(crate) fn load(&mut self, offset: u32, then: Goal) -> Goal {
        self.directly_before(then);
        self.push(LOAD, 0, 0, offset)
    }

    /// Masks the accumulator, then goes on.
    pub(crate) fn and(&mut self, mask: u32, then: Goal) -> Goal {
        self.directly_before(then);
        self.push(AND, 0, 0, mask)
    }

    /// The program that begins at `start`.
    pub(crate) fn finish(mut self, start: Goal) -> Vec<Instruction> {
        self.directly_before(start);
        self.reversed.reverse();
        self.reversed
    }

    /// Makes `goal` the instruction that follows the next one pushed.
    fn directly_before(&mut self, goal: Goal) {
        let label = self.near(goal, usize::MAX);
        let distance = self.distance(label);
        if distance > 0 {
            self.jump(distance);
        }
    }

    /// A place at most `reach` instructions after the next one pushed from which `goal` is reached.
    fn near(&mut self, goal: Goal, reach: usize) -> Label {
        match goal {
            Goal::Return(action) => match self.returns.get(&action) {
                Some(label) if self.distance(*label) <= reach => *label,
                Some(_) | None => {
                    let label = Label(self.reversed.len());
                    self.push(RETURN, 0, 0, action);
                    self.returns.insert(action, label);
                    label
                }
            },
            Goal::At(label) if self.distance(label) <= reach => label,
            Goal::At(label) => self.jump(self.distance(label)),
        }
    }

    fn jump(&mut self, distance: usize) -> Label {
        let label = Label(self.reversed.len());
        let distance = u32::try_from(distance).expect("a program is far shorter than 2^32 instructions");
        self.push(JUMP, 0, 0, distance);
        label
    }

    /// Instructions between the next one pushed and `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0 - 1
    }

    fn skip(&self, label: Label) -> u8 {
        u8::try_from(self.distance(label)).expect("near() made the target reachable")
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Goal {
        let label = Label(self.reversed.len());
        self.reversed.push(Instruction { code, jt, jf, k });
        Goal::At(label)
    }
}
