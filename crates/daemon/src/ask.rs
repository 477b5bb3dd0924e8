//! Asking a task something: a message with a way to answer goes into its inbox, and the answer is waited for. A task that
//! ends answers nobody, and most who wait learn of it because their message is dropped with the inbox. One that is put there
//! while the inbox is being emptied is not: the channel keeps it until its last sender is gone, and whoever waits holds
//! one. So the end of the inbox is waited for too.

use tokio::sync::{mpsc, oneshot};

/// Sends the message that `make` makes around the reply, and waits for it. `None` when the task ended without one.
pub(crate) async fn ask<M, T>(
    inbox: &mpsc::Sender<M>,
    make: impl FnOnce(oneshot::Sender<T>) -> M,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    inbox.send(make(reply)).await.ok()?;
    answer_of(inbox, answer).await
}

async fn answer_of<M, T>(inbox: &mpsc::Sender<M>, mut answer: oneshot::Receiver<T>) -> Option<T> {
    tokio::select! {
        biased;
        answered = &mut answer => answered.ok(),
        // What the task answered it did before.
        () = inbox.closed() => answer.try_recv().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The limit of a test that would wait for ever.
    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn an_answer_is_told_also_when_the_task_ends_behind_it() {
        let (inbox, mut messages) = mpsc::channel::<oneshot::Sender<u8>>(1);
        let task = async move { messages.recv().await.expect("asked").send(7).expect("waited for") };
        let (answer, ()) = tokio::join!(ask(&inbox, |reply| reply), task);
        assert_eq!(answer, Some(7));
        assert_eq!(ask(&inbox, |reply| reply).await, None, "the task has ended");
    }

    #[tokio::test]
    async fn a_message_that_comes_while_the_inbox_is_emptied_keeps_nobody_waiting() {
        let (inbox, messages) = mpsc::channel::<oneshot::Sender<u8>>(1);
        let (reply, answer) = oneshot::channel();
        // A send is a place and then a message in it; the task ends between the two.
        let place = inbox.reserve().await.expect("there is room");
        drop(messages);
        place.send(reply);
        let answered = tokio::time::timeout(LIMIT, answer_of(&inbox, answer)).await;
        assert_eq!(answered, Ok(None));
    }
}
