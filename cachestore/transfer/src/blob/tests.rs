use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachestore::digest::Digest;
use futures::{StreamExt, TryStreamExt};

use super::*;
use crate::testing::{
    Answer, Seen, Server, blob, client, client_with, limits, repository, repository_for, write_hosts,
};
use crate::{Config, Fixed, Limits};

const LENGTH: usize = 10_000;

async fn rest(mut stream: BlobStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Serves a blob with what this function makes of each answer; the number counts requests from 0.
async fn serving(
    bytes: &[u8],
    change: impl Fn(usize, &Seen, Answer) -> Answer + Send + Sync + 'static,
) -> Server {
    let (bytes, count) = (bytes.to_vec(), AtomicUsize::new(0));
    Server::start(move |seen| {
        change(count.fetch_add(1, Ordering::SeqCst), seen, Answer::ranged(seen, &bytes))
    })
    .await
}

fn starts(server: &Server) -> Vec<Option<usize>> {
    server.seen().iter().map(Seen::range_start).collect()
}

#[tokio::test]
async fn a_blob_is_streamed_from_any_offset() {
    let (bytes, wanted) = blob(LENGTH);
    let server = serving(&bytes, |_, _, answer| answer).await;
    let repository = repository(&server.host, "app").await;
    for (offset, requests) in [(0, 1), (1, 2), (9_999, 3), (LENGTH, 3)] {
        let stream = repository.open_blob(&wanted, offset as u64).await.unwrap();
        assert_eq!(stream.position(), offset as u64);
        assert_eq!(rest(stream).await.unwrap(), &bytes[offset..]);
        assert_eq!(server.seen().len(), requests, "nothing is asked for at the end");
    }
    let error = repository.open_blob(&wanted, LENGTH as u64 + 1).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let target = format!("GET /v2/app/blobs/{}", wanted.digest);
    assert_eq!(server.targets(), vec![target; 3]);
    assert!(server.seen().iter().all(|seen| seen.connection == 0), "the connection is used again");
}

#[tokio::test]
async fn a_broken_stream_goes_on_where_it_broke() {
    for chunked in [false, true] {
        let (bytes, wanted) = blob(LENGTH);
        let server = serving(&bytes, move |number, _, answer| {
            let answer = if chunked { answer.chunked() } else { answer };
            if number < 2 { answer.cut_after(3000) } else { answer }
        })
        .await;
        let stream = repository(&server.host, "app").await.open_blob(&wanted, 0).await.unwrap();
        assert_eq!(rest(stream).await.unwrap(), bytes);
        assert_eq!(starts(&server), [None, Some(3000), Some(6000)]);
    }
}

#[tokio::test]
async fn a_stream_that_stalls_is_broken_off_and_goes_on() {
    let (bytes, wanted) = blob(LENGTH);
    let server =
        serving(&bytes, |number, _, answer| if number == 0 { answer.stall_after(3000) } else { answer })
            .await;
    let limits = Limits { idle_timeout: Duration::from_millis(500), ..limits() };
    let client = client_with(Config { limits, ..Config::default() });
    let repository = repository_for(&client, &server.host, "app", Fixed::anonymous()).await;
    assert_eq!(rest(repository.open_blob(&wanted, 0).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(starts(&server), [None, Some(3000)]);
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_is_read_from_the_start() {
    let (bytes, wanted) = blob(LENGTH);
    let whole = bytes.clone();
    let server = serving(&bytes, move |number, _, _| {
        let answer = Answer::ok(whole.clone());
        if number == 0 { answer.cut_after(3000) } else { answer }
    })
    .await;
    let repository = repository(&server.host, "app").await;
    assert_eq!(rest(repository.open_blob(&wanted, 0).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(rest(repository.open_blob(&wanted, 7000).await.unwrap()).await.unwrap(), &bytes[7000..]);
    assert_eq!(starts(&server), [None, Some(3000), Some(7000)]);
}

#[tokio::test]
async fn patience_ends_without_progress_and_is_earned_back_by_it() {
    let (bytes, wanted) = blob(LENGTH);
    let server = serving(&bytes, |_, _, answer| answer.cut_after(1)).await;
    let stream = repository(&server.host, "app").await.open_blob(&wanted, 0).await.unwrap();
    let error = rest(stream).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let expected = format!(
        "cannot pull blob {} of {1}/app from http://{1}: the connection broke",
        wanted.digest, server.host
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(starts(&server), [None, Some(1), Some(2), Some(3)], "three resumes are the tests' limit");

    let piece = usize::try_from(PROGRESS_BYTES).unwrap();
    let (bytes, wanted) = blob(6 * piece);
    let server = serving(&bytes, move |_, _, answer| answer.cut_after(piece)).await;
    let stream = repository(&server.host, "app").await.open_blob(&wanted, 0).await.unwrap();
    assert_eq!(rest(stream).await.unwrap().len(), bytes.len());
    assert_eq!(server.seen().len(), 6);
}

#[tokio::test]
async fn another_endpoint_goes_on_with_what_a_mirror_began() {
    let (bytes, wanted) = blob(LENGTH);
    let mirror = serving(&bytes, |number, _, answer| match number {
        0 => answer.cut_after(3000),
        _ => Answer::new(503),
    })
    .await;
    let upstream = serving(&bytes, |_, _, answer| answer).await;
    let root = tempfile::tempdir().unwrap();
    write_hosts(
        root.path(),
        "r.example",
        &format!("server = '{}'\n[host.'{}']", upstream.url(), mirror.url()),
    );
    let client = client(vec![root.path().to_owned()]);
    let repository = repository_for(&client, "r.example", "app", Fixed::anonymous()).await;
    assert_eq!(rest(repository.open_blob(&wanted, 0).await.unwrap()).await.unwrap(), bytes);
    assert_eq!((starts(&mirror), starts(&upstream)), (vec![None, Some(3000)], vec![Some(3000)]));
}

#[tokio::test]
async fn a_registry_that_is_away_for_a_moment_is_waited_for() {
    let (bytes, wanted) = blob(LENGTH);
    let server = serving(&bytes, |number, _, answer| match number {
        0 => answer.cut_after(3000),
        1..=3 => Answer::new(503),
        _ => answer,
    })
    .await;
    let stream = repository(&server.host, "app").await.open_blob(&wanted, 0).await.unwrap();
    assert_eq!(rest(stream).await.unwrap(), bytes);

    let gone = serving(&bytes, |number, _, answer| match number {
        0 => answer.cut_after(3000),
        _ => Answer::new(404),
    })
    .await;
    let stream = repository(&gone.host, "app").await.open_blob(&wanted, 0).await.unwrap();
    let error = rest(stream).await.unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
    assert_eq!(gone.seen().len(), 2, "what is gone is not waited for");
}

#[tokio::test]
async fn never_more_than_the_size_is_returned() {
    let (bytes, wanted) = blob(LENGTH);
    let short = BlobRef { size_bytes: 9_000, ..wanted };
    let exact = BlobRef { size_bytes: 9_000, digest: Digest::of(&bytes[..9_000]) };
    for (asked, chunked, problem) in [
        (short, false, "it has 10000 bytes, and the manifest says 9000"),
        (short, true, "it is longer than the 9000 bytes that the manifest says"),
        (exact, true, "it is longer than the 9000 bytes that the manifest says"),
    ] {
        let server =
            serving(&bytes, move |_, _, answer| if chunked { answer.chunked() } else { answer }).await;
        let repository = repository(&server.host, "app").await;
        let error = match repository.open_blob(&asked, 0).await {
            Ok(mut stream) => loop {
                match stream.chunk().await {
                    Ok(Some(_)) => assert!(stream.position() <= 9_000),
                    Ok(None) => panic!("it ended well"),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().ends_with(problem), "{error}");
    }
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let (bytes, wanted) = blob(LENGTH);
    let server = Server::start(move |_| {
        Answer::new(206).header("Content-Range", "bytes 0-9999/10000").body(&bytes[..])
    })
    .await;
    let error = repository(&server.host, "app").await.open_blob(&wanted, 5).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it was asked for bytes from 5 on, and answered with \"bytes 0-9999/10000\"")
    );
}

#[tokio::test]
async fn the_end_of_a_verified_blob_tells_whether_it_was_right() {
    let (bytes, wanted) = blob(LENGTH);
    let server =
        serving(&bytes, |number, _, answer| if number == 0 { answer.cut_after(4000) } else { answer }).await;
    let repository = repository(&server.host, "app").await;
    for (existing, is_right) in [
        (&bytes[..0], true),
        (&bytes[..2000], true),
        (&[0; 2000], false),
        (&bytes, true),
        (&[0; LENGTH], false),
    ] {
        let mut verifier = Verifier::new(wanted);
        verifier.update(existing);
        let mut stream = repository.open_verified(verifier).await.unwrap();
        let mut found = existing.to_vec();
        let end = loop {
            match stream.chunk().await {
                Ok(Some(chunk)) => found.extend_from_slice(&chunk),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert_eq!((found.len(), end.is_ok()), (LENGTH, is_right));
        if let Err(error) = end {
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            let expected = format!(
                "the bytes have digest {} and size 10000, and should have digest {} and size 10000",
                Digest::of(&found),
                wanted.digest
            );
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the tasks are awaited a few lines below")]
#[tokio::test]
async fn blobs_are_transferred_in_parallel_up_to_the_limit() {
    let (bytes, wanted) = blob(LENGTH);
    let server = serving(&bytes, |_, _, answer| answer).await;
    let repository = repository(&server.host, "app").await;
    let places = limits().parallel_blobs;
    let mut open = Vec::new();
    for _ in 0..places {
        open.push(repository.open_blob(&wanted, 0).await.unwrap());
    }
    let mut one_more = Box::pin(repository.open_blob(&wanted, 0));
    assert!(futures::poll!(&mut one_more).is_pending());
    assert_eq!(server.seen().len(), places);
    open.pop();
    assert_eq!(rest(one_more.await.unwrap()).await.unwrap(), bytes);

    let readers: Vec<_> = open.into_iter().map(|stream| tokio::spawn(rest(stream))).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), bytes);
    }
    let connections: BTreeSet<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.len() >= places, "{connections:?}");
}

#[tokio::test]
async fn the_stream_of_the_futures_crate_is_the_same() {
    let (bytes, wanted) = blob(LENGTH);
    let server = serving(&bytes, |_, _, answer| answer).await;
    let repository = Arc::new(repository(&server.host, "app").await);
    let stream = repository.open_blob(&wanted, 0).await.unwrap().into_stream();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), bytes);
    let bad = BlobRef { size_bytes: 20_000, ..wanted };
    let offset = repository.open_blob(&bad, 20_000).await.unwrap();
    assert_eq!(offset.into_stream().count().await, 0);
}
