//! Chains, snapshots' parents and leases: I5, I7, I9.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::Report;
use crate::digest::Digest;
use crate::error::{DatabaseContext, Result};
use crate::oci::chain;
use crate::snapshots::{Kind, rows};

pub(super) fn check(connection: &Connection, report: &mut Report<'_>) -> Result<()> {
    let chains = check_chains(connection, report).doing("read chains")?;
    check_parents(connection, &chains, report).doing("read snapshots")?;
    check_leases(connection, report).doing("read leases")
}

fn check_chains(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<HashSet<String>> {
    let diff_ids: HashMap<i64, Digest> = connection
        .prepare("SELECT id, diff_id FROM layers")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let chains: Vec<(Digest, Option<Digest>, i64)> = connection
        .prepare("SELECT id, parent, layer FROM chains")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let known: HashSet<String> = chains.iter().map(|(id, ..)| id.to_string()).collect();
    for (id, parent, layer) in &chains {
        let subject = format!("chain {id}");
        match diff_ids.get(layer) {
            None => report.add("I5", &subject, "its layer is not recorded"),
            Some(diff_id) if chain::extend(*parent, *diff_id) != *id => {
                report.add("I5", &subject, "it is not that of its parent and its layer");
            }
            Some(_) => {}
        }
        if parent.is_some_and(|parent| !known.contains(&parent.to_string())) {
            report.add("I5", &subject, "its parent is not recorded");
        }
    }
    let missing: Vec<String> = connection
        .prepare("SELECT id FROM images WHERE chain IS NOT NULL AND chain NOT IN (SELECT id FROM chains)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for image in missing {
        report.add("I5", format!("image {image}"), "its chain is not recorded");
    }
    Ok(known)
}

fn check_parents(
    connection: &Connection,
    chains: &HashSet<String>,
    report: &mut Report<'_>,
) -> rusqlite::Result<()> {
    let rows = rows(connection)?;
    let committed: HashSet<&str> = rows
        .iter()
        .filter(|row| row.info.kind == Kind::Committed)
        .map(|row| row.info.name.as_str())
        .collect();
    for row in &rows {
        if let Some(parent) = &row.info.parent
            && !chains.contains(parent)
            && !committed.contains(parent.as_str())
        {
            report.add(
                "I7",
                format!("snapshot {}", row.info.name),
                format!("its parent {parent} is not there"),
            );
        }
    }
    Ok(())
}

fn check_leases(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    let lost: Vec<(String, i64)> = connection
        .prepare(
            "SELECT lease, layer FROM lease_layers
             WHERE layer NOT IN (SELECT id FROM layers) OR lease NOT IN (SELECT id FROM leases)",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (lease, layer) in lost {
        report.add("I9", format!("lease {lease}"), format!("it holds layer {layer}, which is not recorded"));
    }
    Ok(())
}
