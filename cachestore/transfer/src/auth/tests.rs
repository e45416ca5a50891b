use std::sync::atomic::{AtomicUsize, Ordering};

use cachestore::oci::manifest::BlobRef;

use super::*;
use crate::testing::{Answer, Seen, Server, blob, client, repository_for, write_hosts};
use crate::{Error, Repository};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
/// `ann:s3cret` in base64.
const ANN: &str = "Basic YW5uOnMzY3JldA==";

fn ann() -> Credential {
    Credential::from_login("ann", "s3cret")
}

fn bearer(realm: &str) -> Answer {
    Answer::challenge(&format!(
        r#"Bearer realm="{realm}/token",service="registry",scope="repository:app:pull""#
    ))
}

/// A token service: the token names who asked.
fn tokens(lifetime_seconds: u32) -> impl Fn(&Seen) -> Answer {
    move |seen| {
        let who = match (seen.header("authorization"), seen.body.contains("refresh_token=r3fresh")) {
            (None, false) => "anonymous",
            (None, true) => "identity",
            (Some(ANN), _) => "ann",
            _ => return Answer::new(401).body(r#"{"details":"incorrect username or password"}"#),
        };
        Answer::ok(format!(r#"{{"token":"{who}","expires_in":{lifetime_seconds}}}"#))
    }
}

/// A registry that wants a token of this service, from one of these.
fn guarded(realm: String, allowed: &'static [&'static str]) -> impl Fn(&Seen) -> Answer {
    move |seen| {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match token.is_some_and(|token| allowed.contains(&token)) {
            true => Answer::ok(MANIFEST),
            false => bearer(&realm),
        }
    }
}

async fn pull(registry: &Server, credentials: impl Credentials + 'static) -> Repository {
    repository_for(&client(Vec::new()), &registry.host, "app", credentials).await
}

fn authorizations(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| seen.header("authorization").unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn a_password_goes_to_a_registry_that_asks_for_it() {
    let registry = Server::start(|seen| match seen.header("authorization") {
        Some(ANN) => Answer::ok(MANIFEST),
        _ => Answer::challenge(r#"Basic realm="Registry""#),
    })
    .await;
    let repository = pull(&registry, Fixed::new(&registry.host, ann())).await;
    repository.resolve().await.unwrap();
    repository.resolve().await.unwrap();
    assert_eq!(authorizations(&registry), ["-", ANN, ANN], "the second time it need not ask");
}

#[tokio::test]
async fn tokens_are_fetched_once_and_shown_unasked_from_then_on() {
    for (credential, token, method, query) in [
        (None, "anonymous", "GET", "?service=registry&scope=repository%3Aapp%3Apull"),
        (Some(ann()), "ann", "GET", "?service=registry&scope=repository%3Aapp%3Apull&account=ann"),
        (Some(Credential::IdentityToken("r3fresh".into())), "identity", "POST", ""),
    ] {
        let service = Server::start(tokens(300)).await;
        let registry = Server::start(guarded(service.url(), &["anonymous", "ann", "identity"])).await;
        let credentials =
            credential.map_or_else(Fixed::anonymous, |credential| Fixed::new(&registry.host, credential));
        let repository = pull(&registry, credentials).await;
        for _ in 0..3 {
            repository.resolve().await.unwrap();
        }
        let token = format!("Bearer {token}");
        assert_eq!(authorizations(&registry), ["-", &token, &token, &token]);
        assert_eq!(service.targets(), [format!("{method} /token{query}")]);
    }
}

#[tokio::test]
async fn a_registry_token_is_shown_as_it_is() {
    let registry = Server::start(guarded("http://127.0.0.1:1".into(), &["g1ven"])).await;
    let repository =
        pull(&registry, Fixed::new(&registry.host, Credential::RegistryToken("g1ven".into()))).await;
    repository.resolve().await.unwrap();
    assert_eq!(authorizations(&registry), ["-", "Bearer g1ven"]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let (count, current) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1)));
    let service = Server::start(move |_| {
        Answer::ok(format!(r#"{{"token":"t{}","expires_in":300}}"#, 1 + count.fetch_add(1, Ordering::SeqCst)))
    })
    .await;
    let (realm, wanted) = (service.url(), current.clone());
    let registry = Server::start(move |seen| {
        let token = format!("Bearer t{}", wanted.load(Ordering::SeqCst));
        if seen.header("authorization") == Some(&token) { Answer::ok(MANIFEST) } else { bearer(&realm) }
    })
    .await;
    let repository = pull(&registry, Fixed::anonymous()).await;
    repository.resolve().await.unwrap();
    current.store(2, Ordering::SeqCst);
    repository.resolve().await.unwrap();
    assert_eq!(authorizations(&registry), ["-", "Bearer t1", "Bearer t1", "Bearer t2"]);
    current.store(99, Ordering::SeqCst);
    let error = repository.resolve().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
    assert_eq!((registry.seen().len(), service.seen().len()), (6, 3));
}

#[tokio::test]
async fn an_expired_token_is_not_shown() {
    // The least lifetime is 60 s; so that no test waits for it, the token is made to have expired.
    let service = Server::start(tokens(300)).await;
    let registry = Server::start(guarded(service.url(), &["anonymous"])).await;
    let client = client(Vec::new());
    let repository = repository_for(&client, &registry.host, "app", Fixed::anonymous()).await;
    repository.resolve().await.unwrap();
    let places: Vec<_> = lock(&client.common().authenticator.tokens).values().cloned().collect();
    for place in &places {
        place.lock().await.as_mut().unwrap().expires = Instant::now();
    }
    repository.resolve().await.unwrap();
    assert_eq!((places.len(), service.seen().len(), registry.seen().len()), (1, 2, 3));
}

#[tokio::test]
async fn refusals_say_what_had_been_shown() {
    let service = Server::start(tokens(300)).await;
    let registry = Server::start(guarded(service.url(), &["nobody"])).await;
    let host = registry.host.clone();
    for (credentials, expected) in [
        (
            Fixed::anonymous(),
            format!(
                "401 Unauthorized: UNAUTHORIZED authentication required; no credentials for {host} were given: log in \
                 there, or check the name, since a repository that does not exist may look the same"
            ),
        ),
        (
            Fixed::new(&host, ann()),
            format!(
                "401 Unauthorized: UNAUTHORIZED authentication required; the credentials for {host} were not accepted"
            ),
        ),
        (
            Fixed::new(&host, Credential::from_login("ann", "wrong")),
            format!(
                "401 Unauthorized: incorrect username or password; the credentials for {host} were not accepted"
            ),
        ),
    ] {
        let error = pull(&registry, credentials).await.resolve().await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("cannot pull {host}/app:latest from http://{host}: {expected}")
        );
    }
}

#[tokio::test]
async fn credentials_are_asked_for_once_and_only_on_demand() {
    let open = Server::start(|_| Answer::ok(MANIFEST)).await;
    let never = Asked::new(|host| async move { Err(format!("asked for {host}").into()) });
    pull(&open, never).await.resolve().await.unwrap();

    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let counting = Asked::new(move |host: String| {
        log.lock().unwrap().push(host);
        std::future::ready(Ok(Some(ann())))
    });
    let service = Server::start(tokens(300)).await;
    let registry = Server::start(guarded(service.url(), &["ann"])).await;
    let repository = pull(&registry, counting).await;
    for _ in 0..2 {
        repository.resolve().await.unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), std::slice::from_ref(&registry.host));

    let failing = Asked::new(|_| async { Err("the helper is not installed".into()) });
    let error = pull(&registry, failing).await.resolve().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }));
    let expected = format!("cannot get credentials for {}: the helper is not installed", registry.host);
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[tokio::test]
async fn a_mirror_is_not_shown_the_credentials_of_the_registry() {
    let root = tempfile::tempdir().unwrap();
    let basic = || Server::start(|_| Answer::challenge("Basic realm=x"));
    let (mirror, upstream) = (basic().await, basic().await);
    let hosts = format!("server = '{}'\n[host.'{}']", upstream.url(), mirror.url());
    write_hosts(root.path(), &upstream.host, &hosts);
    let client = client(vec![root.path().to_owned()]);
    let repository = repository_for(&client, &upstream.host, "app", Fixed::new(&upstream.host, ann())).await;
    repository.resolve().await.unwrap_err();
    assert_eq!(authorizations(&mirror), ["-"]);
    assert_eq!(authorizations(&upstream), ["-", ANN]);

    let repository = repository_for(&client, &upstream.host, "app", Fixed::new(&mirror.host, ann())).await;
    repository.resolve().await.unwrap_err();
    assert_eq!(authorizations(&mirror), ["-", ANN], "its own it is");
    assert_eq!(authorizations(&upstream), ["-", ANN, "-"]);
}

#[tokio::test]
async fn no_credentials_follow_a_redirect_to_another_host() {
    let (bytes, wanted) = blob(3000);
    let served = bytes.clone();
    let storage = Server::start(move |_| Answer::ok(served.clone())).await;
    let elsewhere = format!("{}/signed?secret=1", storage.url());
    let registry = Server::start(move |seen| match (seen.header("authorization"), seen.target.as_str()) {
        (Some(ANN), "/here") => Answer::redirect(&elsewhere),
        (Some(ANN), _) => Answer::redirect("/here"),
        _ => Answer::challenge("Basic realm=x"),
    })
    .await;
    let repository = pull(&registry, Fixed::new(&registry.host, ann())).await;
    assert_eq!(repository.blob_bytes(&wanted, 3000).await.unwrap(), bytes);
    assert_eq!(authorizations(&registry), ["-", ANN, ANN], "to the same host they do");
    assert_eq!(authorizations(&storage), ["-"]);
}

#[tokio::test]
async fn a_storage_host_cannot_ask_for_credentials() {
    let storage = Server::start(|_| Answer::challenge("Basic realm=x")).await;
    let elsewhere = storage.url();
    let registry = Server::start(move |_| Answer::redirect(&elsewhere)).await;
    let asked = Asked::new(|host| async move { Err(format!("asked for {host}").into()) });
    let wanted = BlobRef { digest: Digest::of(b"x"), size_bytes: 1 };
    let error = pull(&registry, asked).await.blob_bytes(&wanted, 1).await.unwrap_err();
    let expected = format!(
        "from {}: {}: 401 Unauthorized: UNAUTHORIZED authentication required",
        registry.url(),
        storage.host
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test]
async fn no_credentials_go_to_a_realm_without_encryption() {
    let registry = Server::start(|_| bearer("http://tokens.example")).await;
    let error = pull(&registry, Fixed::new(&registry.host, ann())).await.resolve().await.unwrap_err();
    let expected = "it wants the credentials to be sent to http://tokens.example, without encryption";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[tokio::test]
async fn a_token_service_that_fails_is_named() {
    for (answer, problem) in [
        (Answer::new(500).body("oops"), "500 Internal Server Error: oops"),
        (Answer::new(404), ": 404 Not Found"),
        (Answer::ok("{}"), "the token service's answer holds no token"),
        (Answer::ok(vec![b' '; 1 << 20]), "the answer is larger than 262144 bytes"),
        (Answer::redirect("ftp://x/"), "it redirected to a URL that is neither http nor https"),
    ] {
        let service = Server::start(move |_| answer.clone()).await;
        let registry = Server::start(guarded(service.url(), &[])).await;
        let error = pull(&registry, Fixed::anonymous()).await.resolve().await.unwrap_err();
        assert!(error.to_string().ends_with(problem), "{error}");
        assert!(!error.is_not_found(), "it is the token that is not found");
        assert!(authorizations(&registry).iter().all(|shown| shown == "-"));
    }
}

#[test]
fn tokens_are_kept_apart_by_all_that_they_depend_on() {
    let bearer = |realm: &str, service: &str, scope: &str| Bearer {
        realm: realm.parse().unwrap(),
        service: service.into(),
        scope: scope.into(),
    };
    let base = bearer("https://a/t", "s", "x");
    let login = |username: &str, secret: &str| Some(Credential::from_login(username, secret));
    let keys: Vec<Digest> = [
        (base.clone(), None),
        (bearer("https://b/t", "s", "x"), None),
        (bearer("https://a/t", "t", "x"), None),
        (bearer("https://a/t", "s", "y"), None),
        (bearer("https://a/t", "sx", ""), None),
        (base.clone(), login("ann", "b")),
        (base.clone(), login("an", "nb")),
        (base.clone(), login("ann", "c")),
        (base.clone(), login("<token>", "ann")),
        (base.clone(), Some(Credential::RegistryToken("ann".into()))),
    ]
    .iter()
    .map(|(bearer, credential)| token_key(bearer, credential.as_ref()))
    .collect();
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(keys[0], token_key(&base, None));
}
