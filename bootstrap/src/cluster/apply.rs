//! Puts objects into the cluster, and keeps them there.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::api::failed;
use crate::error::{Error, Result};

/// Who owns the fields that we set.
const MANAGER: &str = "shim-bootstrap";
/// The code of the answer that something is not there.
const NOT_FOUND: u16 = 404;

/// Makes an object what it shall be; what others have set beside it stays.
///
/// # Errors
/// It is none, or the API server refuses it; with its name.
pub(crate) async fn apply(client: &Client, object: &Value) -> Result<()> {
    let (api, name) = resource(client, object)?;
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(object))
        .await
        .map(drop)
        .map_err(|error| failed(&format!("to apply {name}"), &error))
}

/// Returns an object as it is in the cluster, if it is.
pub(crate) async fn get(client: &Client, object: &Value) -> Result<Option<DynamicObject>> {
    let (api, name) = resource(client, object)?;
    api.get_opt(&name).await.map_err(|error| failed(&format!("for {name}"), &error))
}

/// Deletes an object at once, if it is there.
pub(crate) async fn delete(client: &Client, object: &Value) -> Result<()> {
    let (api, name) = resource(client, object)?;
    match api.delete(&name, &DeleteParams::default().grace_period(0)).await {
        Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(()),
        deleted => deleted.map(drop).map_err(|error| failed(&format!("to delete {name}"), &error)),
    }
}

fn resource(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, String)> {
    let invalid = || Error::invalid("an object of the cluster", "has no apiVersion, kind and name");
    let parsed: DynamicObject = serde_json::from_value(object.clone()).map_err(|_| invalid())?;
    let types = parsed.types.as_ref().ok_or_else(invalid)?;
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let kind = GroupVersionKind::gvk(group, version, &types.kind);
    let resource = ApiResource::from_gvk(&kind);
    let name = parsed.name_any();
    if name.is_empty() {
        return Err(invalid());
    }
    let api = match parsed.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}
