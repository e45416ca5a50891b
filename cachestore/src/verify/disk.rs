//! Records against directories: I1, I7, I8, I11.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use rusqlite::Connection;

use super::Report;
use crate::Store;
use crate::disk::paths::from_base36;
use crate::error::{DatabaseContext, IoContext, Result};
use crate::kept;
use crate::snapshots::{Kind, rows};

impl Store {
    pub(super) fn verify_disk(&self, connection: &Connection, report: &mut Report<'_>) -> Result<()> {
        let layers: Vec<(i64, bool)> = connection
            .prepare("SELECT id, has_recipe FROM layers")
            .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .doing("read layers")?;
        for (id, has_recipe) in &layers {
            report.checked.layers += 1;
            let directory = self.paths.layer(*id);
            if !self.paths.layer_tree(*id).is_dir() {
                report.add("I1", format!("layer {}", directory.display()), "its tree is missing");
            }
            if directory.join("r").is_file() != *has_recipe {
                report.add(
                    "I1",
                    format!("layer {}", directory.display()),
                    "its recipe is missing or too much",
                );
            }
        }
        let snapshots = rows(connection).doing("read snapshots")?;
        for row in &snapshots {
            let directory = self.paths.snapshot(row.id);
            let subject = format!("snapshot {}", row.info.name);
            if !directory.join("u").is_dir() {
                report.add("I7", subject, "its directory is missing");
            } else if row.info.kind == Kind::Active && !directory.join("w").is_dir() {
                report.add("I7", subject, "its work directory is missing");
            }
        }
        let layers = layers.into_iter().map(|(id, _)| id).collect();
        self.verify_kept(connection, &layers, report)?;
        self.report_unrecorded("I8", &self.paths.layers(), &layers, report)?;
        let snapshots = snapshots.into_iter().map(|row| row.id).collect();
        self.report_unrecorded("I8", &self.paths.snapshots(), &snapshots, report)
    }

    fn verify_kept(
        &self,
        connection: &Connection,
        layers: &BTreeSet<i64>,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let kept = kept::all(connection).doing("read kept blobs")?;
        for blob in &kept {
            let subject = format!("kept blob {}", blob.blob.digest);
            if !self.is_kept_whole(blob) {
                let path = self.paths.kept_blob(blob.id);
                let size = blob.blob.size_bytes;
                report.add("I11", &subject, format!("{} is no file of {size} bytes", path.display()));
            }
            if !layers.contains(&blob.layer.0) {
                report.add("I11", &subject, "its layer is not recorded");
            }
        }
        let recorded = kept.into_iter().map(|blob| blob.id).collect();
        self.report_unrecorded("I11", &self.paths.kept_blobs(), &recorded, report)
    }

    fn report_unrecorded(
        &self,
        invariant: &'static str,
        directory: &Path,
        recorded: &BTreeSet<i64>,
        report: &mut Report<'_>,
    ) -> Result<()> {
        for entry in std::fs::read_dir(directory).at("read", directory)? {
            let path = entry.at("read", directory)?.path();
            let id = path.file_name().and_then(OsStr::to_str).and_then(from_base36);
            if !id.is_some_and(|id| recorded.contains(&id)) && !self.discarded.is_announced(&path) {
                report.add(invariant, path.display(), "it has no record");
            }
        }
        Ok(())
    }
}
