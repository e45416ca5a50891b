use super::check::boolean;
use super::error::Fault;
use super::flags::{Flags, Kind, Known};
use super::instruction::{Command, Device, Network, RunInstruction, Security};
use super::keyword::Keyword;
use super::parse::Statement;
use super::typed::command;
use super::{mount, suggest};

const RUN_FLAGS: Known =
    &[("mount", Kind::List), ("network", Kind::Text), ("security", Kind::Text), ("device", Kind::List)];

const NETWORKS: [(&str, Network); 3] =
    [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];

const SECURITIES: [(&str, Security); 2] = [("sandbox", Security::Sandbox), ("insecure", Security::Insecure)];

/// Types a `RUN`.
pub(super) fn run(statement: Statement) -> Result<RunInstruction, Fault> {
    let flags = Flags::read(Keyword::Run, &statement.flags, RUN_FLAGS)?;
    let command = command(statement.arguments);
    if command == Command::Exec(Vec::new()) {
        return Err(Fault::new("RUN: the JSON array is empty"));
    }
    Ok(RunInstruction {
        command,
        heredocs: statement.heredocs,
        mounts: flags.list("mount").into_iter().map(mount::mount).collect::<Result<_, _>>()?,
        network: choice(&flags, "network", &NETWORKS)?,
        security: choice(&flags, "security", &SECURITIES)?,
        devices: flags.list("device").into_iter().map(device).collect::<Result<_, _>>()?,
    })
}

/// Reads a flag that has one of a few values.
fn choice<T: Copy + Default>(flags: &Flags, name: &str, options: &[(&str, T)]) -> Result<T, Fault> {
    let Some(value) = flags.text(name) else { return Ok(T::default()) };
    if let Some((_, choice)) = options.iter().find(|(option, _)| *option == value) {
        return Ok(*choice);
    }
    let names: Vec<&str> = options.iter().map(|(option, _)| *option).collect();
    Err(Fault::new(format!("RUN: --{name} is one of {}, not {value:?}", names.join(", "))))
}

fn device(text: &str) -> Result<Device, Fault> {
    let mut device = Device { name: String::new(), required: false };
    for field in mount::fields(text, "--device")? {
        let option = mount::option(&field);
        match (option.key.as_str(), option.value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                device.required = boolean(&value).ok_or_else(|| {
                    Fault::new(format!("RUN: --device: required is true or false, not {value:?}"))
                })?;
            }
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(Fault::new(format!("RUN: --device names a second device after {}", device.name)));
            }
            ("name", Some(value)) => device.name = value,
            // A qualified name has a `=` of its own: vendor/class=name.
            _ if device.name.is_empty() => device.name = field,
            (key, _) => {
                let close = suggest::closest(key, &["name", "required"]).map(str::to_owned);
                return Err(Fault::new(format!("RUN: --device has no option {key}")).suggesting(close));
            }
        }
    }
    Ok(device)
}
