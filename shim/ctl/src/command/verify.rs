//! `shimctl verify`.

use proto::control as api;
use proto::control::verify_event::Event;

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::text::single_line;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also read every layer again and compare it with its digest
    #[arg(long)]
    content: bool,
}

/// Prints findings as they come. Any finding is a failure.
pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut client = connect::control(layout).await?.storage();
    let mut events = client.verify(api::VerifyRequest { content: args.content }).await?.into_inner();
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Finding(finding)) => output::line(&describe(&finding))?,
            Some(Event::Done(done)) => {
                output::line(&summarise(&done))?;
                return if done.findings == 0 { Ok(()) } else { Err(Failure::reported()) };
            }
            None => {}
        }
    }
    Err(Failure::failed("the daemon ended the check before it was complete"))
}

fn describe(finding: &api::Finding) -> String {
    let line = format!("{} {}: {}", finding.invariant, finding.subject, finding.problem);
    single_line(&line).into_owned()
}

fn summarise(done: &api::VerifyDone) -> String {
    let findings = match done.findings {
        0 => "no findings".to_owned(),
        count => counted(count, "finding"),
    };
    let (images, layers) = (counted(done.images, "image"), counted(done.layers, "layer"));
    format!("{images}, {layers}, {} checked: {findings}", counted(done.blobs, "blob"))
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let done = |findings| api::VerifyDone { images: 1, layers: 2, blobs: 0, findings };
        assert_eq!(summarise(&done(0)), "1 image, 2 layers, 0 blobs checked: no findings");
        assert_eq!(summarise(&done(1)), "1 image, 2 layers, 0 blobs checked: 1 finding");
        assert_eq!(summarise(&done(3)), "1 image, 2 layers, 0 blobs checked: 3 findings");
    }
}
