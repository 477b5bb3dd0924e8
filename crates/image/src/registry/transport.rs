//! One GET with redirects, authentication and retries. Credentials are attached per hop, from the hop's own origin: a
//! redirect to a content network gets none.

use std::sync::PoisonError;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::RegistryError;
use super::client::Repository;
use super::endpoint::{authority, is_allowed, is_same_origin};

const REDIRECTS_MAX: usize = 5;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Where, below the registry's base.
    pub(super) url: Url,
    /// `Accept`.
    pub(super) accept: &'static str,
    /// First byte wanted, when it is not the first.
    pub(super) offset: u64,
    /// Name and tag or digest, for errors.
    pub(super) what: String,
}

impl Repository {
    /// Sends until there is a success, retrying what may pass.
    pub(super) async fn get(&self, ask: &Ask) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            match self.get_authorized(ask).await {
                Err(error) if error.is_transient() && attempt < self.timeouts().retries_max => {
                    tracing::debug!(%error, attempt, "asking the registry again");
                    self.backoff(attempt).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// Waits before retry number `attempt`.
    pub(super) async fn backoff(&self, attempt: u32) {
        let wait_ms = self.timeouts().backoff_ms << attempt.min(6);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }

    /// One request, and a second one when the first is answered with 401.
    async fn get_authorized(&self, ask: &Ask) -> Result<Response, RegistryError> {
        let (response, by_registry) = self.get_once(ask).await?;
        if response.status() == StatusCode::UNAUTHORIZED && by_registry {
            let headers = response.headers().get_all(WWW_AUTHENTICATE);
            let challenge: Vec<&str> = headers.iter().filter_map(|value| value.to_str().ok()).collect();
            let challenge = challenge.join(", ");
            self.authenticate(&challenge).await?;
            let (response, _) = self.get_once(ask).await?;
            return self.success(response, ask).await;
        }
        self.success(response, ask).await
    }

    async fn success(&self, response: Response, ask: &Ask) -> Result<Response, RegistryError> {
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response, &ask.what).await)
        }
    }

    /// One request through its redirects; also says whether the registry itself gave the answer. A 401 of
    /// somebody else is not a challenge that we answer.
    async fn get_once(&self, ask: &Ask) -> Result<(Response, bool), RegistryError> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let own = is_same_origin(&url, &self.base);
            let response =
                self.send(self.client.http.get(url.clone()).headers(self.headers(ask, own))).await?;
            if !response.status().is_redirection() {
                return Ok((response, own));
            }
            let next = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = self.redirect(&url, next)?;
        }
        Err(RegistryError::Redirect { registry: self.registry(), to: authority(&url) })
    }

    fn headers(&self, ask: &Ask, own: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !ask.accept.is_empty() {
            headers.insert(ACCEPT, HeaderValue::from_static(ask.accept));
        }
        if ask.offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", ask.offset));
            headers.insert(RANGE, range.expect("digits make a header"));
        }
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = authorization.as_ref().filter(|_| own) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        headers
    }

    /// Sends one request and waits for the headers.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let after_ms = self.timeouts().headers_ms;
        match tokio::time::timeout(Duration::from_millis(after_ms), request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(self.unreachable(source)),
            Err(_) => Err(RegistryError::Timeout { registry: self.registry(), what: "an answer", after_ms }),
        }
    }

    fn redirect(&self, from: &Url, location: Option<&str>) -> Result<Url, RegistryError> {
        let refused = |to: String| RegistryError::Redirect { registry: self.registry(), to };
        let location = location.ok_or_else(|| refused(String::new()))?;
        let to = from.join(location).map_err(|_| refused(location.chars().take(80).collect()))?;
        let is_downgrade = from.scheme() == "https" && to.scheme() != "https";
        if is_downgrade || !is_allowed(&to, &self.client.options.insecure) {
            return Err(refused(format!("{}://{}", to.scheme(), authority(&to))));
        }
        Ok(to)
    }
}
