use std::sync::Mutex;

use super::*;

fn silent(_: String) {}

fn cache() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::new(&directory.path().join("components")).unwrap();
    (directory, cache)
}

fn fill(draft: &Draft) {
    let bin = draft.directory("bin").unwrap();
    files::put(&bin.join("kubelet"), b"one", 0o755).unwrap();
    files::put(&bin.join("kubectl"), b"two", 0o755).unwrap();
}

async fn whole(cache: &Cache, key: &str) -> Entry {
    let draft = cache.draft(key, &silent).await.unwrap();
    fill(&draft);
    draft.finish("v1", Vec::new()).unwrap()
}

#[tokio::test]
async fn an_entry_is_there_when_it_is_finished() {
    let (_directory, cache) = cache();
    assert_eq!(cache.look("k").unwrap(), Look::Absent);
    let draft = cache.draft("k", &silent).await.unwrap();
    fill(&draft);
    assert_eq!(cache.look("k").unwrap(), Look::Absent);
    let entry = draft.finish("v1", Vec::new()).unwrap();
    assert_eq!(cache.look("k").unwrap(), Look::Whole(entry.clone()));
    assert_eq!(entry.altered().unwrap(), [""; 0]);
    assert_eq!(entry.directory, cache.directory().join("k"));
}

#[tokio::test]
async fn what_was_left_is_gone_on_with_or_removed() {
    let (_directory, cache) = cache();
    fill(&cache.draft("k", &silent).await.unwrap());
    let again = cache.draft("k", &silent).await.unwrap();
    assert_eq!(files::read(again.path("bin/kubelet")).unwrap(), "one");
    let left = again.path("");
    drop(again);
    let other = cache.draft("other", &silent).await.unwrap();
    assert!(!left.exists());
    assert!(other.path("").exists());
}

#[tokio::test]
async fn only_one_fills_the_cache() {
    let (_directory, cache) = cache();
    let first = cache.draft("k", &silent).await.unwrap();
    let said = Mutex::new(Vec::new());
    let report = |text: String| said.lock().unwrap().push(text);
    let second = cache.draft("k", &report);
    let limit = LOCK_POLL * 3;
    assert!(tokio::time::timeout(limit, second).await.is_err());
    drop(first);
    cache.draft("k", &report).await.unwrap();
    let said = said.into_inner().unwrap();
    assert_eq!(said, [format!("waiting for another instance that fills {}", cache.directory().display())]);
}

#[tokio::test]
async fn damage_is_noticed_and_only_what_is_wrong_made_again() {
    let (_directory, cache) = cache();
    let entry = whole(&cache, "k").await;
    files::put(&entry.directory.join("bin/kubectl"), b"longer", 0o755).unwrap();
    let wrong = vec!["bin/kubectl".to_owned()];
    assert_eq!(cache.look("k").unwrap(), Look::Damaged(wrong.clone()));
    let draft = cache.reopen("k", &wrong, &silent).await.unwrap();
    assert_eq!(cache.look("k").unwrap(), Look::Absent);
    assert!(draft.path("bin/kubelet").exists());
    assert!(!draft.path("bin/kubectl").exists());
    files::put(&draft.path("bin/kubectl"), b"two", 0o755).unwrap();
    assert_eq!(draft.finish("v1", Vec::new()).unwrap(), entry);
}

#[tokio::test]
async fn an_entry_without_a_manifest_is_made_anew() {
    let (_directory, cache) = cache();
    let entry = whole(&cache, "k").await;
    files::put(&entry.directory.join(manifest::FILE), b"{", 0o644).unwrap();
    assert_eq!(cache.look("k").unwrap(), Look::Damaged(Vec::new()));
    files::remove(&entry.directory.join(manifest::FILE)).unwrap();
    assert_eq!(cache.look("k").unwrap(), Look::Damaged(Vec::new()));
    let draft = cache.reopen("k", &[], &silent).await.unwrap();
    assert!(!draft.path("bin/kubelet").exists());
    fill(&draft);
    assert_eq!(draft.finish("v1", Vec::new()).unwrap(), entry);
}

#[tokio::test]
async fn other_content_of_the_same_size_is_found_by_reading() {
    let (_directory, cache) = cache();
    let entry = whole(&cache, "k").await;
    files::put(&entry.directory.join("bin/kubectl"), b"owt", 0o755).unwrap();
    assert_eq!(cache.look("k").unwrap(), Look::Whole(entry.clone()));
    let wrong = entry.altered().unwrap();
    assert_eq!(wrong, ["bin/kubectl"]);
    let error = damaged(&entry.directory, &wrong).to_string();
    assert!(error.contains("1 of its files are not what they were: bin/kubectl"), "{error}");
}
