//! How does a profile become a filter? Per architecture, calls with one outcome that lie side by side are
//! one range; ranges are searched by halving; conditions hang below their range. A program of a foreign
//! architecture is killed.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};
use sha2::{Digest as _, Sha256};

use super::architecture::X32_BIT;
use super::assemble::{Assembler, Compare, Goal};
use super::condition::Condition;
use super::rules::{Outcome, Rules, rules};
use super::{Architecture, Instruction, SeccompError};
use crate::plan;

/// `BPF_MAXINSNS`.
const INSTRUCTIONS_MAX: usize = 4096;
/// `SECCOMP_RET_KILL_THREAD`: what libseccomp answers to a foreign architecture.
const KILL: u32 = 0;
/// Exceptions of one region, which are searched one after the other.
const EXCEPTIONS_MAX: usize = 4;
/// Offsets in `seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2).
    pub flags: u32,
}

/// Names a filter in a cache: equal keys mean equal filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

/// Compiles the filter of a spec for this machine, in the plan's terms.
pub fn compile(profile: &LinuxSeccomp) -> Result<plan::Seccomp, SeccompError> {
    let filter = compile_for(profile, Architecture::host().ok_or(SeccompError::Architecture)?)?;
    let mut program = Vec::with_capacity(filter.instructions.len() * 8);
    for instruction in &filter.instructions {
        program.extend_from_slice(&instruction.code.to_ne_bytes());
        program.extend_from_slice(&[instruction.jt, instruction.jf]);
        program.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    Ok(plan::Seccomp { program, flags: filter.flags })
}

/// Compiles a profile for a machine of architecture `native`. Architectures of the profile that such a
/// machine cannot run are skipped; its own is always there.
pub fn compile_for(profile: &LinuxSeccomp, native: Architecture) -> Result<Filter, SeccompError> {
    let listed = |architecture: Architecture| {
        profile.architectures().iter().flatten().any(|listed| *listed == architecture.oci())
    };
    let mut compiler = Compiler::default();
    // Written from the end: the native architecture comes first in the program, where jumps are short.
    let mut goal = Goal::Return(KILL);
    for companion in native.companions().iter().copied().filter(|one| listed(*one)) {
        if companion.audit() != native.audit() {
            goal = compiler.family(profile, companion, None, goal)?;
        }
    }
    let sibling = native.companions().iter().copied().find(|one| one.audit() == native.audit());
    let goal = compiler.family(profile, native, sibling.map(|one| (one, listed(one))), goal)?;
    let goal = compiler.code.load(ARCHITECTURE_OFFSET, goal);
    let instructions = compiler.code.finish(goal);
    if instructions.len() > INSTRUCTIONS_MAX {
        return Err(SeccompError::TooManyInstructions { count: instructions.len(), max: INSTRUCTIONS_MAX });
    }
    Ok(Filter { instructions, flags: flags(profile) })
}

/// The key of a spec's filter: the same profile resolved for the same capabilities has the same key.
///
/// # Panics
///
/// Never: a filter has nothing that JSON cannot hold.
pub fn cache_key(profile: &LinuxSeccomp) -> CacheKey {
    let text = serde_json::to_vec(profile).expect("a filter has no maps and so always becomes JSON");
    CacheKey(Sha256::digest(&text).into())
}

/// A filter in the making.
#[derive(Debug, Default)]
struct Compiler {
    code: Assembler,
    /// Conditions already written, by whether they read low words only.
    written: HashMap<(Outcome, bool), Goal>,
}

impl Compiler {
    /// The part for one audit number: is it this one, then which call, else `otherwise`. A sibling shares the
    /// audit number and marks its calls with a bit; where it is not allowed, marked calls are foreign.
    fn family(
        &mut self,
        profile: &LinuxSeccomp,
        architecture: Architecture,
        sibling: Option<(Architecture, bool)>,
        otherwise: Goal,
    ) -> Result<Goal, SeccompError> {
        let marked = match sibling {
            Some((sibling, true)) => Some(self.tree(&rules(profile, sibling)?, sibling, X32_BIT)),
            Some((_, false)) => Some(Goal::Return(KILL)),
            None => None,
        };
        let mut goal = self.tree(&rules(profile, architecture)?, architecture, 0);
        if let Some(marked) = marked {
            goal = self.code.compare(Compare::GreaterEqual, X32_BIT, marked, goal);
        }
        let goal = self.code.load(NUMBER_OFFSET, goal);
        Ok(self.code.compare(Compare::Equal, architecture.audit(), goal, otherwise))
    }

    fn tree(&mut self, rules: &Rules, architecture: Architecture, offset: u32) -> Goal {
        let regions = regions(&ranges(rules, offset));
        self.halve(&regions, architecture.narrow())
    }

    /// The outcome of the region that the accumulator lies in.
    fn halve(&mut self, regions: &[Region], narrow: bool) -> Goal {
        match regions {
            [] => Goal::Return(KILL),
            [region] => {
                let mut goal = self.outcome(&region.outcome, narrow);
                for (number, outcome) in region.exceptions.iter().rev() {
                    let holds = self.outcome(outcome, narrow);
                    goal = self.code.compare(Compare::Equal, *number, holds, goal);
                }
                goal
            }
            _ => {
                let (low, high) = regions.split_at(regions.len() / 2);
                let above = self.halve(high, narrow);
                let below = self.halve(low, narrow);
                self.code.compare(Compare::GreaterEqual, high[0].start, above, below)
            }
        }
    }

    fn outcome(&mut self, outcome: &Outcome, narrow: bool) -> Goal {
        let (branches, last) = match outcome {
            Outcome::Action(action) => return Goal::Return(*action),
            Outcome::Branches(branches, last) => (branches, *last),
        };
        // Where only low words are read, every architecture reads the same instructions.
        let low_only = branches.iter().flat_map(|branch| &branch.conditions).all(Condition::low_only);
        let key = (outcome.clone(), narrow || low_only);
        if let Some(goal) = self.written.get(&key) {
            return *goal;
        }
        let mut goal = Goal::Return(last);
        for branch in branches.iter().rev() {
            let fails = goal;
            goal = Goal::Return(branch.action);
            for condition in branch.conditions.iter().rev() {
                goal = condition.assemble(&mut self.code, narrow, goal, fails);
            }
        }
        self.written.insert(key, goal);
        goal
    }
}

/// Every number's outcome as ranges: each begins at its number and ends where the next begins.
fn ranges(rules: &Rules, offset: u32) -> Vec<(u32, Outcome)> {
    let mut ranges: Vec<(u32, Outcome)> = Vec::new();
    let mut push = |start: u32, outcome: Outcome| {
        // A range that ends where it begins was only the gap after the previous call.
        ranges.pop_if(|(begin, _)| *begin == start);
        if ranges.last().is_none_or(|(_, last)| *last != outcome) {
            ranges.push((start, outcome));
        }
    };
    push(offset, Outcome::Action(rules.default));
    for (number, outcome) in &rules.calls {
        push(number + offset, outcome.clone());
        push(number + offset + 1, Outcome::Action(rules.default));
    }
    if let Some((first, action)) = rules.beyond {
        push(first + offset, Outcome::Action(action));
    }
    ranges
}

/// Numbers with one outcome, but for a few in between.
#[derive(Debug)]
struct Region {
    start: u32,
    outcome: Outcome,
    exceptions: Vec<(u32, Outcome)>,
}

/// Takes ranges of a single number between two of one outcome out as exceptions: one comparison instead of
/// two boundaries. Which ones is chosen for the fewest comparisons in all, by the best way to go on from
/// each range, from the last to the first.
fn regions(ranges: &[(u32, Outcome)]) -> Vec<Region> {
    let mut best = vec![(0_usize, 0_usize); ranges.len() + 1];
    for start in (0..ranges.len()).rev() {
        best[start] = (0..=exceptions_after(&ranges[start..]))
            .map(|exceptions| (exceptions + 1 + best[start + 2 * exceptions + 1].0, exceptions))
            .min()
            .expect("a region without exceptions is always possible");
    }
    let mut regions = Vec::new();
    let mut next = 0;
    while let Some((start, outcome)) = ranges.get(next) {
        let (_, exceptions) = best[next];
        regions.push(Region {
            start: *start,
            outcome: outcome.clone(),
            exceptions: (0..exceptions).map(|exception| ranges[next + 2 * exception + 1].clone()).collect(),
        });
        next += 2 * exceptions + 1;
    }
    regions
}

/// How many exceptions the first range can have.
fn exceptions_after(ranges: &[(u32, Outcome)]) -> usize {
    let (_, outcome) = &ranges[0];
    ranges[1..]
        .chunks_exact(2)
        .take(EXCEPTIONS_MAX)
        .take_while(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].1 == *outcome)
        .count()
}

/// Without a word about flags a filter does not turn speculation off, as with runc: since Linux 5.16 the
/// kernel does not either.
fn flags(profile: &LinuxSeccomp) -> u32 {
    let Some(flags) = profile.flags() else {
        return bit(LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow);
    };
    flags.iter().fold(0, |bits, flag| bits | bit(*flag))
}

/// `SECCOMP_FILTER_FLAG_*` of `linux/seccomp.h`.
fn bit(flag: LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 1 << 5,
    }
}
