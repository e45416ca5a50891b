use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachestore::oci::manifest::Document;

use super::*;
use crate::testing::{
    Answer, Seen, Server, blob, client, client_with, limits, repository, repository_for, write_hosts,
};
use crate::{Cause, Config, Credentials, Fixed, Limits};

const INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Nobody listens there.
const REFUSED: &str = "127.0.0.1:1";

fn index() -> Answer {
    Answer::ok(INDEX).header("Content-Type", INDEX_TYPE)
}

fn missing() -> Answer {
    Answer::new(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
}

/// Makes a pull of `r.example/app:1`, whose endpoints are these servers in this order.
async fn with_endpoints(servers: &[&str], credentials: impl Credentials + 'static) -> Repository {
    let root = tempfile::tempdir().unwrap();
    let (last, mirrors) = servers.split_last().unwrap();
    let mirrors: String = mirrors.iter().map(|host| format!("[host.'http://{host}']\n")).collect();
    write_hosts(root.path(), "r.example", &format!("server = 'http://{last}'\n{mirrors}"));
    let client = client(vec![root.path().to_owned()]);
    repository_for(&client, "r.example", "app:1", credentials).await
}

#[tokio::test]
async fn a_tag_is_resolved_to_a_document_and_its_digest() {
    let server =
        Server::start(|_| index().header("Docker-Content-Digest", &Digest::of(INDEX).to_string())).await;
    let resolved = repository(&server.host, "a/b:1").await.resolve().await.unwrap();
    assert_eq!((resolved.digest, &resolved.bytes[..]), (Digest::of(INDEX), INDEX));
    assert_eq!(
        (resolved.media_type.as_deref(), resolved.endpoint.as_str()),
        (Some(INDEX_TYPE), &*server.url())
    );
    assert!(matches!(resolved.document().unwrap(), Document::Index(_)));
    let [seen] = &server.seen()[..] else { panic!() };
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/v2/a/b/manifests/1"));
    assert_eq!(seen.header("accept"), Some(&*ACCEPTED.join(", ")));
    assert_eq!((seen.header("authorization"), seen.header("accept-encoding")), (None, Some("identity")));
    assert!(seen.header("user-agent").unwrap().starts_with("shim/"));
}

#[tokio::test]
async fn types_that_say_nothing_are_left_out() {
    for (header, expected) in [
        (
            "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8",
            Some("application/vnd.docker.distribution.manifest.v2+json"),
        ),
        ("text/plain; charset=utf-8", None),
        ("application/octet-stream", None),
        ("application/json", None),
    ] {
        let server = Server::start(move |_| Answer::ok(INDEX).header("Content-Type", header)).await;
        let resolved = repository(&server.host, "a").await.resolve().await.unwrap();
        assert_eq!(resolved.media_type.as_deref(), expected, "{header}");
    }
}

#[tokio::test]
async fn a_reference_with_a_digest_is_fetched_and_held_to_it() {
    let server = Server::start(|_| index()).await;
    let (right, wrong) = (Digest::of(INDEX), Digest::of(b"other"));
    let resolve = async |digest| repository(&server.host, &format!("a:1@{digest}")).await.resolve().await;
    assert_eq!(resolve(right).await.unwrap().digest, right);
    let error = resolve(wrong).await.unwrap_err();
    let expected = format!(
        "cannot pull {0}/a:1@{wrong} from http://{0}: the manifest has digest {right} and not {wrong}",
        server.host
    );
    assert!(matches!(error, Error::Invalid { .. }));
    assert_eq!(error.to_string(), expected);
    let found = repository(&server.host, "a").await.manifest_by_digest(right).await.unwrap();
    assert_eq!(found.bytes, INDEX);
    let digests = [right, wrong, right].map(|digest| format!("GET /v2/a/manifests/{digest}"));
    assert_eq!(server.targets(), digests);
}

#[tokio::test]
async fn a_registry_that_contradicts_itself_or_sends_too_much_is_refused() {
    let other = Digest::of(b"other").to_string();
    let huge = vec![b' '; usize::try_from(MAX_DOCUMENT_BYTES).unwrap() + 1];
    for (answer, problem) in [
        (index().header("Docker-Content-Digest", &other), format!("and not {other}")),
        (index().header("Docker-Content-Digest", "sha256:../../x"), "invalid digest".into()),
        (Answer::ok(huge.clone()), format!("the answer is larger than {MAX_DOCUMENT_BYTES} bytes")),
        (Answer::ok(huge).chunked(), format!("the answer is larger than {MAX_DOCUMENT_BYTES} bytes")),
        (Answer::new(302), "302 Found".into()),
        (
            Answer::new(400).body("Client sent an HTTP request to an HTTPS server."),
            "400 Bad Request: Client sent".into(),
        ),
    ] {
        let server = Server::start(move |_| answer.clone()).await;
        let error = repository(&server.host, "a").await.resolve().await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(&problem), "{error}");
        assert_eq!(server.seen().len(), 1, "wrong bytes are not asked for twice");
    }
}

#[tokio::test]
async fn the_header_tells_a_digest_and_the_document_does_where_it_cannot() {
    let other = Digest::of(b"other");
    let named = other.to_string();
    for (head, expected, targets) in [
        (Answer::new(200).header("Docker-Content-Digest", &named), other, &["HEAD"][..]),
        (Answer::new(200), Digest::of(INDEX), &["HEAD", "GET"]),
        (Answer::new(405), Digest::of(INDEX), &["HEAD", "GET"]),
    ] {
        let server =
            Server::start(move |seen| if seen.method == "HEAD" { head.clone() } else { index() }).await;
        assert_eq!(repository(&server.host, "a:1").await.head().await.unwrap(), expected);
        let targets: Vec<_> = targets.iter().map(|method| format!("{method} /v2/a/manifests/1")).collect();
        assert_eq!(server.targets(), targets);
    }
    let server = Server::start(|_| Answer::new(404)).await;
    assert!(repository(&server.host, "a").await.head().await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn mirrors_come_first_and_failures_are_collected() {
    let (mirror, upstream) = (Server::start(|_| missing()).await, Server::start(|_| index()).await);
    let found = with_endpoints(&[REFUSED, &mirror.host, &upstream.host], Fixed::anonymous()).await;
    assert_eq!(found.resolve().await.unwrap().endpoint, upstream.url());
    assert_eq!(mirror.targets(), ["GET /v2/app/manifests/1?ns=r.example"]);

    let repository = with_endpoints(&[REFUSED, &mirror.host], Fixed::anonymous()).await;
    let error = repository.resolve().await.unwrap_err();
    let expected = format!(
        "cannot pull r.example/app:1 from http://{REFUSED}: connection refused; from {}: not found: MANIFEST_UNKNOWN manifest unknown",
        mirror.url()
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, Error::Unavailable { .. }), "the mirror that is down might have it");
}

#[tokio::test]
async fn the_kind_of_error_is_what_the_caller_can_do() {
    type Is = fn(&Error) -> bool;
    let not_found: Is = |error| matches!(error, Error::NotFound { .. });
    let unauthorized: Is = |error| matches!(error, Error::Unauthorized { .. });
    let unavailable: Is = |error| matches!(error, Error::Unavailable { .. });
    let invalid: Is = |error| matches!(error, Error::Invalid { .. });
    for (mirror, upstream, is_right) in [
        (404, 404, not_found),
        (404, 401, unauthorized),
        (404, 403, unauthorized),
        (401, 404, unauthorized),
        (500, 404, unavailable),
        (401, 503, unavailable),
        (503, 401, unauthorized),
        (200, 404, invalid),
        (404, 418, invalid),
    ] {
        let answering =
            |status| Server::start(move |_| Answer::new(status).header("Docker-Content-Digest", "x"));
        let (first, second) = (answering(mirror).await, answering(upstream).await);
        let repository = with_endpoints(&[&first.host, &second.host], Fixed::anonymous()).await;
        let error = repository.resolve().await.unwrap_err();
        assert!(is_right(&error), "{mirror} {upstream}: {error:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_failed_is_asked_last_from_then_on() {
    let (down, up) = (Server::start(|_| Answer::new(500)).await, Server::start(|_| index()).await);
    let repository = with_endpoints(&[&down.host, &up.host], Fixed::anonymous()).await;
    for _ in 0..3 {
        repository.clone().resolve().await.unwrap();
    }
    assert_eq!((down.seen().len(), up.seen().len()), (1, 3));
}

#[tokio::test]
async fn tags_are_resolved_only_where_that_is_allowed() {
    let root = tempfile::tempdir().unwrap();
    let (mirror, upstream) = (Server::start(|_| index()).await, Server::start(|_| index()).await);
    let hosts = format!("server = '{}'\n[host.'{}']\ncapabilities = ['pull']", upstream.url(), mirror.url());
    write_hosts(root.path(), "r.example", &hosts);
    let client = client(vec![root.path().to_owned()]);
    let repository = repository_for(&client, "r.example", "app", Fixed::anonymous()).await;
    let resolved = repository.resolve().await.unwrap();
    repository.manifest_by_digest(resolved.digest).await.unwrap();
    assert_eq!((upstream.seen().len(), mirror.seen().len()), (1, 1));

    let hosts = format!("server = '{}'\ncapabilities = ['push']", upstream.url());
    write_hosts(root.path(), "r.example", &hosts);
    let repository = repository_for(&client, "r.example", "app", Fixed::anonymous()).await;
    let error = repository.resolve().await.unwrap_err().to_string();
    assert_eq!(error, "cannot pull r.example/app:latest: no registry endpoint may serve this");
}

/// Answers as the first function for so many requests, and then as it should.
fn after(
    failures: usize,
    fail: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Answer {
    let count = AtomicUsize::new(0);
    move |seen| if count.fetch_add(1, Ordering::SeqCst) < failures { fail(seen) } else { index() }
}

#[tokio::test]
async fn what_may_pass_is_waited_for_at_the_last_endpoint() {
    for (fail, failures, requests) in [
        (Answer::new(503), 2, 3),
        (Answer::new(502), 1, 2),
        (Answer::new(429).header("Retry-After", "0"), 2, 3),
        (Answer::ok(INDEX).cut_after(10), 1, 2),
    ] {
        let server = Server::start(after(failures, move |_| fail.clone())).await;
        repository(&server.host, "a").await.resolve().await.unwrap();
        assert_eq!(server.seen().len(), requests);
    }
    for (fail, requests) in [
        (Answer::new(503), 3),
        (Answer::new(429), 1),
        (Answer::new(429).header("Retry-After", "3600"), 1),
        (Answer::new(404), 1),
    ] {
        let server = Server::start(after(9, move |_| fail.clone())).await;
        repository(&server.host, "a").await.resolve().await.unwrap_err();
        assert_eq!(server.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_quota_is_reported_with_its_end() {
    let body =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    let server = Server::start(move |_| Answer::new(429).header("Retry-After", "3600").body(body)).await;
    let error = repository(&server.host, "a:1").await.resolve().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    let expected =
        "429 Too Many Requests: TOOMANYREQUESTS You have reached your pull rate limit. (retry after 3600 s)";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert!(matches!(error, Error::Unavailable { .. }));
}

#[tokio::test]
async fn the_body_of_a_refusal_is_bounded() {
    let server = Server::start(|_| Answer::new(400).body(vec![b'x'; 1 << 20])).await;
    let error = repository(&server.host, "a").await.resolve().await.unwrap_err();
    let Error::Invalid { attempts, .. } = &error else { panic!("{error:?}") };
    let [attempt] = &attempts.iter().collect::<Vec<_>>()[..] else { panic!() };
    assert!(
        matches!(&attempt.cause, Cause::Status { status: 400, message, .. } if message.chars().count() == 301)
    );
}

#[tokio::test]
async fn small_blobs_are_read_whole_and_checked() {
    let (bytes, right) = blob(5000);
    let wrong: Vec<u8> = bytes.iter().rev().copied().collect();
    let (bad, good) = (Server::start(move |_| Answer::ok(wrong.clone())).await, {
        let bytes = bytes.clone();
        Server::start(move |_| Answer::ok(bytes.clone())).await
    });
    let repository = with_endpoints(&[&bad.host, &good.host], Fixed::anonymous()).await;
    assert_eq!(repository.blob_bytes(&right, 5000).await.unwrap(), bytes, "the bad mirror is passed over");
    let refused = repository.blob_bytes(&right, 4999).await.unwrap_err().to_string();
    let digest = right.digest;
    assert_eq!(
        refused,
        format!("cannot pull blob {digest} of r.example/app: it has 5000 bytes, and 4999 are the limit")
    );

    let repository = with_endpoints(&[&bad.host], Fixed::anonymous()).await;
    let error = repository.blob_bytes(&right, 5000).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    let tried = bad.seen().len();
    assert_eq!(tried, 2, "once for each pull, and not for ever");

    let other = Server::start(move |_| Answer::ok(vec![0; 5000])).await;
    let repository = with_endpoints(&[&bad.host, &other.host], Fixed::anonymous()).await;
    let error = repository.blob_bytes(&right, 5000).await.unwrap_err().to_string();
    assert!(error.contains(&bad.url()) && error.contains(&other.url()), "{error}");
}

#[tokio::test]
async fn pulls_of_one_client_share_connections() {
    let server = Server::start(|_| index()).await;
    let client = client(Vec::new());
    for name in ["a", "b", "c"] {
        let repository = repository_for(&client, &server.host, name, Fixed::anonymous()).await;
        repository.resolve().await.unwrap();
    }
    let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 0]);
}

#[tokio::test]
async fn a_document_that_does_not_end_is_given_up() {
    let server = Server::start(|_| index().stall_after(10)).await;
    let limits = Limits { response_timeout: Duration::from_millis(500), ..limits() };
    let client = client_with(Config { limits, ..Config::default() });
    let repository = repository_for(&client, &server.host, "a", Fixed::anonymous()).await;
    let error = repository.resolve().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().ends_with("no end of the answer within 500ms"), "{error}");
}

#[tokio::test]
async fn the_best_endpoint_left_is_waited_for_and_not_the_one_that_failed() {
    let (down, shaky) =
        (Server::start(|_| Answer::new(500)).await, Server::start(after(4, |_| Answer::new(503))).await);
    let repository = with_endpoints(&[&down.host, &shaky.host], Fixed::anonymous()).await;
    let error = repository.resolve().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!((down.seen().len(), shaky.seen().len()), (1, 3));
    repository.resolve().await.unwrap();
    assert_eq!(
        (down.seen().len(), shaky.seen().len()),
        (2, 5),
        "all have failed: the order of the file again"
    );

    let count = AtomicUsize::new(0);
    let shaky = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        1 | 2 => Answer::new(503),
        _ => index(),
    })
    .await;
    let repository = with_endpoints(&[&down.host, &shaky.host], Fixed::anonymous()).await;
    repository.resolve().await.unwrap();
    repository.resolve().await.unwrap();
    assert_eq!((down.seen().len(), shaky.seen().len()), (3, 4));
}
