//! The tables. Times are nanoseconds since 1970; digests are text (`sha256:…`), so that `sqlite3` shows them readably.

/// Version 1.
pub(super) const V1: &str = "
-- Documents by digest.
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    data   BLOB NOT NULL
) STRICT;

-- Unpacked layers: l/ID. `key` says how the bytes came to be; NULL when another layer has taken it over.
-- `unsettled_boot` is the boot in which the tree was written, until a sync has settled it.
CREATE TABLE layers (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT UNIQUE,
    diff_id        TEXT NOT NULL,
    tar_size       INTEGER NOT NULL,
    content_size   INTEGER NOT NULL,
    disk_size      INTEGER NOT NULL,
    inodes         INTEGER NOT NULL,
    has_recipe     INTEGER NOT NULL,
    description    TEXT NOT NULL,
    unsettled_boot TEXT,
    created_at     INTEGER NOT NULL,
    used_at        INTEGER NOT NULL
) STRICT;
CREATE INDEX layers_by_diff_id ON layers (diff_id);

-- Stacks of layers, by chain ID.
CREATE TABLE chains (
    id     TEXT PRIMARY KEY,
    parent TEXT REFERENCES chains (id),
    layer  INTEGER NOT NULL REFERENCES layers (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX chains_by_parent ON chains (parent);
CREATE INDEX chains_by_layer ON chains (layer);

-- Images, by the digest of their configuration. `chain` is NULL for an image without layers.
CREATE TABLE images (
    id        TEXT PRIMARY KEY REFERENCES blobs (digest),
    manifest  TEXT NOT NULL REFERENCES blobs (digest),
    chain     TEXT REFERENCES chains (id),
    origin    TEXT NOT NULL CHECK (origin IN ('built', 'pulled', 'loaded')),
    stored_at INTEGER NOT NULL,
    used_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What images are called. `local` names were given here, by a build, a tag or a load; the others by a registry.
CREATE TABLE names (
    name     TEXT PRIMARY KEY,
    image    TEXT NOT NULL REFERENCES images (id),
    local    INTEGER NOT NULL,
    named_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_image ON names (image);

-- The digests under which registries gave images: REPOSITORY@DIGEST.
CREATE TABLE repo_digests (
    name  TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX repo_digests_by_image ON repo_digests (image);

-- Digests that builds have computed of parts of a stack of layers; they go with its top layer.
CREATE TABLE tree_digests (
    chain    TEXT NOT NULL,
    selector TEXT NOT NULL,
    digest   TEXT NOT NULL,
    layer    INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE,
    PRIMARY KEY (chain, selector)
) STRICT, WITHOUT ROWID;
CREATE INDEX tree_digests_by_layer ON tree_digests (layer);

CREATE TABLE leases (
    id         TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE lease_layers (
    lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    layer INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE,
    PRIMARY KEY (lease, layer)
) STRICT, WITHOUT ROWID;

-- Snapshots other than those that are chains: s/ID. `parent` is a chain ID or the name of a committed snapshot.
CREATE TABLE snapshots (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL CHECK (kind IN ('active', 'view', 'committed')),
    parent     TEXT,
    labels     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    inodes     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX snapshots_by_parent ON snapshots (parent);
";

/// Version 2.
pub(super) const V2: &str = "
-- Blobs of layers as a registry gave them: b/ID. They go with the layer that was unpacked from them.
CREATE TABLE kept_blobs (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    size   INTEGER NOT NULL,
    layer  INTEGER NOT NULL REFERENCES layers (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX kept_blobs_by_layer ON kept_blobs (layer);
";
