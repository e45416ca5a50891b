//! Checks every invariant of the store (see the crate's page), reads only, and lists all that it finds.

mod chains;
mod disk;
mod images;

use std::io;

use crate::Store;
use crate::error::{Error, Result, chain};
use crate::kept::{self, KeptBlob};
use crate::layer::Layer;
use crate::layer::record::COLUMNS;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The number of the invariant: `I3`.
    pub invariant: &'static str,
    /// What it is about.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Images.
    pub images: u64,
    /// Layers.
    pub layers: u64,
    /// Documents.
    pub blobs: u64,
    /// Things that are wrong.
    pub findings: u64,
}

/// How thorough a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Records, and that what they name is there.
    Records,
    /// Also the bytes of every layer and every kept blob: as slow as reading and hashing all of them.
    Content,
}

/// Collects findings and passes them on.
pub(crate) struct Report<'a> {
    checked: Checked,
    sink: &'a mut dyn FnMut(Finding),
}

impl Report<'_> {
    pub(crate) fn add(&mut self, invariant: &'static str, subject: impl ToString, problem: impl ToString) {
        self.checked.findings += 1;
        (self.sink)(Finding { invariant, subject: subject.to_string(), problem: problem.to_string() });
    }
}

impl Store {
    /// Checks the store; every finding is passed to `sink` as soon as it is found.
    ///
    /// # Locking
    /// Builds and pulls go on meanwhile, except while the records themselves are read.
    ///
    /// # Errors
    /// Only where the check itself cannot be done; what is wrong with the store is a finding.
    pub fn verify(&self, depth: Depth, sink: &mut dyn FnMut(Finding)) -> Result<Checked> {
        let mut report = Report { checked: Checked::default(), sink };
        self.verify_format(&mut report)?;
        // One transaction: records cannot change between the checks that compare them.
        self.meta.write("verify", |connection| {
            images::check(connection, &mut report)?;
            chains::check(connection, &mut report)?;
            self.verify_disk(connection, &mut report)
        })?;
        if depth == Depth::Content {
            self.verify_content(&mut report)?;
        }
        Ok(report.checked)
    }

    fn verify_format(&self, report: &mut Report<'_>) -> Result<()> {
        let path = self.paths.format();
        match crate::open::read_format(&path) {
            Ok(Some(format)) => {
                if let Err(error) = format.check(&path) {
                    report.add("I10", path.display(), error);
                }
            }
            Ok(None) => report.add("I10", path.display(), "it is missing"),
            Err(error) => report.add("I10", path.display(), error),
        }
        let version: i64 = self.meta.read("read the version", |connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        })?;
        if version != crate::meta::VERSION {
            report.add("I10", "the metadata database", format!("its schema has version {version}"));
        }
        if let Err(error @ Error::Corrupt { .. }) = self.meta.quick_check() {
            report.add("I10", "the metadata database", error);
        }
        Ok(())
    }

    /// Layers that are removed meanwhile are not findings: each is protected while it is read.
    fn verify_content(&self, report: &mut Report<'_>) -> Result<()> {
        let lease = self.lease();
        let (layers, kept): (Vec<Layer>, Vec<KeptBlob>) = self.meta.read("list layers", |connection| {
            let layers: Vec<Layer> = connection
                .prepare(&format!("SELECT {COLUMNS} FROM layers ORDER BY id"))?
                .query_map([], Layer::from_row)?
                .collect::<rusqlite::Result<_>>()?;
            layers.iter().for_each(|layer| lease.hold(layer.id.0));
            Ok((layers, kept::all(connection)?))
        })?;
        for layer in layers {
            let subject = format!("layer {}", layer.diff_id);
            self.check_content(&layer, &mut |problem| report.add("I2", &subject, problem))?;
        }
        // What is not even there has been said.
        for blob in kept.iter().filter(|blob| self.is_kept_whole(blob)) {
            if let Err(error) = self.write_kept(blob, io::sink()) {
                report.add("I11", format!("kept blob {}", blob.blob.digest), chain(&error));
            }
        }
        Ok(())
    }
}
