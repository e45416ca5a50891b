//! A place in `t/` where a layer comes to be.

use std::path::{Path, PathBuf};

use super::recipe::Places;
use crate::Store;
use crate::disk::{fault, remove};
use crate::error::{IoContext, Result};

/// A directory for a layer that is not committed yet; removed with everything in it unless it is committed.
#[derive(Debug)]
pub struct Workspace {
    places: Option<Places>,
}

impl Store {
    /// Makes an empty workspace with an empty tree.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn workspace(&self) -> Result<Workspace> {
        let layer = self.paths.temporary();
        let workspace = Workspace { places: Some(Places { layer }) };
        std::fs::create_dir(workspace.path()).at("create", workspace.path())?;
        fault::point("workspace made");
        let tree = workspace.tree();
        std::fs::create_dir(&tree).at("create", &tree)?;
        rustix::fs::chmod(&tree, rustix::fs::Mode::from_raw_mode(0o755)).at("change mode of", &tree)?;
        fault::point("tree made");
        Ok(workspace)
    }
}

impl Workspace {
    fn places(&self) -> &Places {
        self.places.as_ref().expect("only commit takes the places, and it takes the workspace too")
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.places().layer
    }

    /// Returns the tree: what is in it when the layer is committed is the layer.
    pub fn tree(&self) -> PathBuf {
        self.places().tree()
    }

    /// Returns where overlayfs's work directory may be made. It is removed before the commit.
    pub fn work(&self) -> PathBuf {
        self.path().join("w")
    }

    pub(super) fn recipe(&self) -> PathBuf {
        self.places().recipe()
    }

    pub(super) fn overrides(&self) -> PathBuf {
        self.places().overrides()
    }

    /// Gives the directory up without removing it: it has been renamed.
    pub(super) fn moved(mut self) {
        self.places = None;
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(places) = &self.places
            && let Err(error) = remove::tree(&places.layer)
        {
            // The next open of the store empties `t/`.
            tracing::warn!(%error, "cannot remove a workspace");
        }
    }
}
