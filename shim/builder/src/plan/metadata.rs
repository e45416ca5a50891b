//! Instructions that change the configuration and make no layer.

use std::collections::BTreeMap;

use cachestore::oci::config::Empty;

use super::{StagePlanner, expose, history, signal};
use crate::dockerfile::{ArgDeclaration, Command, Instruction, Located, Location, Pair, Rule};
use crate::error::{BuildError, Result};

impl StagePlanner<'_> {
    pub(super) fn metadata(&mut self, instruction: &Located<Instruction>) -> Result<()> {
        let location = instruction.location;
        match &instruction.value {
            Instruction::Arg(declarations) => self.arg(declarations, location),
            Instruction::Env(pairs) => self.env(pairs, location),
            Instruction::Label(pairs) => self.label(pairs, location),
            Instruction::Cmd(command) => self.cmd(command, location),
            Instruction::Entrypoint(command) => self.entrypoint(command, location),
            Instruction::Expose(words) => self.expose(words, location),
            Instruction::User(user) => self.user(user, location),
            Instruction::Volume(paths) => self.volume(paths, location),
            Instruction::StopSignal(text) => self.stop_signal(text, location),
            Instruction::Shell(words) => {
                self.state.image.config.shell.clone_from(words);
                self.state.commit(format!("SHELL {}", history::plain_list(words)), false);
                Ok(())
            }
            other => Err(BuildError::invalid(format!("{} cannot be executed yet", other.name()))),
        }
    }

    /// A value comes from the command line, else from the default, else from the arguments before the first `FROM`.
    fn arg(&mut self, declarations: &[ArgDeclaration], location: Location) -> Result<()> {
        let mut shown = Vec::new();
        for ArgDeclaration { name, default } in declarations {
            let value = match (self.planner.build_args.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(default, location)?),
                (None, None) => self.planner.globals.get(name).map(str::to_owned),
            };
            if let Some(value) = &value {
                self.state.env.set(name, value);
            }
            shown.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            self.state.declared.push((name.clone(), value));
        }
        self.state.commit(format!("ARG {}", shown.join(" ")), false);
        Ok(())
    }

    /// Every value is taken before the first is set.
    fn pairs(&mut self, pairs: &[Pair], location: Location) -> Result<Vec<(String, String)>> {
        pairs
            .iter()
            .map(|pair| Ok((self.word(&pair.name, location)?, self.word(&pair.value, location)?)))
            .collect()
    }

    fn env(&mut self, pairs: &[Pair], location: Location) -> Result<()> {
        let mut shown = String::from("ENV");
        for (name, value) in self.pairs(pairs, location)? {
            self.state.set_env(&name, &value);
            shown.push_str(&format!(" {name}={value}"));
        }
        self.state.commit(shown, false);
        Ok(())
    }

    fn label(&mut self, pairs: &[Pair], location: Location) -> Result<()> {
        let mut shown = String::from("LABEL");
        for (name, value) in self.pairs(pairs, location)? {
            shown.push_str(&format!(" {name}={value}"));
            self.state.image.config.labels.insert(name, value);
        }
        self.state.commit(shown, false);
        Ok(())
    }

    fn command(&mut self, name: &str, command: &Command, location: Location) -> Vec<String> {
        if matches!(command, Command::Shell(_)) && self.state.image.config.shell.is_empty() {
            let advice = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
            );
            self.warn(Rule::JsonArgsRecommended, advice, location);
        }
        self.state.command_line(command)
    }

    fn cmd(&mut self, command: &Command, location: Location) -> Result<()> {
        let args = self.command("CMD", command, location);
        self.state.commit(format!("CMD {}", history::quoted_list(&args)), false);
        self.state.image.config.cmd = args;
        self.state.image.config.args_escaped = true;
        self.state.cmd_is_set = true;
        Ok(())
    }

    /// A command that was inherited belongs to the entry point that was inherited.
    fn entrypoint(&mut self, command: &Command, location: Location) -> Result<()> {
        let args = self.command("ENTRYPOINT", command, location);
        self.state.commit(format!("ENTRYPOINT {}", history::quoted_list(&args)), false);
        self.state.image.config.entrypoint = args;
        if !self.state.cmd_is_set {
            self.state.image.config.cmd.clear();
        }
        Ok(())
    }

    fn expose(&mut self, words: &[String], location: Location) -> Result<()> {
        let mut ports = Vec::new();
        for word in words {
            for port in self.words(word, location)? {
                ports.extend(expose::ports(&port)?);
            }
        }
        self.state.commit(format!("EXPOSE {}", history::plain_list(&ports)), false);
        let set: BTreeMap<String, Empty> = ports.into_iter().map(|port| (port, Empty {})).collect();
        self.state.image.config.exposed_ports.extend(set);
        Ok(())
    }

    fn user(&mut self, user: &str, location: Location) -> Result<()> {
        let user = self.word(user, location)?;
        self.state.commit(format!("USER {user}"), false);
        self.state.image.config.user = user;
        Ok(())
    }

    fn volume(&mut self, paths: &[String], location: Location) -> Result<()> {
        let paths = paths.iter().map(|path| self.word(path, location)).collect::<Result<Vec<_>>>()?;
        if paths.iter().any(String::is_empty) {
            return Err(BuildError::invalid("VOLUME is empty after its variables were replaced"));
        }
        self.state.commit(format!("VOLUME {}", history::plain_list(&paths)), false);
        self.state.image.config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        Ok(())
    }

    fn stop_signal(&mut self, text: &str, location: Location) -> Result<()> {
        let text = self.word(text, location)?;
        if !signal::is_signal(&text) {
            return Err(BuildError::invalid(format!("STOPSIGNAL {text}: there is no such signal")));
        }
        self.state.commit(format!("STOPSIGNAL {text}"), false);
        self.state.image.config.stop_signal = text;
        Ok(())
    }
}
