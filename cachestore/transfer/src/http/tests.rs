use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::*;
use crate::testing::{Answer, Server, client, repository, repository_for, write_hosts};
use crate::{Error, Fixed};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

#[test]
fn redirects_are_resolved_and_bounded_in_kind() {
    let from = Url::parse("https://r.example/v2/a/blobs/x").unwrap();
    for (location, may_leave_tls, expected) in [
        ("/y?sig=1", false, Some("https://r.example/y?sig=1")),
        ("//cdn.example/y", false, Some("https://cdn.example/y")),
        ("https://cdn.example:8443/y", false, Some("https://cdn.example:8443/y")),
        ("http://cdn.example/y", true, Some("http://cdn.example/y")),
        ("http://cdn.example/y", false, None),
        ("ftp://cdn.example/y", true, None),
        ("file:///etc/passwd", true, None),
        ("https://user:word@cdn.example/", true, None),
        ("https://[", true, None),
    ] {
        let found = target(&from, location.as_bytes(), may_leave_tls).ok().map(String::from);
        assert_eq!(found.as_deref(), expected, "{location}");
    }
    assert!(target(&from, b"\xff", true).is_err());
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|seen| Answer::redirect(&format!("{}x", seen.target))).await;
    let error = repository(&server.host, "a").await.resolve().await.unwrap_err();
    assert!(error.to_string().ends_with("it redirected more than 10 times"), "{error}");
    assert_eq!(server.seen().len(), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn a_host_that_a_redirect_names_is_named_when_it_fails() {
    let server = Server::start(|_| Answer::redirect("http://127.0.0.1:1/x?signature=s3cret")).await;
    let error = repository(&server.host, "a").await.resolve().await.unwrap_err();
    let expected =
        format!("cannot pull {0}/a:latest from http://{0}: 127.0.0.1:1: connection refused", server.host);
    assert_eq!(error.to_string(), expected);
    assert!(!format!("{error:?}").contains("s3cret"), "signed URLs stay out of errors");
}

#[tokio::test]
async fn a_header_of_the_file_goes_to_its_endpoint_only() {
    let storage = Server::start(|_| Answer::ok(MANIFEST)).await;
    let elsewhere = storage.url();
    let registry = Server::start(move |_| Answer::redirect(&elsewhere)).await;
    let root = tempfile::tempdir().unwrap();
    write_hosts(root.path(), "r.example", &format!("server = '{}'\n[header]\nX-Key = 'k3y'", registry.url()));
    let client = client(vec![root.path().to_owned()]);
    repository_for(&client, "r.example", "a", Fixed::anonymous()).await.resolve().await.unwrap();
    assert_eq!(registry.seen()[0].header("x-key"), Some("k3y"));
    assert_eq!(storage.seen()[0].header("x-key"), None);
}

/// An authority, and a certificate of it for 127.0.0.1 that serves both sides.
struct Pki {
    authority: rcgen::Certificate,
    leaf: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Pki {
    fn new() -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".into()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        Self { authority, leaf, key }
    }

    fn acceptor(&self, wants_client: bool) -> TlsAcceptor {
        client(Vec::new()); // installs the provider of cryptography
        let builder = ServerConfig::builder();
        let builder = if wants_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = builder.with_single_cert(vec![self.leaf.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn write(&self, directory: &Path) {
        for (name, text) in [
            ("ca.pem", self.authority.pem()),
            ("client.cert", self.leaf.pem()),
            ("client.key", self.key.serialize_pem()),
        ] {
            let mut file = std::fs::File::create(directory.join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        }
    }
}

#[tokio::test]
async fn tls_is_verified_by_what_the_file_names() {
    let pki = Pki::new();
    let server =
        |wants_client| Server::start_with(|_| Answer::ok(MANIFEST), Some(pki.acceptor(wants_client)));
    let (open, closed) = (server(false).await, server(true).await);
    let root = tempfile::tempdir().unwrap();
    write_hosts(root.path(), "r.example", "");
    pki.write(&root.path().join("r.example"));
    let client = client(vec![root.path().to_owned()]);
    let pair = "client = [['client.cert', 'client.key']]\nca = 'ca.pem'";
    for (server, settings, expected) in [
        (&open, "", Err("certificate")),
        (&open, "ca = 'ca.pem'", Ok(())),
        (&open, "skip_verify = true", Ok(())),
        (&closed, "ca = 'ca.pem'", Err("")),
        (&closed, pair, Ok(())),
    ] {
        write_hosts(root.path(), "r.example", &format!("server = 'https://{}'\n{settings}", server.host));
        let repository = repository_for(&client, "r.example", "a", Fixed::anonymous()).await;
        match (repository.resolve().await, expected) {
            (Ok(resolved), Ok(())) => assert_eq!(resolved.endpoint, format!("https://{}", server.host)),
            (Err(error), Err(problem)) => {
                assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
                assert!(error.to_string().contains(problem), "{settings}: {error}");
            }
            (found, _) => panic!("{settings}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_from_tls_to_plain_http_is_for_checked_content_only() {
    let pki = Pki::new();
    let storage = Server::start(|_| Answer::ok(MANIFEST)).await;
    let elsewhere = storage.url();
    let registry = Server::start_with(move |_| Answer::redirect(&elsewhere), Some(pki.acceptor(false))).await;
    let root = tempfile::tempdir().unwrap();
    write_hosts(
        root.path(),
        "r.example",
        &format!("server = 'https://{}'\nskip_verify = true", registry.host),
    );
    let client = client(vec![root.path().to_owned()]);
    let repository = repository_for(&client, "r.example", "a", Fixed::anonymous()).await;
    let error = repository.resolve().await.unwrap_err().to_string();
    assert!(
        error.ends_with("it redirected from https to http, where the answer could not be trusted"),
        "{error}"
    );
    assert_eq!(storage.seen().len(), 0);
    repository.manifest_by_digest(cachestore::digest::Digest::of(MANIFEST)).await.unwrap();
    assert_eq!(storage.seen().len(), 1);
}

/// The proxy variables count, but not for loopback. They belong to a process, so the test runs itself in another one,
/// whose environment has them.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_except_for_loopback() {
    const REGISTRY: &str = "TRANSFER_TEST_REGISTRY";
    if let Ok(registry) = std::env::var(REGISTRY) {
        repository(&registry, "direct").await.resolve().await.unwrap();
        let root = tempfile::tempdir().unwrap();
        write_hosts(root.path(), "r.example", "server = 'http://r.example'");
        write_hosts(root.path(), "n.example", "server = 'http://n.example'");
        let client = client(vec![root.path().to_owned()]);
        repository_for(&client, "r.example", "proxied", Fixed::anonymous()).await.resolve().await.unwrap();
        repository_for(&client, "n.example", "excepted", Fixed::anonymous())
            .await
            .resolve()
            .await
            .unwrap_err();
        return;
    }
    let (registry, proxy) =
        (Server::start(|_| Answer::ok(MANIFEST)).await, Server::start(|_| Answer::ok(MANIFEST)).await);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "http::tests::the_proxy_of_the_environment_is_used_except_for_loopback"]);
    command.env(REGISTRY, &registry.host).env("HTTP_PROXY", proxy.url()).env("no_proxy", "n.example");
    command.env_remove("NO_PROXY").env_remove("REQUEST_METHOD");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(registry.targets(), ["GET /v2/direct/manifests/latest"]);
    assert_eq!(proxy.targets(), ["GET http://r.example/v2/proxied/manifests/latest"]);
}
