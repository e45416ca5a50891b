//! What is wrong with ports, put together for people: one event for each reason on each object, however many ports it has.

use std::collections::BTreeMap;

use proto::ports::Problem;

use super::wanted::{self, Trouble, Wanted};
use crate::name::Subject;
use crate::notice::{Notice, Severity};

/// How many ports one event names.
const MAX_NAMED: usize = 5;
/// How much of each message an event repeats.
const MAX_MESSAGE_CHARS: usize = 150;

/// Returns the events for everything that was not even asked for and everything that was refused.
pub(crate) fn notices(wanted: &Wanted, refused: &[Problem]) -> Vec<Notice> {
    let refused = refused.iter().filter_map(|problem| {
        let subject = wanted.owners.get(&(problem.protocol, problem.port))?.clone();
        Some(Trouble { subject, reason: wanted::reason(problem.reason()), message: problem.message.clone() })
    });
    let mut together: BTreeMap<(Subject, &'static str), Vec<String>> = BTreeMap::new();
    for trouble in wanted.troubles.iter().cloned().chain(refused) {
        let message = trouble.message.chars().take(MAX_MESSAGE_CHARS).collect();
        together.entry((trouble.subject, trouble.reason)).or_default().push(message);
    }
    together
        .into_iter()
        .map(|((subject, reason), messages)| Notice {
            subject,
            severity: Severity::Warning,
            reason,
            message: summary(&messages),
        })
        .collect()
}

fn summary(messages: &[String]) -> String {
    let named = messages.get(..MAX_NAMED).unwrap_or(messages).join("; ");
    match messages.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use proto::ports::{Protocol, Reason};

    use super::*;
    use crate::name::Name;

    fn subject(name: &str) -> Subject {
        Subject { kind: "Service", name: Name::new("shop", name), uid: name.into() }
    }

    fn problem(port: u32, reason: Reason) -> Problem {
        Problem {
            owner: "whoever".into(),
            protocol: Protocol::Tcp.into(),
            port,
            reason: reason.into(),
            message: format!("port {port} (TCP) is taken by nginx (pid 7)"),
        }
    }

    #[test]
    fn problems_reach_their_owners_together() {
        let key = |port| (i32::from(Protocol::Tcp), port);
        let wanted = Wanted {
            owners: [(key(80), subject("web")), (key(81), subject("web")), (key(443), subject("api"))].into(),
            troubles: vec![Trouble {
                subject: subject("web"),
                reason: "UnsupportedProtocol",
                message: "port 90 (SCTP) is not passed on".into(),
            }],
            ..Wanted::default()
        };
        let refused = [
            problem(80, Reason::PortTaken),
            problem(443, Reason::PortFailed),
            problem(81, Reason::PortTaken),
            // Nobody asked for this one.
            problem(1, Reason::PortTaken),
        ];
        let notices = notices(&wanted, &refused);
        let told: Vec<(&str, &str, &str)> = notices
            .iter()
            .map(|notice| (notice.subject.uid.as_str(), notice.reason, notice.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("api", "PortFailed", "port 443 (TCP) is taken by nginx (pid 7)"),
                (
                    "web",
                    "PortTaken",
                    "port 80 (TCP) is taken by nginx (pid 7); port 81 (TCP) is taken by nginx (pid 7)"
                ),
                ("web", "UnsupportedProtocol", "port 90 (SCTP) is not passed on"),
            ]
        );
    }

    #[test]
    fn a_hundred_ports_are_one_event_of_a_sane_length() {
        let messages: Vec<String> = (0..100).map(|number| format!("port {number}")).collect();
        assert_eq!(summary(&messages), "port 0; port 1; port 2; port 3; port 4; and 95 more");
        assert_eq!(summary(&messages[..5]), "port 0; port 1; port 2; port 3; port 4");
        let wanted = Wanted { owners: [((1, 80), subject("web"))].into(), ..Wanted::default() };
        let problem = Problem { message: "ä".repeat(100_000), ..problem(80, Reason::PortTaken) };
        assert_eq!(notices(&wanted, &[problem])[0].message.chars().count(), MAX_MESSAGE_CHARS);
    }
}
