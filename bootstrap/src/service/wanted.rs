//! What an order to bring everything up asks for (pure).

use std::path::PathBuf;

use proto::lifecycle::UpRequest;
use tonic::Status;

use crate::component::{self, Source, default_version};
use crate::error::Error;
use crate::kubeadm::Version;
use crate::paths::Paths;
use crate::state::{Cluster, Reader, State, Wanted};

/// Returns the cluster that is asked for; `None` is the light form. `is_under_way`: one is being brought up at this moment.
///
/// # Errors
/// The instance runs in the other form, its cluster is of another version, or there is no such version; nothing was changed.
pub(crate) fn cluster(
    request: &UpRequest,
    state: &State,
    is_under_way: bool,
    paths: &Paths,
) -> Result<Option<Cluster>, Status> {
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
    let version = given(&request.kubernetes_version).map(|text| Version::parse(&text)).transpose();
    let version = version.map_err(wrong)?.map(|version| version.to_string());
    if let (Some(known), Some(version)) = (known, &version)
        && known.version != *version
        // Of a cluster that was never made there is nothing that the version matters to.
        && (known.is_initialized || is_under_way)
    {
        let found = match known.is_initialized {
            true => format!("the cluster is of version {}", known.version),
            false => format!("a cluster of version {} is being made", known.version),
        };
        return refused(format!("{found}; for {version} delete it first: {}", paths.command("reset")));
    }
    let version =
        version.or(known.map(|known| known.version.clone())).unwrap_or_else(|| default_version().into());
    let source = given(&request.components).or(known.map(|known| known.source.clone()));
    let source = source.as_deref().map_or(Ok(Source::default()), str::parse).map_err(wrong)?;
    component::check(&source, &version).map_err(wrong)?;
    Ok(Some(Cluster { version, source: source.to_string(), is_initialized: false }))
}

fn wrong(error: Error) -> Status {
    Status::invalid_argument(error.to_string())
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
        let at = |is_under_way: bool, request, state: State| {
            cluster(&request, &state, is_under_way, &paths)
                .map(|cluster| cluster.map(|c| format!("{} {}", c.version, c.source)))
                .map_err(|status| status.message().to_owned())
        };
        let of = |request, state| at(false, request, state);
        let down = |version| state(Wanted::Nothing, false, version);
        assert_eq!(of(asked(true, "", ""), down(None)), Ok(None));
        assert_eq!(of(asked(false, "", ""), down(None)), Ok(Some("v1.36.3 auto".into())));
        assert_eq!(of(asked(false, "v1.36.1", "release"), down(None)), Ok(Some("v1.36.1 release".into())));
        assert_eq!(of(asked(false, "", ""), down(Some("v1.36.1"))), Ok(Some("v1.36.1 build".into())));
        assert_eq!(of(asked(false, "1.36.1", ""), down(Some("v1.36.1"))), Ok(Some("v1.36.1 build".into())));
        let mut unborn = state(Wanted::Up, true, Some("v1.36.1"));
        unborn.cluster.as_mut().unwrap().is_initialized = false;
        assert_eq!(of(asked(false, "v1.36.3", ""), unborn.clone()), Ok(Some("v1.36.3 build".into())));
        assert_eq!(at(true, asked(false, "", ""), unborn.clone()), Ok(Some("v1.36.1 build".into())));
        for (is_under_way, known) in [
            (true, unborn),
            (false, down(Some("v1.36.1"))),
            (false, state(Wanted::Up, true, Some("v1.36.1"))),
        ] {
            let other = at(is_under_way, asked(false, "v1.36.3", ""), known).unwrap_err();
            let is = if is_under_way { " is being made" } else { "" };
            let expected = format!("of version v1.36.1{is}; for v1.36.3 delete it first: ");
            assert!(other.contains(&expected), "{other}");
            assert!(other.contains("shimctl --root /srv/x reset"), "{other}");
        }
        for (version, source, named) in [
            ("v1.36", "", "lacks its last number"),
            ("stable", "build", "written like v1.36.3"),
            ("v1.35.9", "build", "known are v1.36.3 and v1.36.1"),
            ("", "internet", "auto, release, build and bundle=FILE"),
        ] {
            let error = of(asked(false, version, source), down(None)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        // It may be published though it cannot be built here.
        assert_eq!(of(asked(false, "v1.35.9", ""), down(None)), Ok(Some("v1.35.9 auto".into())));
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
