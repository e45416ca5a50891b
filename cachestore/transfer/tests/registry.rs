//! The client against a real registry: Debian's `docker-registry`, on loopback.
//!
//! Not part of a plain `cargo test`; run it with `cargo test -p transfer --test registry`.

#![expect(clippy::unwrap_used, reason = "all of this file is tests, which clippy does not see")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};

use bytes::Bytes;
use cachestore::digest::Digest;
use cachestore::oci::manifest::{BlobRef, Document, OCI_CONFIG, OCI_MANIFEST};
use tempfile::TempDir;
use transfer::{Client, Config, Credential, Error, Fixed, Repository, Verifier};

const PROGRAM: &str = "/usr/bin/docker-registry";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The password `s3cret` of the user `ann`, as bcrypt.
const HTPASSWD: &str = "ann:$2a$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

/// A running registry; it ends when this is dropped.
struct Registry {
    child: Child,
    host: String,
    directory: PathBuf,
}

impl Registry {
    /// Starts a registry whose files are in a directory; `more` is added to its configuration.
    fn start(directory: &Path, address: &str, http: &str, more: &str) -> Self {
        let configuration = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp: {{addr: \"{address}\"{http}}}\n{more}\n",
            directory.display()
        );
        write(&directory.join("config.yml"), &configuration);
        let mut child = Command::new(PROGRAM)
            .arg("serve")
            .arg(directory.join("config.yml"))
            .stdout(File::options().create(true).append(true).open(directory.join("access.log")).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {error}; install Debian's package docker-registry"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.by_ref().find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ',']).next()?.to_owned())
        });
        // What it says later would otherwise fill the pipe and hold it up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, host: said.expect("the registry listens"), directory: directory.to_owned() }
    }

    fn plain(directory: &TempDir) -> Self {
        Self::start(directory.path(), "127.0.0.1:0", "", "")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn client(host_dirs: Vec<PathBuf>) -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    Client::new(Config { host_dirs, ..Config::default() }).unwrap()
}

async fn repository(client: &Client, reference: &str, credentials: Fixed) -> Repository {
    client.repository(&reference.parse().unwrap(), Arc::new(credentials)).await.unwrap()
}

/// An image whose layers do not compress to nothing, as a pusher sends it.
struct Image {
    config: Bytes,
    layers: Vec<Bytes>,
    manifest: Bytes,
    index: Bytes,
}

impl Image {
    fn new(layer_sizes: &[usize]) -> Self {
        let config = Bytes::from_static(
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
        );
        let layers: Vec<Bytes> =
            layer_sizes.iter().enumerate().map(|(seed, size)| noise(seed as u64 + 1, *size)).collect();
        let describe = |media_type: &str, bytes: &Bytes| serde_json::json!({ "mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len() });
        let described: Vec<_> = layers.iter().map(|layer| describe(LAYER, layer)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": describe(OCI_CONFIG, &config), "layers": described,
        });
        let manifest = Bytes::from(manifest.to_string());
        let mut child = describe(OCI_MANIFEST, &manifest);
        child["platform"] = serde_json::json!({ "os": "linux", "architecture": "amd64" });
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [child] });
        Self { config, layers, manifest, index: Bytes::from(index.to_string()) }
    }

    /// Pushes the image as `app:1`, with the distribution specification's own words and not with the client's.
    async fn push(&self, registry: &Registry, http: &reqwest::Client, scheme: &str) {
        let base = format!("{scheme}://{}/v2/app", registry.host);
        let send = async |request: reqwest::RequestBuilder| {
            let answer = request.basic_auth("ann", Some("s3cret")).send().await.unwrap();
            assert!(answer.status().is_success(), "{} {:?}", answer.status(), answer.url());
            answer
        };
        for blob in self.layers.iter().chain([&self.config]) {
            let started = send(http.post(format!("{base}/blobs/uploads/"))).await;
            let mut place: reqwest::Url = started.headers()["location"].to_str().unwrap().parse().unwrap();
            place.query_pairs_mut().append_pair("digest", &Digest::of(blob).to_string());
            let octets = ("content-type", "application/octet-stream");
            send(http.put(place).header(octets.0, octets.1).body(blob.clone())).await;
        }
        for (tag, media_type, document) in [
            (Digest::of(&self.manifest).to_string(), OCI_MANIFEST, &self.manifest),
            ("1".into(), INDEX, &self.index),
        ] {
            let url = format!("{base}/manifests/{tag}");
            send(http.put(url).header("content-type", media_type).body(document.clone())).await;
        }
    }

    /// Pulls the image through the client, all layers at once, and compares every byte.
    async fn check(&self, repository: &Repository) {
        let resolved = repository.resolve().await.unwrap();
        assert_eq!((&resolved.bytes, resolved.media_type.as_deref()), (&self.index, Some(INDEX)));
        let Document::Index(index) = resolved.document().unwrap() else { panic!("not an index") };
        let child = BlobRef::from_oci(&index.manifests()[0]).unwrap();
        let resolved = repository.manifest_by_digest(child.digest).await.unwrap();
        let Document::Manifest(manifest) = resolved.document().unwrap() else { panic!("not a manifest") };
        assert_eq!(repository.blob_bytes(&manifest.config, 1 << 20).await.unwrap(), self.config);
        let reads = manifest.layers.iter().map(|layer| read(repository, layer.blob, &[]));
        for (layer, expected) in futures::future::join_all(reads).await.iter().zip(&self.layers) {
            assert!(layer == expected);
        }
    }

    fn layer(&self, number: usize) -> BlobRef {
        let bytes = &self.layers[number];
        BlobRef { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
    }
}

fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

async fn read(repository: &Repository, blob: BlobRef, existing: &[u8]) -> Vec<u8> {
    let mut verifier = Verifier::new(blob);
    verifier.update(existing);
    let mut stream = repository.open_verified(verifier).await.unwrap();
    let mut bytes = existing.to_vec();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::plain(&directory);
    let image = Image::new(&[1, 3 << 20, 100_000, 5 << 20, 0, 65_536, 1 << 20, 70_001]);
    let client = client(Vec::new());
    image.push(&registry, &reqwest::Client::new(), "http").await;
    let found = repository(&client, &format!("{}/app:1", registry.host), Fixed::anonymous()).await;
    image.check(&found).await;
    assert_eq!(found.head().await.unwrap(), Digest::of(&image.index));
    let layer = &image.layers[1];
    assert!(read(&found, image.layer(1), &layer[..1_234_567]).await == *layer, "from the middle");

    let pinned = format!("{}/app:1@{}", registry.host, Digest::of(&image.manifest));
    let resolved = repository(&client, &pinned, Fixed::anonymous()).await.resolve().await.unwrap();
    assert_eq!((resolved.bytes, resolved.media_type.as_deref()), (image.manifest, Some(OCI_MANIFEST)));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::plain(&directory);
    let image = Image::new(&[10]);
    let client = client(Vec::new());
    image.push(&registry, &reqwest::Client::new(), "http").await;
    for (name, problem) in [("app:2", "MANIFEST_UNKNOWN"), ("other:1", "MANIFEST_UNKNOWN")] {
        let found = repository(&client, &format!("{}/{name}", registry.host), Fixed::anonymous()).await;
        let error = found.resolve().await.unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains(problem), "{error}");
        assert!(found.head().await.unwrap_err().is_not_found());
    }
    let found = repository(&client, &format!("{}/app:1", registry.host), Fixed::anonymous()).await;
    let absent = BlobRef { digest: Digest::of(b"absent"), size_bytes: 6 };
    assert!(found.open_blob(&absent, 0).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_password_opens_a_registry_that_wants_one() {
    let directory = tempfile::tempdir().unwrap();
    let passwords = directory.path().join("htpasswd");
    write(&passwords, HTPASSWD);
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}", passwords.display());
    let registry = Registry::start(directory.path(), "127.0.0.1:0", "", &auth);
    let image = Image::new(&[100_000]);
    let client = client(Vec::new());
    image.push(&registry, &reqwest::Client::new(), "http").await;
    let name = format!("{}/app:1", registry.host);
    for wrong in [Fixed::anonymous(), Fixed::new(&registry.host, Credential::from_login("ann", "wrong"))] {
        let error = repository(&client, &name, wrong).await.resolve().await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
        assert!(
            error.to_string().contains("401 Unauthorized: UNAUTHORIZED authentication required"),
            "{error}"
        );
    }
    let right = Fixed::new(&registry.host, Credential::from_login("ann", "s3cret"));
    image.check(&repository(&client, &name, right).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_http_2_are_used_where_they_are_offered() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().self_signed(&key).unwrap();
    let certificates = directory.path().join("certs.d/r.example");
    write(&certificates.join("ca.pem"), &certificate.pem());
    write(&certificates.join("key.pem"), &key.serialize_pem());
    let (ca, key) = (certificates.join("ca.pem"), certificates.join("key.pem"));
    let tls = format!(", tls: {{certificate: {}, key: {}}}", ca.display(), key.display());
    let registry = Registry::start(directory.path(), "127.0.0.1:0", &tls, "");
    write(
        &certificates.join("hosts.toml"),
        &format!("server = \"https://{}\"\nca = \"ca.pem\"", registry.host),
    );
    let image = Image::new(&[3 << 20, 5 << 20, 4 << 20, 100_000, 2 << 20, 1 << 20, 6 << 20]);
    let client = client(vec![directory.path().join("certs.d")]);
    let pusher =
        reqwest::Client::builder().tls_danger_accept_invalid_certs(true).http1_only().build().unwrap();
    image.push(&registry, &pusher, "https").await;
    image.check(&repository(&client, "r.example/app:1", Fixed::anonymous()).await).await;
    let log = fs::read_to_string(registry.directory.join("access.log")).unwrap();
    let pulled = log.lines().filter(|line| line.contains("\"GET /v2/app/manifests/1"));
    let versions: Vec<_> = pulled.map(|line| line.contains("HTTP/2.0\"")).collect();
    assert_eq!(versions, [true], "{log}");
}

#[tokio::test]
async fn a_mirror_serves_what_the_registry_has() {
    let (upstream_files, mirror_files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let upstream = Registry::plain(&upstream_files);
    let proxy = format!("proxy: {{remoteurl: \"http://{}\"}}", upstream.host);
    let mirror = Registry::start(mirror_files.path(), "127.0.0.1:0", "", &proxy);
    let image = Image::new(&[1 << 20, 10]);
    let client = client(vec![mirror_files.path().to_owned()]);
    image.push(&upstream, &reqwest::Client::new(), "http").await;
    let hosts = format!("server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\n", mirror.host);
    write(&mirror_files.path().join("r.example/hosts.toml"), &hosts);
    let found = repository(&client, "r.example/app:1", Fixed::anonymous()).await;
    image.check(&found).await;
    assert_eq!(found.resolve().await.unwrap().endpoint, format!("http://{}", mirror.host));
}

#[tokio::test]
async fn a_registry_that_is_restarted_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::plain(&directory);
    // More than the sockets between the two can hold.
    let image = Image::new(&[64 << 20]);
    let client = client(Vec::new());
    image.push(&registry, &reqwest::Client::new(), "http").await;
    let host = registry.host.clone();
    let found = repository(&client, &format!("{host}/app:1"), Fixed::anonymous()).await;
    let mut stream = found.open_verified(Verifier::new(image.layer(0))).await.unwrap();
    let mut bytes = stream.chunk().await.unwrap().unwrap().to_vec();
    drop(registry);
    let _registry = Registry::start(directory.path(), &host, "", "");
    while let Some(chunk) = stream.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes == image.layers[0]);
    let log = fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert!(log.contains("\" 206 "), "the second part was asked for by range");
}
