//! What an order to bring everything up asks for (pure).

use std::path::PathBuf;

use proto::lifecycle::UpRequest;
use tonic::Status;

use crate::paths::Paths;
use crate::state::{Cluster, Reader, State, Wanted};

/// The version of a new cluster.
pub(crate) const DEFAULT_VERSION: &str = "v1.36.3";
/// Where its components come from.
pub(crate) const DEFAULT_SOURCE: &str = "auto";

/// Returns the cluster that is asked for; `None` is the light form.
///
/// # Errors
/// The instance runs in the other form, or its cluster is of another version; nothing was changed.
pub(crate) fn cluster(request: &UpRequest, state: &State, paths: &Paths) -> Result<Option<Cluster>, Status> {
    let refused = |problem: String| Err(Status::failed_precondition(problem));
    if state.wanted == Wanted::Up && state.kubernetes == request.no_kubernetes {
        let form = if state.kubernetes { "with" } else { "without" };
        return refused(format!("the instance runs {form} Kubernetes; first: {}", paths.command("down")));
    }
    if request.no_kubernetes {
        return Ok(None);
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let known = state.cluster.as_ref();
    let version = given(&request.kubernetes_version);
    if let (Some(known), Some(version)) = (known, &version)
        && known.version != *version
        // Of a cluster that was never made there is nothing that the version matters to.
        && known.is_initialized
    {
        return refused(format!(
            "the cluster is of version {}; for {version} delete it first: {}",
            known.version,
            paths.command("reset")
        ));
    }
    let version =
        version.or(known.map(|known| known.version.clone())).unwrap_or_else(|| DEFAULT_VERSION.into());
    let source = given(&request.components)
        .or(known.map(|known| known.source.clone()))
        .unwrap_or_else(|| DEFAULT_SOURCE.into());
    Ok(Some(Cluster { version, source, is_initialized: false }))
}

/// Returns whose kubeconfig gets the context, if anybody's does.
///
/// # Errors
/// The home directory is none.
pub(crate) fn reader(request: UpRequest) -> Result<Option<Reader>, Status> {
    let home = Some(PathBuf::from(request.home)).filter(|home| !home.as_os_str().is_empty());
    if home.as_ref().is_some_and(|home| !home.is_absolute()) {
        return Err(Status::invalid_argument("the home directory is not an absolute path"));
    }
    Ok(Some(Reader { user: request.user, home }).filter(|reader| !reader.user.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn asked(no_kubernetes: bool, version: &str, source: &str) -> UpRequest {
        UpRequest {
            no_kubernetes,
            kubernetes_version: version.into(),
            components: source.into(),
            ..UpRequest::default()
        }
    }

    fn state(wanted: Wanted, kubernetes: bool, version: Option<&str>) -> State {
        let cluster = version.map(|version| Cluster {
            version: version.into(),
            source: "build".into(),
            is_initialized: true,
        });
        let mut state = State::default();
        (state.wanted, state.kubernetes, state.cluster) = (wanted, kubernetes, cluster);
        state
    }

    #[test]
    fn forms_and_versions() {
        let paths = Paths::new(Path::new("/srv/x")).unwrap();
        let of = |request, state| {
            cluster(&request, &state, &paths)
                .map(|cluster| cluster.map(|c| format!("{} {}", c.version, c.source)))
                .map_err(|status| status.message().to_owned())
        };
        let down = |version| state(Wanted::Nothing, false, version);
        assert_eq!(of(asked(true, "", ""), down(None)), Ok(None));
        assert_eq!(of(asked(false, "", ""), down(None)), Ok(Some("v1.36.3 auto".into())));
        assert_eq!(of(asked(false, "v1.36.1", "release"), down(None)), Ok(Some("v1.36.1 release".into())));
        assert_eq!(of(asked(false, "", ""), down(Some("v1.36.1"))), Ok(Some("v1.36.1 build".into())));
        let mut unborn = down(Some("v1.36.1"));
        unborn.cluster.as_mut().unwrap().is_initialized = false;
        assert_eq!(of(asked(false, "v1.36.3", ""), unborn), Ok(Some("v1.36.3 build".into())));
        let other = of(asked(false, "v1.36.3", ""), down(Some("v1.36.1"))).unwrap_err();
        assert!(other.contains("shimctl --root /srv/x reset"), "{other}");
        for (request, runs_with) in [(asked(false, "", ""), false), (asked(true, "", ""), true)] {
            let error = of(request, state(Wanted::Up, runs_with, Some("v1.36.3"))).unwrap_err();
            assert!(error.contains("shimctl --root /srv/x down"), "{error}");
        }
        assert_eq!(
            of(asked(false, "", ""), state(Wanted::Up, true, Some("v1.36.3"))),
            Ok(Some("v1.36.3 build".into()))
        );
    }
}
