//! Documents, images and names: I3, I4, I6.

use rusqlite::Connection;

use super::Report;
use crate::blobs;
use crate::digest::Digest;
use crate::error::{DatabaseContext, Result};
use crate::oci::chain;
use crate::oci::config::ImageConfig;
use crate::oci::manifest::Document;
use crate::reference::Reference;

pub(super) fn check(connection: &Connection, report: &mut Report<'_>) -> Result<()> {
    check_blobs(connection, report).doing("read blobs")?;
    check_images(connection, report).doing("read images")?;
    check_names(connection, report).doing("read names")
}

fn check_blobs(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT digest, data FROM blobs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        report.checked.blobs += 1;
        let recorded: String = row.get(0)?;
        let found = Digest::of(&row.get::<_, Vec<u8>>(1)?);
        if found.to_string() != recorded {
            report.add("I3", format!("blob {recorded}"), format!("its bytes have the digest {found}"));
        }
    }
    Ok(())
}

fn check_images(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT id, manifest, chain FROM images")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        report.checked.images += 1;
        let (id, manifest): (Digest, Digest) = (row.get(0)?, row.get(1)?);
        let chain: Option<Digest> = row.get(2)?;
        let subject = format!("image {id}");
        match blobs::get(connection, &id)?.map(|bytes| ImageConfig::parse(&bytes)) {
            None => report.add("I4", &subject, "its configuration is missing"),
            Some(Err(error)) => report.add("I4", &subject, error),
            Some(Ok(config)) => {
                let expected = chain::ids(&config.rootfs.diff_ids).last().copied();
                if expected != chain {
                    report.add("I4", &subject, "its chain is not that of its configuration's layers");
                }
            }
        }
        match blobs::get(connection, &manifest)?.map(|bytes| Document::parse(&bytes, None)) {
            None => report.add("I4", &subject, "its manifest is missing"),
            Some(Ok(Document::Manifest(manifest))) if manifest.config.digest == id => {}
            Some(Ok(_)) => report.add("I4", &subject, "its manifest is of another image"),
            Some(Err(error)) => report.add("I4", &subject, error),
        }
    }
    Ok(())
}

fn check_names(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    for (kind, table) in [("name", "names"), ("digest", "repo_digests")] {
        let mut statement = connection.prepare(&format!(
            "SELECT name, image, EXISTS (SELECT 1 FROM images WHERE id = image) FROM {table}"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, image, known): (String, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let subject = format!("{kind} {name}");
            if !known {
                report.add("I6", &subject, format!("it points to {image}, which is not recorded"));
            }
            match name.parse::<Reference>() {
                Ok(reference) if reference.to_string() != name => {
                    report.add("I6", &subject, format!("its normal form is {reference}"));
                }
                Ok(reference) if reference.digest().is_some() != (table == "repo_digests") => {
                    report.add("I6", &subject, "it is recorded as what it is not");
                }
                Ok(_) => {}
                Err(error) => report.add("I6", &subject, error),
            }
        }
    }
    Ok(())
}
