//! Requests for tokens and their answers (distribution's token and OAuth2 specifications). Pure.

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;

use super::challenge::Bearer;
use super::credential::Credential;
use crate::error::Cause;

/// The largest answer of a token service.
pub(super) const MAX_TOKEN_ANSWER_BYTES: usize = 256 << 10;
/// The lifetime of a token whose answer names none or a shorter one, as the specification has it.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
/// The longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// What we call ourselves where the token service wants a name.
const CLIENT_ID: &str = "shim";

/// A request to a token service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The form of a POST; it holds the secret.
    pub(super) form: Option<String>,
    /// User name and password of a GET.
    pub(super) basic: Option<(String, String)>,
}

/// A token for the registry.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) token: String,
    pub(super) lifetime: Duration,
}

/// Returns the request for a token: GET with the password in its header, or none at all; POST for an identity token.
pub(super) fn request(bearer: &Bearer, credential: Option<&Credential>) -> TokenRequest {
    match credential {
        Some(Credential::IdentityToken(token)) => {
            let pairs = [
                ("grant_type", "refresh_token"),
                ("service", &bearer.service),
                ("client_id", CLIENT_ID),
                ("scope", &bearer.scope),
                ("refresh_token", token),
            ];
            let form = encode(&bearer.realm, &pairs);
            TokenRequest { method: Method::POST, url: bearer.realm.clone(), form, basic: None }
        }
        Some(Credential::Password { username, password }) => TokenRequest {
            method: Method::GET,
            url: with_query(bearer, Some(username)),
            form: None,
            basic: Some((username.clone(), password.clone())),
        },
        Some(Credential::RegistryToken(_)) | None => {
            TokenRequest { method: Method::GET, url: with_query(bearer, None), form: None, basic: None }
        }
    }
}

fn with_query(bearer: &Bearer, account: Option<&str>) -> Url {
    let mut url = bearer.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if !bearer.service.is_empty() {
            query.append_pair("service", &bearer.service);
        }
        for scope in bearer.scope.split_ascii_whitespace() {
            query.append_pair("scope", scope);
        }
        if let Some(account) = account {
            query.append_pair("account", account);
        }
    }
    // A query that stayed empty would leave a lone question mark.
    if url.query() == Some("") {
        url.set_query(None);
    }
    url
}

/// The URL's query has the encoding of a form.
fn encode(realm: &Url, pairs: &[(&str, &str)]) -> Option<String> {
    let mut scratch = realm.clone();
    scratch.query_pairs_mut().clear().extend_pairs(pairs);
    scratch.query().map(str::to_owned)
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// Reads an answer.
pub(super) fn parse(bytes: &[u8]) -> Result<Answer, Cause> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        Cause::invalid(format!("the token service's answer is not what it should be: {error}"))
    })?;
    let token = document.access_token.or(document.token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Cause::invalid("the token service's answer holds no token"))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Cause::invalid("the token service's token has forbidden characters"));
    }
    let seconds =
        document.expires_in.unwrap_or(0.0).clamp(MIN_LIFETIME.as_secs_f64(), MAX_LIFETIME.as_secs_f64());
    Ok(Answer { token, lifetime: Duration::try_from_secs_f64(seconds).unwrap_or(MIN_LIFETIME) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Bearer {
        Bearer { realm: Url::parse(realm).unwrap(), service: service.into(), scope: scope.into() }
    }

    #[test]
    fn requests_follow_the_specification() {
        let hub = bearer("https://auth.example/token", "reg istry", "repository:a/b:pull repository:c:pull");
        let password = Credential::from_login("ann", "p&w");
        let identity = Credential::IdentityToken("r&t".into());
        let base = "https://auth.example/token?service=reg+istry&scope=repository%3Aa%2Fb%3Apull&scope=repository%3Ac%3Apull";
        for (bearer, credential, method, url, form, basic) in [
            (&hub, None, Method::GET, base.to_owned(), None, None),
            (&hub, Some(&password), Method::GET, format!("{base}&account=ann"), None, Some(("ann", "p&w"))),
            (
                &hub,
                Some(&identity),
                Method::POST,
                "https://auth.example/token".to_owned(),
                Some(
                    "grant_type=refresh_token&service=reg+istry&client_id=shim\
                     &scope=repository%3Aa%2Fb%3Apull+repository%3Ac%3Apull&refresh_token=r%26t",
                ),
                None,
            ),
            (&bearer("https://a/t?x=1", "", ""), None, Method::GET, "https://a/t?x=1".to_owned(), None, None),
            (&bearer("https://a/t", "", ""), None, Method::GET, "https://a/t".to_owned(), None, None),
        ] {
            let expected = TokenRequest {
                method,
                url: Url::parse(&url).unwrap(),
                form: form.map(str::to_owned),
                basic: basic.map(|(name, word): (&str, &str)| (name.to_owned(), word.to_owned())),
            };
            assert_eq!(request(bearer, credential), expected);
        }
    }

    #[test]
    fn answers_are_read() {
        for (json, token, seconds) in [
            (r#"{"token":"t"}"#, "t", 60),
            (r#"{"access_token":"a","token":"t","expires_in":300}"#, "a", 300),
            (r#"{"token":"t","expires_in":1,"issued_at":"2026-01-01T00:00:00Z"}"#, "t", 60),
            (r#"{"token":"t","expires_in":-5}"#, "t", 60),
            (r#"{"token":"t","expires_in":1e300}"#, "t", 86400),
            (r#"{"token":"t","expires_in":null,"scope":"x"}"#, "t", 60),
        ] {
            let answer = parse(json.as_bytes()).unwrap();
            assert_eq!(
                (answer.token.as_str(), answer.lifetime),
                (token, Duration::from_secs(seconds)),
                "{json}"
            );
        }
        for json in
            ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":7}"#, r#"{"token":"é"}"#]
        {
            assert!(matches!(parse(json.as_bytes()), Err(Cause::Invalid { .. })), "{json}");
        }
    }
}
