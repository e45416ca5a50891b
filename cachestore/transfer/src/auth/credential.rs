//! Credentials, and where they come from.

use std::fmt;

use futures::future::BoxFuture;

use crate::error::BoxError;

/// The user name under which docker's credential helpers hand out an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";

/// What proves to a registry who asks. Its `Debug` form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name, and a password or access token.
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token of the registry's token service.
    IdentityToken(String),
    /// A bearer token for the registry itself.
    RegistryToken(String),
}

impl Credential {
    /// Returns what a user name and a secret stand for: docker's helpers mark an identity token with the user `<token>`.
    pub fn from_login(username: impl Into<String>, secret: impl Into<String>) -> Self {
        match (username.into(), secret.into()) {
            (username, token) if username.is_empty() || username == IDENTITY_TOKEN_USER => {
                Self::IdentityToken(token)
            }
            (username, password) => Self::Password { username, password },
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}

/// Knows which credentials belong to which registry host.
pub trait Credentials: Send + Sync {
    /// Returns the credentials for a host, or nothing if it has to do without.
    ///
    /// The host is written as in image names, with its port if it has one: `docker.io`, `registry.example:5000`; for a
    /// mirror it is the mirror's own. It is asked for when the host has demanded credentials, and not again in the same
    /// pull once there was an answer.
    ///
    /// # Errors
    /// Whatever keeps the answer from being found; the endpoint is then given up.
    fn credential<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, BoxError>>;
}

/// Credentials for one host, known beforehand, or for none.
#[derive(Debug)]
pub struct Fixed(Option<(String, Credential)>);

impl Fixed {
    /// Returns credentials for this host, written as in image names.
    pub fn new(host: impl Into<String>, credential: Credential) -> Self {
        Self(Some((host.into(), credential)))
    }

    /// Returns no credentials.
    pub fn anonymous() -> Self {
        Self(None)
    }
}

impl Credentials for Fixed {
    fn credential<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, BoxError>> {
        let own = self.0.as_ref().filter(|(own_host, _)| own_host == host);
        Box::pin(std::future::ready(Ok(own.map(|(_, credential)| credential.clone()))))
    }
}

/// Credentials that a function finds when they are wanted.
pub struct Asked<F>(F);

impl<F> Asked<F> {
    /// Wraps a function from a host to its credentials.
    pub fn new(find: F) -> Self {
        Self(find)
    }
}

impl<F> fmt::Debug for Asked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl<F, Answer> Credentials for Asked<F>
where
    F: Fn(String) -> Answer + Send + Sync,
    Answer: Future<Output = Result<Option<Credential>, BoxError>> + Send + 'static,
{
    fn credential<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, BoxError>> {
        Box::pin((self.0)(host.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (credential, shown) in [
            (Credential::from_login("ann", "s3cret"), r#"Password("ann", …)"#),
            (Credential::from_login("<token>", "s3cret"), "IdentityToken(…)"),
            (Credential::from_login("", "s3cret"), "IdentityToken(…)"),
            (Credential::RegistryToken("s3cret".into()), "RegistryToken(…)"),
        ] {
            assert_eq!(format!("{credential:?}"), shown);
            let fixed = Fixed::new("r.example", credential);
            assert!(!format!("{fixed:?}").contains("s3cret"));
        }
    }

    #[tokio::test]
    async fn fixed_credentials_are_for_one_host() {
        let credential = Credential::from_login("ann", "s3cret");
        let fixed = Fixed::new("r.example:5000", credential.clone());
        for (host, expected) in
            [("r.example:5000", Some(credential)), ("r.example", None), ("docker.io", None)]
        {
            assert_eq!(fixed.credential(host).await.unwrap(), expected, "{host}");
        }
        assert_eq!(Fixed::anonymous().credential("docker.io").await.unwrap(), None);
    }
}
