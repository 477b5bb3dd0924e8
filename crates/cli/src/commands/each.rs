//! Commands that take several names do all of them side by side, tell each failure, and fail when one did.

use std::future::Future;
use std::process::ExitCode;

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::failure::Failure;
use crate::output;

/// Calls under way at once.
const AT_ONCE_MAX: usize = 32;

/// Calls `work` with each name and prints what it answers, in the order of the names; empty answers are not
/// printed.
pub(super) async fn each<F>(names: Vec<String>, work: impl Fn(String) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<String, Failure>>,
{
    let mut results = stream::iter(names).map(work).buffered(AT_ONCE_MAX);
    let mut failed = false;
    while let Some(result) = results.next().await {
        match result {
            Ok(answer) if answer.is_empty() => {}
            Ok(answer) => output::line(answer)?,
            Err(failure) => {
                failure.tell();
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
