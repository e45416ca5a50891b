//! The grammar of `WWW-Authenticate` (RFC 9110, section 11.6.1). Pure, and safe on hostile bytes.

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The longest header that is read; a longer one is as good as none.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// The largest number of challenges, and of parameters of one, that are looked at.
const MAX_CHALLENGES: usize = 8;
const MAX_PARAMETERS: usize = 16;

/// How a registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user name and a password (RFC 7617).
    Basic,
    /// A token of a token service (distribution's token specification).
    Bearer(Bearer),
}

/// Where tokens come from and what they have to be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) realm: Url,
    pub(crate) service: String,
    /// Scopes, separated by spaces; empty if the registry does not say.
    pub(crate) scope: String,
}

/// Returns the challenge to answer: a token is preferred, because a password then goes to the token service only.
pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE).iter().take(MAX_CHALLENGES) {
        for challenge in parse(&String::from_utf8_lossy(value.as_bytes())) {
            match challenge {
                Challenge::Bearer(_) => return Some(challenge),
                Challenge::Basic => basic = Some(challenge),
            }
        }
    }
    basic
}

/// Returns the challenges of one header that can be answered; reading stops at the first byte that is out of place.
fn parse(header: &str) -> Vec<Challenge> {
    if header.len() > MAX_HEADER_BYTES {
        return Vec::new();
    }
    let mut reader = Reader { rest: header };
    let mut challenges = Vec::new();
    for _ in 0..MAX_CHALLENGES {
        reader.skip(" \t,");
        let scheme = reader.token();
        if scheme.is_empty() {
            break;
        }
        let parameters = reader.parameters();
        let find = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let bearer = realm(&find("realm")).map(|realm| Bearer {
                realm,
                service: find("service"),
                scope: find("scope"),
            });
            challenges.extend(bearer.map(Challenge::Bearer));
        }
    }
    challenges
}

/// A realm with a user name in it would make us send what the registry chose instead of what the user gave.
fn realm(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain =
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    plain.then_some(url)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, characters: &str) {
        self.rest = self.rest.trim_start_matches(|c| characters.contains(c));
    }

    fn token(&mut self) -> &'a str {
        let in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !in_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    /// Reads `name=value` pairs, up to the next scheme: a token that no `=` follows.
    fn parameters(&mut self) -> Vec<(&'a str, String)> {
        let mut parameters = Vec::new();
        for _ in 0..MAX_PARAMETERS {
            let before = self.rest;
            self.skip(" \t,");
            let name = self.token();
            self.skip(" \t");
            let Some(rest) = self.rest.strip_prefix('=').filter(|_| !name.is_empty()) else {
                // After a comma it is the next challenge; directly after the scheme it is a token68, and passed over.
                let is_next =
                    before.trim_start().starts_with(',') || parameters.is_empty() && name.is_empty();
                self.rest = if is_next { before } else { self.rest };
                break;
            };
            self.rest = rest;
            // A second '=' pads a token68.
            self.skip(" \t=");
            match self.value() {
                Some(value) => parameters.push((name, value)),
                None => {
                    self.rest = "";
                    break;
                }
            }
        }
        parameters
    }

    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return Some(self.token().to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: Url::parse(realm).unwrap(),
            service: service.into(),
            scope: scope.into(),
        })
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        let hub_read = bearer("https://auth.example/token", "registry.example", "repository:a/b:pull");
        for (header, expected) in [
            (hub, vec![hub_read.clone()]),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (&format!("Basic realm=x, {hub}"), vec![Challenge::Basic, hub_read.clone()]),
            (
                &format!("{hub}, error=\"invalid_token\", Basic realm=\"x\""),
                vec![hub_read.clone(), Challenge::Basic],
            ),
            ("Negotiate, Basic realm=x", vec![Challenge::Basic]),
            ("Negotiate YWJj==, Basic realm=x", vec![Challenge::Basic]),
            ("BEARER REALM = \"https://a/t\" , Service=s", vec![bearer("https://a/t", "s", "")]),
            (
                r#"Bearer realm="https://a/t",service="a \"b\", c=d""#,
                vec![bearer("https://a/t", "a \"b\", c=d", "")],
            ),
            (
                r#"Bearer realm="https://a/t?x=1",realm="https://evil/""#,
                vec![bearer("https://a/t?x=1", "", "")],
            ),
            (r#", ,Bearer realm="http://a/t","#, vec![bearer("http://a/t", "", "")]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn hostile_headers_give_nothing() {
        let long = format!("Bearer realm=\"https://a/{}\"", "x".repeat(MAX_HEADER_BYTES));
        let many = "a,".repeat(MAX_CHALLENGES) + "Basic";
        for header in [
            "",
            ",",
            "=",
            "\"",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"https://a",
            "Bearer realm=\"https://a\\",
            "Bearer realm=\"/token\"",
            "Bearer realm=\"file:///etc/passwd\"",
            "Bearer realm=\"https://user@a/t\"",
            "Bearer service=\"s\"",
            "Digest realm=\"x\"",
            "\u{fffd}Basic",
            &long,
            &many,
        ] {
            assert_eq!(parse(header), [], "{header}");
        }
    }

    #[test]
    fn a_token_is_preferred() {
        let mut headers = HeaderMap::new();
        assert_eq!(choose(&headers), None);
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        assert_eq!(choose(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a/t\"".parse().unwrap());
        assert_eq!(choose(&headers), Some(bearer("https://a/t", "", "")));
    }
}
