//! Does anything that strangers write make a parser panic, hang, or contradict itself? Each target takes bytes; this
//! driver makes them, by mutating samples of what the target expects. It runs on stable Rust, so that everybody runs it:
//! a second per target in `tests/run`, and as long as one likes by hand.
//!
//! ```text
//! GANTRY_FUZZ_SECONDS=600 cargo test -p gantry-tests --test fuzz manifest       ten minutes of one target
//! GANTRY_FUZZ_SEED=7 ...                                                        other inputs than usual
//! GANTRY_FUZZ_INPUT=FILE cargo test -p gantry-tests --test fuzz manifest        one input again
//! ```
//!
//! An input that fails is kept in `<target>/fuzz/`. Deliberately absent: coverage feedback, which needs an instrumented
//! build; a target is an ordinary function of bytes, so that it can be put under such a fuzzer as it is. The tar reader has a
//! grammar and other readers to compare with beside it (`crates/image/src/unpack/differential`), netd's DNS packets an
//! oracle (`crates/netd`).

mod mutate;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use libtest_mimic::{Arguments, Trial};
use mutate::Mutator;
use targets::Target;

/// Time per target in an ordinary run.
const SECONDS: f64 = 1.0;
/// One input that takes longer hangs.
const INPUT_TIMEOUT: Duration = Duration::from_secs(20);

fn main() {
    let arguments = Arguments::from_args();
    let trials = targets::all().into_iter();
    let trials = trials.map(|target| {
        Trial::test(target.name, move || Ok(run(target).map_err(|error| format!("{error:?}"))?))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn variable<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| anyhow::anyhow!("{name} is {text:?}"))
}

/// What a target is at, so that an input that never ends can be kept.
#[derive(Debug)]
struct Current {
    input: Vec<u8>,
    begun: Instant,
}

fn run(target: Target) -> Result<()> {
    if let Some(file) = variable::<PathBuf>("GANTRY_FUZZ_INPUT")? {
        let input = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        return (target.run)(&input).map(|_| ());
    }
    let time = Duration::from_secs_f64(variable("GANTRY_FUZZ_SECONDS")?.unwrap_or(SECONDS));
    let seed = variable("GANTRY_FUZZ_SEED")?.unwrap_or(0);
    let current = Arc::new(Mutex::new(Current { input: Vec::new(), begun: Instant::now() }));
    let (done, outcome) = channel();
    let worker = Arc::clone(&current);
    std::thread::spawn(move || done.send(work(target, time, seed, &worker)));
    loop {
        match outcome.recv_timeout(INPUT_TIMEOUT) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Disconnected) => bail!("the worker is gone"),
            Err(RecvTimeoutError::Timeout) => {
                let current = current.lock().unwrap_or_else(PoisonError::into_inner);
                if current.begun.elapsed() > INPUT_TIMEOUT {
                    bail!(
                        "an input takes longer than {INPUT_TIMEOUT:?}: {}",
                        keep(target.name, &current.input)?
                    );
                }
            }
        }
    }
}

fn work(target: Target, time: Duration, seed: u64, current: &Mutex<Current>) -> Result<()> {
    let samples = (target.samples)();
    let mut mutator = Mutator::new(seed, target.words, &samples);
    let (start, mut inputs, mut taken) = (Instant::now(), 0_u64, 0_u64);
    // Every sample as it is, and then as many mutations as there is time for.
    let mut next = samples.iter().cloned();
    while start.elapsed() < time || inputs < samples.len() as u64 {
        let input = next.next().unwrap_or_else(|| mutator.next_input());
        *current.lock().unwrap_or_else(PoisonError::into_inner) =
            Current { input: input.clone(), begun: Instant::now() };
        match catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            Ok(Ok(was_taken)) => taken += u64::from(was_taken),
            Ok(Err(error)) => {
                return Err(error.context(format!("the input is {}", keep(target.name, &input)?)));
            }
            Err(_) => bail!("a panic; the input is {}", keep(target.name, &input)?),
        }
        inputs += 1;
    }
    // A target that takes nothing, or refuses nothing, tests nothing.
    if taken == 0 || taken == inputs {
        bail!("{taken} of {inputs} inputs were taken");
    }
    Ok(())
}

fn keep(name: &str, input: &[u8]) -> Result<String> {
    let folder = gantry_tests::programs::target().join("fuzz");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}-{}", std::process::id()));
    fs::write(&file, input)?;
    Ok(file.display().to_string())
}
