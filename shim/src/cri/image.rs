//! ImageService from the store.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cachestore::Reference;
use proto::cri;
use proto::cri::image_service_server::ImageService as Service;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use transfer::{Credential, Credentials, Fixed};

use super::convert;
use crate::blocking;
use crate::images::{Answering, Images};
use crate::status::from_store;

/// How many images one message of a stream holds.
const STREAM_BATCH: usize = 500;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ImageService {
    images: Arc<Images>,
}

impl ImageService {
    pub(crate) fn new(images: Arc<Images>) -> Self {
        Self { images }
    }

    fn describe(&self, image: &cachestore::Image) -> cri::Image {
        convert::image(image, self.images.registrar.is_pinned(&image.id))
    }

    /// A filter names one image; without one every image passes.
    fn list(&self, filter: Option<cri::ImageFilter>) -> Result<Vec<cri::Image>, Status> {
        let word = filter.and_then(|filter| filter.image).map(|spec| spec.image).unwrap_or_default();
        if word.is_empty() {
            return Ok(self.images.store.images().iter().map(|image| self.describe(image)).collect());
        }
        let image = self.images.store.resolve(&word).map_err(from_store)?;
        Ok(image.iter().map(|image| self.describe(image)).collect())
    }
}

/// The image that a request names.
fn word(spec: Option<cri::ImageSpec>) -> Result<String, Status> {
    match spec.map(|spec| spec.image) {
        Some(word) if !word.is_empty() => Ok(word),
        _ => Err(Status::invalid_argument("the request names no image")),
    }
}

/// An imagePullSecret is for the registry of the image, whatever server it names beside.
fn credentials(auth: Option<cri::AuthConfig>, reference: &Reference) -> Result<Arc<dyn Credentials>, Status> {
    let credential = match auth {
        Some(auth) => credential(auth)?,
        None => None,
    };
    Ok(Arc::new(match credential {
        Some(credential) => Fixed::new(reference.host(), credential),
        None => Fixed::anonymous(),
    }))
}

fn credential(auth: cri::AuthConfig) -> Result<Option<Credential>, Status> {
    if !auth.registry_token.is_empty() {
        return Ok(Some(Credential::RegistryToken(auth.registry_token)));
    }
    if !auth.identity_token.is_empty() {
        return Ok(Some(Credential::IdentityToken(auth.identity_token)));
    }
    if !auth.username.is_empty() {
        return Ok(Some(Credential::Password { username: auth.username, password: auth.password }));
    }
    if auth.auth.is_empty() {
        return Ok(None);
    }
    let wrong =
        || Status::invalid_argument("the field `auth` of the credentials is not base64 of USER:PASSWORD");
    let text =
        BASE64.decode(&auth.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let (username, password) = text.split_once(':').ok_or_else(wrong)?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Some(Credential::Password { username: username.to_owned(), password }))
}

#[tonic::async_trait]
impl Service for ImageService {
    type StreamImagesStream = Pin<Box<dyn Stream<Item = Result<cri::StreamImagesResponse, Status>> + Send>>;

    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Result<Response<cri::ListImagesResponse>, Status> {
        let images = self.list(request.into_inner().filter)?;
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn stream_images(
        &self,
        request: Request<cri::StreamImagesRequest>,
    ) -> Result<Response<Self::StreamImagesStream>, Status> {
        let images = self.list(request.into_inner().filter)?;
        let batches: Vec<_> = images
            .chunks(STREAM_BATCH)
            .map(|batch| Ok(cri::StreamImagesResponse { images: batch.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(batches))))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Result<Response<cri::ImageStatusResponse>, Status> {
        let cri::ImageStatusRequest { image, verbose } = request.into_inner();
        let Some(image) = self.images.store.resolve(&word(image)?).map_err(from_store)? else {
            return Ok(Response::new(cri::ImageStatusResponse::default()));
        };
        let mut answer =
            cri::ImageStatusResponse { image: Some(self.describe(&image)), ..Default::default() };
        if verbose {
            let (store, id) = (Arc::clone(&self.images.store), image.id);
            let config = blocking::run(move || store.blob(&id)).await?.unwrap_or_default();
            answer.info = convert::verbose(&image, &config);
        }
        Ok(Response::new(answer))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Result<Response<cri::PullImageResponse>, Status> {
        let cri::PullImageRequest { image, auth } = request.into_inner();
        let reference: Reference = word(image)?.parse().map_err(from_store)?;
        let credentials = credentials(auth, &reference)?;
        let pulled = self.images.pull(&reference, Answering::Policy, credentials, Arc::new(|_| {})).await?;
        Ok(Response::new(cri::PullImageResponse { image_ref: pulled.image.id.to_string() }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Result<Response<cri::RemoveImageResponse>, Status> {
        self.images.remove_all(word(request.into_inner().image)?).await?;
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Result<Response<cri::ImageFsInfoResponse>, Status> {
        let store = Arc::clone(&self.images.store);
        let (layers, writable) =
            blocking::run(move || Ok((store.layers_usage()?, store.writable_usage()?))).await?;
        let mountpoint = self.images.store.dir().to_string_lossy().into_owned();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let usage = |usage: cachestore::snapshots::Usage| cri::FilesystemUsage {
            timestamp: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            fs_id: Some(cri::FilesystemIdentifier { mountpoint: mountpoint.clone() }),
            used_bytes: Some(cri::UInt64Value { value: usage.size_bytes }),
            inodes_used: Some(cri::UInt64Value { value: usage.inodes }),
        };
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems: vec![usage(layers)],
            container_filesystems: vec![usage(writable)],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_four_forms() {
        let auth = |change: fn(&mut cri::AuthConfig)| {
            let mut auth = cri::AuthConfig::default();
            change(&mut auth);
            credential(auth).map_err(|status| status.message().to_owned())
        };
        let password = |username: &str, password: &str| {
            Ok(Some(Credential::Password { username: username.into(), password: password.into() }))
        };
        assert_eq!(auth(|_| {}), Ok(None));
        assert_eq!(
            auth(|auth| (auth.username, auth.password) = ("u".into(), "p".into())),
            password("u", "p")
        );
        assert_eq!(auth(|auth| auth.auth = "dTpwOnE=".into()), password("u", "p:q"));
        assert_eq!(
            auth(|auth| auth.registry_token = "t".into()),
            Ok(Some(Credential::RegistryToken("t".into())))
        );
        assert_eq!(
            auth(|auth| auth.identity_token = "t".into()),
            Ok(Some(Credential::IdentityToken("t".into())))
        );
        for bad in ["!", "dQ==", "/w=="] {
            let auth = cri::AuthConfig { auth: bad.into(), ..Default::default() };
            assert!(credential(auth).is_err(), "{bad}");
        }
    }
}
