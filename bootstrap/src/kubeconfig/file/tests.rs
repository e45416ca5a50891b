use rustix::process::{getegid, geteuid};

use super::*;

fn entry() -> Entry {
    Entry {
        server: "https://kubernetes.docker.internal:6443".into(),
        tls_server_name: None,
        authority: "CA\n".into(),
        certificate: "CERT\n".into(),
        key: "KEY\n".into(),
    }
}

fn account(home: &Path) -> Account {
    Account { uid: geteuid().as_raw(), gid: getegid().as_raw(), home: home.into() }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

const OTHER: &str = "apiVersion: v1\nclusters:\n- name: a\ncurrent-context: a\n";

#[tokio::test]
async fn a_file_is_made_and_goes_again() {
    let home = tempfile::tempdir().unwrap();
    let place = Place::home(account(home.path()));
    place.examine().await.unwrap();
    assert!(!place.uninstall().await.unwrap());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    assert!(place.install(entry()).await.unwrap());
    assert_eq!(place.path(), home.path().join(".kube/config"));
    assert_eq!((mode(place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700));
    assert_eq!(crate::kubeconfig::read(&files::read(place.path()).unwrap()).unwrap(), entry());
    assert!(!place.install(entry()).await.unwrap());
    assert!(place.uninstall().await.unwrap());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn mode_links_and_other_clusters_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let place = Place::home(account(home.path()));
    let (target, directory) = (home.path().join("elsewhere"), home.path().join(".kube"));
    files::ensure_directory(&directory, 0o755).unwrap();
    files::put(&target, OTHER.as_bytes(), 0o640).unwrap();
    std::os::unix::fs::symlink("../elsewhere", place.path()).unwrap();
    assert!(place.install(entry()).await.unwrap());
    assert!(place.path().is_symlink());
    assert_eq!((mode(&target), mode(&directory)), (0o640, 0o755));
    assert!(files::read(&target).unwrap().contains("- name: a\n"));
    assert!(place.uninstall().await.unwrap());
    assert_eq!(
        files::read(&target).unwrap(),
        OTHER.replace("context: a", "context: \"\"") + "contexts: []\nusers: []\n"
    );
    // What a link leads to is emptied, not removed.
    files::put(&target, merge(None, &entry()).unwrap().as_bytes(), 0o600).unwrap();
    assert!(place.uninstall().await.unwrap());
    assert_eq!(files::read(&target).unwrap(), "");
    assert!(place.path().is_symlink());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_not_understood_is_left_as_it_is() {
    let rows: [(&[u8], &str); 5] = [
        (b"clusters: [\n", "config: line "),
        (b"a: 1\nclusters: 7\n", "config: line 2: `clusters` is not a list"),
        (b"a: 1\nb: \xff\n", "config: line 2: is not UTF-8"),
        (b"- a\n", "config: line 1: is not a map"),
        (b"a: b: c\n", "config: line 1: "),
    ];
    for (bytes, named) in rows {
        let home = tempfile::tempdir().unwrap();
        let place = Place::home(account(home.path()));
        files::ensure_directory(&home.path().join(".kube"), 0o700).unwrap();
        files::put(place.path(), bytes, 0o600).unwrap();
        let examined = place.examine().await.map(|()| false);
        let found = [examined, place.install(entry()).await, place.uninstall().await];
        for error in found.map(|result| result.unwrap_err().to_string()) {
            assert!(error.contains(named), "{error}");
        }
        assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(home.path().join(".kube")).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn other_kinds_of_files_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let place = Place::home(account(home.path()));
    files::ensure_directory(place.path(), 0o700).unwrap();
    let error = place.install(entry()).await.unwrap_err().to_string();
    assert!(error.contains("is not a regular file"), "{error}");
    std::fs::remove_dir(place.path()).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path()).unwrap();
    let error = place.install(entry()).await.unwrap_err().to_string();
    assert!(error.contains("cannot follow "), "{error}");
    files::remove(place.path()).unwrap();
    let large = std::fs::File::create(place.path()).unwrap();
    large.set_len(MAX_BYTES + 1).unwrap();
    let error = place.install(entry()).await.unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
    // A home that is not there is not made.
    let place = Place::home(account(&home.path().join("missing")));
    assert!(place.install(entry()).await.unwrap_err().to_string().contains("cannot create "));
    assert!(!place.uninstall().await.unwrap());
}

#[tokio::test]
async fn locks_of_others_are_respected_and_our_own_are_not_in_the_way() {
    let home = tempfile::tempdir().unwrap();
    let place = Place::home(account(home.path()));
    let lock = home.path().join(".kube/config.lock");
    files::ensure_directory(&home.path().join(".kube"), 0o700).unwrap();
    // A service that was killed has left it.
    files::put(&lock, MARK.as_bytes(), 0o600).unwrap();
    assert!(place.install(entry()).await.unwrap());
    assert!(!lock.exists());
    files::put(&lock, b"", 0o600).unwrap();
    assert_eq!(place.clone().attempt(|_| Ok(Rest::Unchanged)).unwrap(), None);
    let error = place.uninstall().await.unwrap_err().to_string();
    assert!(error.contains("config.lock if no program uses it"), "{error}");
    assert_eq!(files::read(&lock).unwrap(), "");
    // It is waited for.
    let (changed, ()) = tokio::join!(place.uninstall(), async {
        sleep(LOCK_POLL).await;
        files::remove(&lock).unwrap();
    });
    assert!(changed.unwrap());
}

#[tokio::test]
async fn an_instances_file_gets_its_reader() {
    let root = tempfile::tempdir().unwrap();
    let reader = account(root.path());
    let place = Place::own(root.path().join("kubeconfig"), reader.clone());
    assert!(place.install(entry()).await.unwrap());
    let metadata = place.path().metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), mode(place.path())), (reader.uid, reader.gid, 0o600));
    assert!(place.uninstall().await.unwrap());
    assert!(root.path().exists() && !place.path().exists());
}

/// What only root can try: the file is its reader's, and no more can be reached through it than the reader can reach.
#[tokio::test]
async fn nobody_gets_more_than_own_rights() {
    if !geteuid().is_root() {
        return;
    }
    // The directory of the tests' files may be closed to others.
    let home = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let reader = Account { uid: 54_321, gid: 54_322, home: home.path().join("home") };
    files::ensure_directory(&reader.home, 0o700).unwrap();
    std::os::unix::fs::chown(&reader.home, Some(reader.uid), Some(reader.gid)).unwrap();
    let place = Place::home(reader.clone());
    assert!(place.install(entry()).await.unwrap());
    for path in [place.path(), place.path().parent().unwrap()] {
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (reader.uid, reader.gid), "{}", path.display());
    }
    assert!(geteuid().is_root());
    // A link to what only root may change.
    let secret = home.path().join("secret");
    files::put(&secret, OTHER.as_bytes(), 0o644).unwrap();
    files::remove(place.path()).unwrap();
    std::os::unix::fs::symlink(&secret, place.path()).unwrap();
    let error = place.install(entry()).await.unwrap_err().to_string();
    assert!(error.contains("cannot create ") && error.contains("denied"), "{error}");
    assert_eq!(files::read(&secret).unwrap(), OTHER);
    let own = Place::own(home.path().join("kubeconfig"), reader.clone());
    assert!(own.install(entry()).await.unwrap());
    assert_eq!(own.path().metadata().unwrap().uid(), reader.uid);
}
