//! Downloads from servers that behave and from servers that do not.

use std::path::PathBuf;
use std::sync::Mutex;

use ring::digest;

use self::server::{Reply, Request, Server};
use super::*;
use crate::component::manifest::hex;
use crate::files;

mod server;

const QUICK: Limits = Limits {
    connect: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    failures: 3,
    pause: Duration::from_millis(1),
};

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A place for a file, and what is there.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("file")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn fetch(&self, server: &Server, sha256: &str) -> Result<u64> {
        self.fetch_by(&Downloader::new(QUICK), &server.url("/file"), sha256).await
    }

    async fn fetch_by(&self, downloader: &Downloader, url: &str, sha256: &str) -> Result<u64> {
        let path = self.path();
        let authority = "a test says";
        let wanted = Wanted { url, path: &path, mode: 0o755, sha256, authority, max_bytes: 1_000_000 };
        downloader.fetch(&wanted, &|_, _| {}).await
    }
}

/// Answers with a part, as a good server does.
fn part(request: &Request, whole: &[u8], tag: &str) -> Reply {
    let is_same = request.header("if-range").is_none_or(|wanted| wanted == tag);
    let reply = match request.start() {
        Some(start) if is_same && start < whole.len() => Reply::new(206)
            .header("Content-Range", &format!("bytes {start}-{}/{}", whole.len() - 1, whole.len()))
            .body(&whole[start..]),
        Some(_) if is_same => Reply::new(416).header("Content-Range", &format!("bytes */{}", whole.len())),
        _ => Reply::new(200).body(whole),
    };
    if tag.is_empty() { reply } else { reply.header("ETag", tag) }
}

#[tokio::test]
async fn a_file_is_downloaded_and_progress_told() {
    use std::os::unix::fs::PermissionsExt;
    let (place, whole) = (Place::new(), content());
    let server = Server::start(move |request| part(request, &content(), "\"a\"")).await;
    let (path, seen) = (place.path(), Mutex::new(Vec::new()));
    let (url, digest) = (server.url("/file"), sha256(&whole));
    let wanted = Wanted {
        url: &url,
        path: &path,
        mode: 0o755,
        sha256: &digest,
        authority: "a test says",
        max_bytes: whole.len() as u64,
    };
    let downloader = Downloader::new(QUICK);
    let length = downloader.fetch(&wanted, &|now, all| seen.lock().unwrap().push((now, all))).await.unwrap();
    assert_eq!(length, whole.len() as u64);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(place.names(), ["file"]);
    let seen = seen.into_inner().unwrap();
    assert_eq!((seen[0], *seen.last().unwrap()), ((0, Some(length)), (length, Some(length))));
    assert!(seen.is_sorted());
    assert_eq!(server.requests().len(), 1);
    assert!(server.requests()[0].header("user-agent").unwrap().starts_with("shim/"));
}

#[tokio::test]
async fn a_download_that_breaks_is_gone_on_with() {
    // With a tag, with a time, with neither: with parts of the same file each time.
    for tag in ["\"a\"", ""] {
        let (place, whole) = (Place::new(), content());
        let server = Server::start(move |request| {
            let reply = part(request, &content(), tag);
            // The last attempt gets all that is left.
            if request.start().unwrap_or(0) < 240_000 { reply.cut(80_000) } else { reply }
        })
        .await;
        place.fetch(&server, &sha256(&whole)).await.unwrap();
        assert_eq!(std::fs::read(place.path()).unwrap(), whole);
        let starts: Vec<_> = server.requests().iter().map(Request::start).collect();
        assert_eq!(starts, [None, Some(80_000), Some(160_000), Some(240_000)]);
        let tags: Vec<_> = server.requests().iter().map(|request| request.header("if-range")).collect();
        let expected = Some(tag.to_owned()).filter(|tag| !tag.is_empty());
        assert_eq!(tags[1..], [expected.clone(), expected.clone(), expected]);
    }
}

#[tokio::test]
async fn another_process_goes_on_where_one_gave_up() {
    let (place, whole) = (Place::new(), content());
    let broken = Server::start(|request| {
        part(request, &content(), "\"a\"").cut(100_000 - request.start().unwrap_or(0).min(99_999))
    })
    .await;
    // One byte a time is progress, but not for ever.
    let error = place.fetch(&broken, &sha256(&whole)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&broken.url("/file")), "{error}");
    let kept = std::fs::metadata(place.directory.path().join(".file.partial")).unwrap().len();
    assert!(kept > 99_000, "{kept}");
    let server = Server::start(|request| part(request, &content(), "\"a\"")).await;
    place.fetch(&server, &sha256(&whole)).await.unwrap();
    assert_eq!(std::fs::read(place.path()).unwrap(), whole);
    assert_eq!(server.requests()[0].start(), usize::try_from(kept).ok());
    assert_eq!(place.names(), ["file"]);
}

#[tokio::test]
async fn what_died_after_the_last_byte_is_not_downloaded_again() {
    let (place, whole) = (Place::new(), content());
    files::put(&place.directory.path().join(".file.partial"), &whole, 0o600).unwrap();
    let server = Server::start(|request| part(request, &content(), "\"a\"")).await;
    place.fetch(&server, &sha256(&whole)).await.unwrap();
    assert_eq!(std::fs::read(place.path()).unwrap(), whole);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_beginning_of_another_file_is_not_used() {
    let whole = content();
    // The server sees the tag, or has none and pieces both together, or knows no parts.
    for (tag, parts) in [("\"new\"", true), ("", true), ("\"new\"", false)] {
        let place = Place::new();
        files::put(&place.directory.path().join(".file.partial"), b"of an older version", 0o600).unwrap();
        if !tag.is_empty() {
            files::put(&place.directory.path().join(".file.validator"), b"\"old\"", 0o600).unwrap();
        }
        let server = Server::start(move |request| {
            if parts { part(request, &content(), tag) } else { Reply::new(200).body(&content()) }
        })
        .await;
        place.fetch(&server, &sha256(&whole)).await.unwrap();
        assert_eq!(std::fs::read(place.path()).unwrap(), whole, "{tag} {parts}");
        assert_eq!(server.requests().len(), if tag.is_empty() { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_wrong_digest_is_refused_by_name_and_nothing_is_kept() {
    let (place, whole) = (Place::new(), content());
    let server = Server::start(|request| part(request, &content(), "\"a\"")).await;
    let wanted = sha256(b"something else");
    let error = place.fetch(&server, &wanted).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    for part in [server.url("/file"), wanted, sha256(&whole), "a test says".into()] {
        assert!(text.contains(&part), "{text}");
    }
    assert_eq!(place.names(), [""; 0]);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let place = Place::new();
    let large = vec![b'x'; 1_000_001];
    for says_length in [true, false] {
        let body = large.clone();
        let server = Server::start(move |_| {
            let reply = Reply::new(200).body(&body);
            if says_length { reply } else { reply.chunked() }
        })
        .await;
        let error = place.fetch(&server, &sha256(&large)).await.unwrap_err().to_string();
        assert!(error.contains("larger than 1000000 bytes"), "{error}");
        assert!(!place.path().exists());
        assert!(place.fetch_by(&Downloader::new(QUICK), &server.url("/file"), "").await.is_err());
    }
    let server = Server::start(move |_| Reply::new(200).body(&large)).await;
    let error = Downloader::new(QUICK).text(&server.url("/text")).await.unwrap_err().to_string();
    assert!(error.contains("larger than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_is_not_waited_for() {
    let (place, whole) = (Place::new(), content());
    let limits = Limits { idle: Duration::from_millis(100), failures: 2, ..QUICK };
    let server = Server::start(|request| {
        let length = if request.start().is_none() { 1000 } else { 0 };
        part(request, &content(), "\"a\"").cut(length).stall()
    })
    .await;
    let url = server.url("/file");
    let error = place.fetch_by(&Downloader::new(limits.clone()), &url, &sha256(&whole)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("nothing came for 100ms"), "{error}");
    let server = Server::start(|_| Reply::new(200).stall()).await;
    let downloader = Downloader::new(limits);
    let error = downloader.fetch_silent(&server.url("/silent"), &place.path()).await;
    assert!(error.to_string().contains("no answer within 100ms"), "{error}");
    let answer = Downloader::new(QUICK).answers(&server.url("/silent"), Duration::from_millis(50)).await;
    assert_eq!(answer.unwrap_err(), "no answer within 50ms");
}

impl Downloader {
    /// Downloads a file that never comes.
    async fn fetch_silent(&self, url: &str, path: &Path) -> Error {
        let path = path.with_extension("silent");
        let wanted = Wanted { url, path: &path, mode: 0o644, sha256: "", authority: "", max_bytes: 1 };
        self.fetch(&wanted, &|_, _| {}).await.unwrap_err()
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again() {
    let (place, whole) = (Place::new(), content());
    let count = Mutex::new(0);
    let server = Server::start(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match *count {
            1 => Reply::new(503),
            2 => Reply::new(429),
            _ => part(request, &content(), ""),
        }
    })
    .await;
    place.fetch(&server, &sha256(&whole)).await.unwrap();
    assert_eq!(server.requests().len(), 3);
    for (status, requests, transient) in [(503, 3, true), (404, 1, false), (403, 1, false), (304, 1, false)] {
        let server = Server::start(move |_| Reply::new(status)).await;
        let error = Place::new().fetch(&server, "").await.unwrap_err();
        assert_eq!(
            (server.requests().len(), error.is_transient()),
            (requests, transient),
            "{status} {error}"
        );
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let (place, whole) = (Place::new(), content());
    let server = Server::start(|request| match request.path.as_str() {
        "/file" => Reply::new(302).header("Location", "/next/one"),
        "/next/one" => Reply::new(307).header("Location", "two?x=y"),
        "/next/two?x=y" => {
            part(request, &content(), "\"a\"").cut(if request.start().is_none() { 9 } else { usize::MAX })
        }
        other => panic!("{other}"),
    })
    .await;
    place.fetch(&server, &sha256(&whole)).await.unwrap();
    assert_eq!(server.requests().iter().filter_map(Request::start).collect::<Vec<_>>(), [9, 9, 9]);
    for (location, problem) in [
        ("/file", "more than 10 times"),
        ("ftp://127.0.0.1/x", "no address of HTTP"),
        ("http://[", "no address of HTTP"),
        ("", "more than 10 times"),
    ] {
        let server = Server::start(move |_| Reply::new(301).header("Location", location)).await;
        let error = Place::new().fetch(&server, "").await.unwrap_err();
        assert!(error.to_string().contains(problem) && !error.is_transient(), "{error}");
    }
    let server = Server::start(|_| Reply::new(301)).await;
    assert!(Place::new().fetch(&server, "").await.unwrap_err().to_string().contains("not where to"));
}

#[tokio::test]
async fn addresses_are_checked_and_secrets_not_shown() {
    for wrong in ["", "file:///etc/passwd", "dl.k8s.io/x", "http://"] {
        let error = Place::new().fetch_by(&Downloader::new(QUICK), wrong, "").await.unwrap_err();
        assert!(error.to_string().contains("is not one of HTTP"), "{wrong}: {error}");
    }
    assert_eq!(shown("https://user:letmein@host/a?token=1"), "https://host/a");
    assert_eq!(shown("http://host:81/a"), "http://host:81/a");
    for (url, expected) in [
        ("http://127.9.9.9:1/", true),
        ("http://[::1]/", true),
        ("https://localhost/", true),
        ("https://localhost.example/", false),
        ("http://192.0.2.1/", false),
    ] {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
    }
    // Nobody listens there.
    let server = Server::start(|_| Reply::new(200)).await;
    let url = server.url("/file").replace("http://", "http://u:letmein@");
    drop(server);
    let error = Place::new().fetch_by(&Downloader::new(QUICK), &url, "").await.unwrap_err();
    assert!(error.is_transient() && !error.to_string().contains("letmein"), "{error}");
}

#[test]
fn validators_are_strong() {
    let headers = |rows: &[(&'static str, &'static str)]| {
        rows.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
    };
    for (rows, expected) in [
        (&[][..], None),
        (&[("etag", "\"a\"")], Some("\"a\"")),
        (&[("etag", "W/\"a\"")], None),
        (&[("etag", "W/\"a\""), ("last-modified", "then")], Some("then")),
        (&[("etag", "\"a\""), ("last-modified", "then")], Some("\"a\"")),
    ] {
        assert_eq!(validator(&headers(rows)).as_deref(), expected);
    }
    let range = |text: &'static str| headers(&[("content-range", text)]);
    assert_eq!(start_of(&range("bytes 5-9/10")), Some(5));
    assert_eq!(start_of(&range("bytes */10")), None);
    assert_eq!(length_of(&range("bytes */10")), Some(10));
    assert_eq!(length_of(&range("items */10")), None);
}
