//! The rules as an eBPF programme of type BPF_PROG_TYPE_CGROUP_DEVICE. It is kept short, for the kernel verifies
//! it anew at every start, at some four microseconds an instruction: exceptions are grouped by kind, then by
//! major number and access, and within a group each costs one comparison.
//!
//! ```text
//!  kind, access, major, minor from the context
//!  block:  unless the kind is block go on at the characters
//!          for each group: unless major and access fit go on; minor 3? exception; minor 5? exception…
//!  characters: likewise
//!  rule:       answer by default
//!  exception:  answer otherwise
//! ```

use super::{Access, Rules};

/// Registers. The first holds the answer, the second the context.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Operations (the kernel's `Documentation/bpf/standardization/instruction-set.rst`).
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const COPY: u8 = 0xbc;
const SET: u8 = 0xb7;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_SAME: u8 = 0x1d;
const JUMP_UNLESS_EQUAL: u8 = 0x55;

/// The instructions, eight bytes each, in this machine's order.
pub(super) fn compile(rules: &Rules) -> Vec<u8> {
    let mut code = Code::default();
    let (rule, exception) = (code.label(), code.label());
    // struct bpf_cgroup_dev_ctx: kind in the low half of the first word, access in its high half.
    code.load(KIND, 0).load(ACCESS, 0).load(MAJOR, 4).load(MINOR, 8);
    code.plain(AND, KIND, 0, 0xffff).plain(SHIFT_RIGHT, ACCESS, 0, 16);
    let kinds = rules.exceptions.keys().map(|devices| devices.is_block);
    let has = |wanted: bool| kinds.clone().any(|is_block| is_block == wanted);
    for is_block in [true, false].into_iter().filter(|is_block| has(*is_block)) {
        let is_last = !is_block || !has(false);
        let next = if is_last { rule } else { code.label() };
        code.jump(JUMP_UNLESS_EQUAL, KIND, if is_block { 1 } else { 2 }, next);
        let open = compile_kind(&mut code, rules, is_block, exception);
        if !is_last {
            if open {
                code.jump(JUMP, 0, 0, rule);
            }
            code.place(next);
        }
    }
    code.place(rule);
    code.plain(SET, ANSWER, 0, u32::from(rules.allow_by_default)).plain(EXIT, 0, 0, 0);
    code.place(exception);
    code.plain(SET, ANSWER, 0, u32::from(!rules.allow_by_default)).plain(EXIT, 0, 0, 0);
    code.finish()
}

/// The exceptions of one kind; whether control can come out at the end.
fn compile_kind(code: &mut Code, rules: &Rules, is_block: bool, exception: Label) -> bool {
    let of_kind: Vec<_> =
        rules.exceptions.iter().filter(|(devices, _)| devices.is_block == is_block).collect();
    let mut groups: Vec<(Option<u32>, Access)> = Vec::new();
    for (devices, access) in &of_kind {
        if !groups.contains(&(devices.major, **access)) {
            groups.push((devices.major, **access));
        }
    }
    for (major, access) in groups {
        let in_group = of_kind.iter().filter(|(devices, of)| devices.major == major && **of == access);
        let minors: Vec<Option<u32>> = in_group.map(|(devices, _)| devices.minor).collect();
        let every_minor = minors.contains(&None);
        let next = code.label();
        if let Some(major) = major {
            if every_minor && access == Access::ALL {
                code.jump(JUMP_IF_EQUAL, MAJOR, major, exception);
                continue;
            }
            code.jump(JUMP_UNLESS_EQUAL, MAJOR, major, next);
        }
        if access != Access::ALL {
            code.plain(COPY, SCRATCH, ACCESS, 0).plain(AND, SCRATCH, 0, access.0.into());
        }
        match (access == Access::ALL, every_minor) {
            // Everything of this kind: whatever follows would never be reached.
            (true, true) => {
                code.jump(JUMP, 0, 0, exception);
                return false;
            }
            (false, true) => code.jump_if_covered(rules.allow_by_default, exception),
            (true, false) => {}
            (false, false) => {
                let fits = code.label();
                code.jump_if_covered(rules.allow_by_default, fits);
                code.jump(JUMP, 0, 0, next);
                code.place(fits);
            }
        }
        // With every minor number there is nothing left to compare.
        for minor in minors.into_iter().flatten().filter(|_| !every_minor) {
            code.jump(JUMP_IF_EQUAL, MINOR, minor, exception);
        }
        code.place(next);
    }
    true
}

/// A place that is jumped to, always forward.
#[derive(Debug, Clone, Copy)]
struct Label(usize);

/// A programme being written.
#[derive(Default)]
struct Code {
    instructions: Vec<Instruction>,
    /// Where each label is, once it is placed.
    labels: Vec<usize>,
}

struct Instruction {
    operation: u8,
    registers: u8,
    offset: i16,
    target: Option<Label>,
    immediate: u32,
}

impl Code {
    fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.labels[label.0] = self.instructions.len();
    }

    fn plain(&mut self, operation: u8, target: u8, source: u8, immediate: u32) -> &mut Self {
        let registers = target | (source << 4);
        self.instructions.push(Instruction { operation, registers, offset: 0, target: None, immediate });
        self
    }

    fn load(&mut self, target: u8, offset: i16) -> &mut Self {
        let registers = target | (CONTEXT << 4);
        self.instructions.push(Instruction {
            operation: LOAD_WORD,
            registers,
            offset,
            target: None,
            immediate: 0,
        });
        self
    }

    fn jump(&mut self, operation: u8, register: u8, immediate: u32, target: Label) {
        let target = Some(target);
        self.instructions.push(Instruction { operation, registers: register, offset: 0, target, immediate });
    }

    /// With the asked access that the exception has in the scratch register. An allowed exception must cover all
    /// that is asked; a denied one need only touch it.
    fn jump_if_covered(&mut self, allow_by_default: bool, target: Label) {
        if allow_by_default {
            self.jump(JUMP_UNLESS_EQUAL, SCRATCH, 0, target);
        } else {
            self.jump(JUMP_IF_SAME, SCRATCH | (ACCESS << 4), 0, target);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for (at, instruction) in self.instructions.iter().enumerate() {
            let offset = instruction.target.map_or(instruction.offset, |label| {
                let far =
                    self.labels[label.0].checked_sub(at + 1).expect("labels are placed, after their jumps");
                i16::try_from(far).expect("the number of rules is bounded")
            });
            bytes.extend([instruction.operation, instruction.registers]);
            bytes.extend(offset.to_ne_bytes());
            bytes.extend(instruction.immediate.to_ne_bytes());
        }
        bytes
    }
}
