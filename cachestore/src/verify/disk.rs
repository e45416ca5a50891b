//! Records against directories: I1, I7, I8.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use rusqlite::Connection;

use super::Report;
use crate::Store;
use crate::disk::paths::from_base36;
use crate::error::{DatabaseContext, IoContext, Result};
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
        self.report_unrecorded(&self.paths.layers(), &layers, report)?;
        let snapshots = snapshots.into_iter().map(|row| row.id).collect();
        self.report_unrecorded(&self.paths.snapshots(), &snapshots, report)
    }

    fn report_unrecorded(
        &self,
        directory: &Path,
        recorded: &BTreeSet<i64>,
        report: &mut Report<'_>,
    ) -> Result<()> {
        for entry in std::fs::read_dir(directory).at("read", directory)? {
            let path = entry.at("read", directory)?.path();
            let id = path.file_name().and_then(OsStr::to_str).and_then(from_base36);
            if !id.is_some_and(|id| recorded.contains(&id)) && !self.discarded.is_announced(&path) {
                report.add("I8", path.display(), "it has no record");
            }
        }
        Ok(())
    }
}
