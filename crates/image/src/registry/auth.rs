//! Answering a challenge: Basic, or a token from the realm (<https://distribution.github.io/distribution/spec/auth/token/>).
//! The token is asked for with pull rights on this one repository and nothing else.

use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_types::TOKEN_BYTES_MAX;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::RegistryError;
use super::challenge::{self, Challenge};
use super::client::Repository;
use super::endpoint::{authority, is_allowed};

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Repository {
    /// Finds out what goes into `Authorization` and keeps it for the session.
    pub(super) async fn authenticate(&self, header: &str) -> Result<(), RegistryError> {
        let value = match challenge::parse(header) {
            Some(Challenge::Basic) => self.basic().ok_or_else(|| self.unauthenticated())?,
            Some(Challenge::Bearer { realm, service }) => self.token(&realm, service.as_deref()).await?,
            None => return Err(self.unauthenticated()),
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, RegistryError> {
        let options = &self.client.options;
        let refused = |realm: String| RegistryError::RealmRefused { registry: self.registry(), realm };
        let mut url = Url::parse(realm).map_err(|_| refused(realm.chars().take(80).collect()))?;
        if !is_allowed(&url, &options.insecure) || (self.base.scheme() == "https" && url.scheme() != "https")
        {
            return Err(refused(authority(&url)));
        }
        let trusted = challenge::is_trusted(&url, &self.base, &options.trusted_realms);
        let scope = format!("repository:{}:pull", self.reference.repository());
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &scope);

        let realm_host = authority(&url);
        let refresh = self.credentials.as_ref().and_then(|credentials| credentials.identity_token.as_deref());
        // Redirects are not followed here: a realm answers itself or not at all.
        let response = if let Some(refresh) = refresh.filter(|_| trusted) {
            self.exchange(url, refresh).await?
        } else {
            let mut headers = HeaderMap::new();
            if let Some(basic) = self.basic().filter(|_| trusted) {
                headers.insert(AUTHORIZATION, basic);
            }
            self.send(self.client.http.get(url).headers(headers)).await?
        };
        if !response.status().is_success() {
            if self.credentials.is_some() && !trusted {
                return Err(refused(realm_host));
            }
            return Err(self.refusal(response, self.reference.repository()).await);
        }
        let bytes = self.document(response, "a token", TOKEN_BYTES_MAX).await?;
        let bad = || RegistryError::Token { registry: self.registry() };
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let text = if token.token.is_empty() { token.access_token } else { token.token };
        if text.is_empty() {
            return Err(bad());
        }
        sensitive(&format!("Bearer {text}")).ok_or_else(bad)
    }

    /// Asks for an access token with a refresh token, the OAuth 2 way: a form instead of a query.
    async fn exchange(&self, mut url: Url, refresh: &str) -> Result<Response, RegistryError> {
        let mut form = Url::parse("form:").expect("a constant");
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "gantry")
            .append_pair("refresh_token", refresh)
            .extend_pairs(url.query_pairs());
        url.set_query(None);
        let body = form.query().unwrap_or_default().to_owned();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.send(self.client.http.post(url).header(CONTENT_TYPE, kind).body(body)).await
    }

    fn basic(&self) -> Option<HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        let pair = format!("{}:{}", credentials.username, credentials.password);
        sensitive(&format!("Basic {}", STANDARD.encode(pair)))
    }

    fn unauthenticated(&self) -> RegistryError {
        RegistryError::Unauthenticated {
            registry: self.registry(),
            repository: self.reference.repository().to_owned(),
            given: self.credentials.is_some(),
        }
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
