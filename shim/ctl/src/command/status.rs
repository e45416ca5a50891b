//! `shimctl status`.

use clap::ValueEnum;
use jiff::Timestamp;
use proto::lifecycle as api;
use serde_json::{Value, json};

use crate::connect;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::output::text::single_line;
use crate::output::{table, time};
use crate::progress::parts::words;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 everything is ready, 1 something is not, 3 nothing runs.")]
pub(crate) struct Args {
    /// Print a table, or JSON
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    Table,
    Json,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut client =
        connect::lifecycle(layout).await.map_err(|cause| connect::no_lifecycle(&cause, layout))?;
    let status = client.status(api::StatusRequest {}).await?.into_inner();
    output::print(&match args.output {
        Form::Table => columns(&status, Timestamp::now()) + &ports(&status),
        Form::Json => format!("{}\n", object(&status)),
    })?;
    if status.ready { Ok(()) } else { Err(Failure::reported()) }
}

fn columns(status: &api::StatusResponse, now: Timestamp) -> String {
    let header = ["PART", "STATE", "SINCE", "PID", "VERSION", "RESTARTS", "MESSAGE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for part in &status.parts {
        let since =
            time::from_wire(part.since.as_ref()).map_or_else(dash, |since| time::ago(Some(since), now));
        rows.push(vec![
            single_line(&part.name).into_owned(),
            words(part.state()).to_owned(),
            since,
            if part.pid == 0 { dash() } else { part.pid.to_string() },
            if part.version.is_empty() { dash() } else { single_line(&part.version).into_owned() },
            part.restarts.to_string(),
            single_line(&part.message).into_owned(),
        ]);
    }
    trimmed(&table::columns(&rows))
}

/// Returns a second table, of ports; empty without any.
fn ports(status: &api::StatusResponse) -> String {
    if status.ports.is_empty() {
        return String::new();
    }
    let header = ["PORT", "FOR", "TARGET", "PROBLEM"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for port in &status.ports {
        let cells = [&port.listen, &port.owner, &port.target, &port.problem];
        rows.push(cells.map(|cell| single_line(cell).into_owned()).to_vec());
    }
    format!("\n{}", trimmed(&table::columns(&rows)))
}

/// Cuts off spaces at the ends of lines: the last column is often empty.
fn trimmed(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn dash() -> String {
    "-".to_owned()
}

fn object(status: &api::StatusResponse) -> Value {
    let parts: Vec<Value> = status
        .parts
        .iter()
        .map(|part| {
            json!({
                "name": part.name,
                "state": part.state().as_str_name().to_lowercase(),
                "message": part.message,
                "version": part.version,
                "pid": part.pid,
                "restarts": part.restarts,
                "since": time::from_wire(part.since.as_ref()),
            })
        })
        .collect();
    let port = |port: &api::OpenPort| json!({"listen": port.listen, "owner": port.owner, "target": port.target, "problem": port.problem});
    let ports: Vec<Value> = status.ports.iter().map(port).collect();
    json!({
        "root": status.root_dir, "pid": status.pid, "ready": status.ready, "parts": parts, "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> api::StatusResponse {
        let part = |name: &str, state: api::State, pid| api::Part {
            name: name.into(),
            state: state.into(),
            pid,
            since: Some(prost_types::Timestamp { seconds: 1_000_000, nanos: 0 }),
            ..Default::default()
        };
        let failed = api::Part {
            version: "1.6.20".into(),
            restarts: 3,
            message: "it ended:\nexit code 1".into(),
            ..part("containerd", api::State::BackingOff, 42)
        };
        let box_part = api::Part { since: None, ..part("box", api::State::Ready, 0) };
        api::StatusResponse {
            root_dir: "/var/lib/shim".into(),
            pid: 7,
            parts: vec![box_part, failed],
            ready: false,
            ports: Vec::new(),
        }
    }

    #[test]
    fn a_table() {
        let expected = "\
PART         STATE         SINCE        PID       VERSION   RESTARTS   MESSAGE
box          ready         -            -         -         0
containerd   backing off   2 days ago   42        1.6.20    3          it ended: exit code 1
";
        assert_eq!(columns(&status(), Timestamp::from_second(1_000_000 + 2 * 86_400).unwrap()), expected);
    }

    #[test]
    fn an_object() {
        let expected = json!({
            "root": "/var/lib/shim",
            "pid": 7,
            "ready": false,
            "parts": [
                {"name": "box", "state": "ready", "message": "", "version": "", "pid": 0, "restarts": 0, "since": null},
                {"name": "containerd", "state": "backing_off", "message": "it ended:\nexit code 1", "version": "1.6.20",
                 "pid": 42, "restarts": 3, "since": "1970-01-12T13:46:40Z"},
            ],
            "ports": [],
        });
        assert_eq!(object(&status()), expected);
    }

    #[test]
    fn ports_are_a_table_of_their_own() {
        let port = |owner: &str, listen: &str, problem: &str| api::OpenPort {
            owner: owner.into(),
            listen: listen.into(),
            target: "10.96.1.2:80".into(),
            problem: problem.into(),
        };
        let status = api::StatusResponse {
            ports: vec![
                port("default/web", "localhost:80/tcp", ""),
                port("default/db", "localhost:5432/tcp", "port 5432 (TCP) is taken\nby postgres (pid 7)"),
            ],
            ..status()
        };
        let expected = "
PORT                 FOR           TARGET         PROBLEM
localhost:80/tcp     default/web   10.96.1.2:80
localhost:5432/tcp   default/db    10.96.1.2:80   port 5432 (TCP) is taken by postgres (pid 7)
";
        assert_eq!(ports(&status), expected);
        assert_eq!(object(&status)["ports"][0]["listen"], "localhost:80/tcp");
        assert_eq!(ports(&super::tests::status()), "");
    }
}
