//! Image records in containerd's metadata.

use std::collections::HashMap;

use containerd_client::services::v1::{
    CreateImageRequest, DeleteImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use containerd_client::types::Descriptor;
use tonic::{Code, Status};

use super::{Containerd, request};

/// Tells containerd's CRI that the record is one of its own, so that it neither changes it nor makes others from it.
const LABEL_MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
const LABEL_PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");
/// Marks the records that we made; its value is the image ID.
const LABEL_OURS: &str = "shim.image";

/// When containerd removes what only a deleted record has kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Collection {
    /// Within seconds.
    Soon,
    /// Before it answers.
    Now,
}

/// A record that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) image: String,
}

impl Containerd {
    /// Creates a record, or rewrites it, which makes containerd's CRI read the image again.
    pub(super) async fn put_record(
        &self,
        lease: &str,
        record: &Record,
        target: &Descriptor,
        pinned: bool,
    ) -> Result<(), Status> {
        let mut labels = HashMap::from([
            (LABEL_MANAGED.0.to_owned(), LABEL_MANAGED.1.to_owned()),
            (LABEL_OURS.to_owned(), record.image.clone()),
        ]);
        if pinned {
            labels.insert(LABEL_PINNED.0.to_owned(), LABEL_PINNED.1.to_owned());
        }
        let image =
            Image { name: record.name.clone(), labels, target: Some(target.clone()), ..Image::default() };
        let update = UpdateImageRequest { image: Some(image.clone()), ..UpdateImageRequest::default() };
        match self.images().update(request(update, Some(lease))).await {
            Err(status) if status.code() == Code::NotFound => {}
            result => return result.map(drop),
        }
        let create = CreateImageRequest { image: Some(image), ..CreateImageRequest::default() };
        self.images().create(request(create, Some(lease))).await.map(drop)
    }

    /// Deletes a record; one that is gone is deleted.
    pub(super) async fn delete_record(&self, name: &str, collection: Collection) -> Result<(), Status> {
        let delete = DeleteImageRequest {
            name: name.to_owned(),
            sync: collection == Collection::Now,
            ..DeleteImageRequest::default()
        };
        match self.images().delete(request(delete, None)).await {
            Err(status) if status.code() == Code::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    /// Returns the records that we made: of one image, or all.
    pub(super) async fn our_records(&self, image: Option<&str>) -> Result<Vec<Record>, Status> {
        let filter = match image {
            Some(image) => format!("labels.\"{LABEL_OURS}\"==\"{image}\""),
            None => format!("labels.\"{LABEL_OURS}\""),
        };
        let list = ListImagesRequest { filters: vec![filter] };
        let images = self.images().list(request(list, None)).await?.into_inner().images;
        let ours =
            |image: Image| Some(Record { image: image.labels.get(LABEL_OURS)?.clone(), name: image.name });
        Ok(images.into_iter().filter_map(ours).collect())
    }
}
