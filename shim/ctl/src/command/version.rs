//! `shimctl version`.

use proto::control as api;

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::text::single_line;

/// Prints the versions. A daemon that does not run is no failure here.
pub(crate) async fn run(layout: &Layout) -> Result<(), Failure> {
    let mut text = format!("shimctl      {}\n", env!("CARGO_PKG_VERSION"));
    match connect::control(layout).await {
        Ok(control) => {
            let info = control.daemon().info(api::InfoRequest {}).await?.into_inner();
            let containerd =
                if info.containerd_version.is_empty() { "not reachable" } else { &info.containerd_version };
            text.push_str(&format!(
                "shimd        {} (pid {}, store {})\ncontainerd   {}\n",
                single_line(&info.version),
                info.pid,
                single_line(&info.store_dir),
                single_line(containerd)
            ));
        }
        Err(failure) => {
            output::print(&text)?;
            output::note(&failure.message().unwrap_or_default());
            return Ok(());
        }
    }
    output::print(&text)
}
