//! A span and a count for every request: who called, what, how it ended and how long the answer took.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use tonic::Status;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::assemble::Daemon;
use crate::clock;
use crate::metrics::{MethodLabels, RequestLabels};
use crate::serve::Peer;

/// Wraps every service.
#[derive(Debug, Clone)]
pub(crate) struct TraceLayer {
    daemon: Arc<Daemon>,
    next: Arc<AtomicU64>,
}

impl TraceLayer {
    pub(crate) fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, next: Arc::new(AtomicU64::new(1)) }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, layer: self.clone() }
    }
}

/// One service under the layer.
#[derive(Debug, Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    layer: TraceLayer,
}

impl<S, B, R> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let number = self.layer.next.fetch_add(1, Ordering::Relaxed);
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let span = match request.extensions().get::<Peer>() {
            Some(Peer::Local { pid, uid }) => tracing::info_span!("request", number, method, pid, uid),
            Some(Peer::Remote { address }) => tracing::info_span!("request", number, method, %address),
            None => tracing::info_span!("request", number, method),
        };
        let began = clock::monotonic();
        let answer = span.in_scope(|| self.inner.call(request));
        let daemon = Arc::clone(&self.layer.daemon);
        Box::pin(
            async move {
                let answer = answer.await;
                daemon.heap.used();
                if let Ok(response) = &answer {
                    count(&daemon, method, response, began);
                }
                answer
            }
            .instrument(span),
        )
    }
}

/// Counts an answer, or for streams their beginning. A method that nobody serves is counted under no name of its
/// own, so that a client cannot fill the table.
fn count<R>(daemon: &Daemon, method: String, response: &Response<R>, began: Instant) {
    let status = Status::from_header_map(response.headers());
    let code = status.as_ref().map_or(tonic::Code::Ok, Status::code);
    match code {
        tonic::Code::Internal | tonic::Code::DataLoss | tonic::Code::Unknown => {
            tracing::error!(status = status.as_ref().map(Status::message), "failed");
        }
        tonic::Code::Ok => tracing::debug!("answered"),
        tonic::Code::Cancelled
        | tonic::Code::InvalidArgument
        | tonic::Code::DeadlineExceeded
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::PermissionDenied
        | tonic::Code::ResourceExhausted
        | tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::OutOfRange
        | tonic::Code::Unimplemented
        | tonic::Code::Unavailable
        | tonic::Code::Unauthenticated => {
            tracing::debug!(?code, status = status.as_ref().map(Status::message), "refused");
        }
    }
    let method = if code == tonic::Code::Unimplemented { String::from("unknown") } else { method };
    let metrics = &daemon.metrics;
    metrics.requests.get_or_create(&RequestLabels { method: method.clone(), code: code as i32 }).inc();
    metrics.request_seconds.get_or_create(&MethodLabels { method }).observe(began.elapsed().as_secs_f64());
}
