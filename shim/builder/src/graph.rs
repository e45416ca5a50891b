//! Which stages a build needs, and what each is built on. Pure.

use std::collections::BTreeMap;

use cachestore::Reference;

use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Dockerfile, Instruction, Location};
use crate::error::{BuildError, Result};
use crate::plan::args::Variables;

/// The name that means: on nothing.
const SCRATCH: &str = "scratch";

/// What a stage is built on, or copied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing.
    Scratch,
    /// The stage of this number.
    Stage(usize),
    /// The image of this number.
    Image(usize),
}

/// The stages of a Dockerfile with what they need.
#[derive(Debug)]
pub(crate) struct Graph {
    /// One for each stage of the file.
    pub(crate) stages: Vec<StageNode>,
    /// The images that reachable stages need.
    pub(crate) images: Vec<ImageNode>,
    /// The stage to build.
    pub(crate) target: usize,
}

/// A stage.
#[derive(Debug)]
pub(crate) struct StageNode {
    pub(crate) base: Source,
    /// The sources of its `COPY --from`, by the number of the instruction.
    pub(crate) copies: BTreeMap<usize, Source>,
    /// Whether the target needs it.
    pub(crate) is_reachable: bool,
    /// What is before its numbers in step names; empty in a file of one stage.
    pub(crate) shown_name: String,
}

/// An image that is needed.
#[derive(Clone, Debug)]
pub(crate) struct ImageNode {
    pub(crate) reference: Reference,
    /// The instruction that names it first.
    pub(crate) location: Location,
}

impl Graph {
    /// Finds out what the target needs.
    pub(crate) fn new(file: &Dockerfile, globals: &Variables, target: Option<&str>) -> Result<Self> {
        let mut graph = Self { stages: Vec::new(), images: Vec::new(), target: 0 };
        for number in 0..file.stages.len() {
            let node = graph.stage(file, globals, number)?;
            graph.stages.push(node);
        }
        graph.target = find_target(file, target)?;
        graph.mark(graph.target);
        graph.drop_unused_images();
        Ok(graph)
    }

    fn stage(&mut self, file: &Dockerfile, globals: &Variables, number: usize) -> Result<StageNode> {
        let stage = &file.stages[number];
        let at = |error: BuildError| error.at(stage.location);
        let values = |name: &str| globals.get(name);
        let expander = Expander::new(file.escape, &values);
        let base = expander.word(&stage.from.image).map_err(|e| at(BuildError::invalid(e)))?.value;
        if base.is_empty() {
            return Err(at(BuildError::invalid(format!(
                "base name ({}) should not be blank",
                stage.from.image
            ))));
        }
        if let Some(platform) = &stage.from.platform {
            let wanted = expander.word(platform).map_err(|e| at(BuildError::invalid(e)))?.value;
            check_platform(&wanted).map_err(at)?;
        }
        let base = match base.as_str() {
            SCRATCH => Source::Scratch,
            name => match find_exactly(file, name, number) {
                Some(stage) => Source::Stage(stage),
                None => self.image(name, stage.location).map_err(at)?,
            },
        };
        let mut copies = BTreeMap::new();
        for (index, instruction) in stage.instructions.iter().enumerate() {
            let Instruction::Copy(copy) = &instruction.value else { continue };
            let Some(from) = &copy.from else { continue };
            let source = self.copy_source(file, from, number, instruction.location);
            copies.insert(index, source.map_err(|error| error.at(instruction.location))?);
        }
        // As in BuildKit, an image that is copied from counts as a stage.
        let is_alone = file.stages.len() == 1 && copies.is_empty();
        let shown_name = match (&stage.from.name, is_alone) {
            (_, true) => String::new(),
            (Some(name), _) => name.clone(),
            (None, _) => format!("stage-{number}"),
        };
        Ok(StageNode { base, copies, is_reachable: false, shown_name })
    }

    /// `--from` is a stage by name or number, and otherwise an image.
    fn copy_source(
        &mut self,
        file: &Dockerfile,
        from: &str,
        number: usize,
        location: Location,
    ) -> Result<Source> {
        if from == SCRATCH {
            return Ok(Source::Scratch);
        }
        if let Ok(index) = from.parse::<usize>() {
            return match index {
                index if index < number => Ok(Source::Stage(index)),
                _ => Err(BuildError::invalid(format!(
                    "--from={from}: there is no earlier stage of this number"
                ))),
            };
        }
        let lower = from.to_lowercase();
        if let Some(stage) = find_exactly(file, &lower, number) {
            return Ok(Source::Stage(stage));
        }
        if file.stages.iter().any(|stage| stage.from.name.as_deref() == Some(&lower)) {
            let problem =
                format!("cannot copy from stage {from:?}, it needs to be defined before the current stage");
            return Err(BuildError::invalid(problem));
        }
        self.image(from, location)
    }

    fn image(&mut self, name: &str, location: Location) -> Result<Source> {
        let parsed =
            name.parse::<Reference>().map_err(|error| BuildError::invalid(cachestore::error::chain(&error)));
        let reference = parsed?;
        if let Some(number) = self.images.iter().position(|image| image.reference == reference) {
            return Ok(Source::Image(number));
        }
        self.images.push(ImageNode { reference, location });
        Ok(Source::Image(self.images.len() - 1))
    }

    fn mark(&mut self, stage: usize) {
        if std::mem::replace(&mut self.stages[stage].is_reachable, true) {
            return;
        }
        for needed in self.needs(stage) {
            if let Source::Stage(needed) = needed {
                self.mark(needed);
            }
        }
    }

    /// Returns what a stage needs directly.
    pub(crate) fn needs(&self, stage: usize) -> Vec<Source> {
        let node = &self.stages[stage];
        std::iter::once(node.base).chain(node.copies.values().copied()).collect()
    }

    /// Images of stages that nobody needs are not asked for.
    fn drop_unused_images(&mut self) {
        let stages = (0..self.stages.len()).filter(|&stage| self.stages[stage].is_reachable);
        let needed: Vec<Source> = stages.flat_map(|stage| self.needs(stage)).collect();
        let used: Vec<usize> =
            (0..self.images.len()).filter(|&image| needed.contains(&Source::Image(image))).collect();
        let renumber = |source: &mut Source| {
            if let Source::Image(image) = source {
                // Of stages that are not reachable the number means nothing any more.
                *image = used.iter().position(|kept| kept == image).unwrap_or(usize::MAX);
            }
        };
        for stage in &mut self.stages {
            renumber(&mut stage.base);
            stage.copies.values_mut().for_each(renumber);
        }
        self.images = used.iter().map(|&image| self.images[image].clone()).collect();
    }
}

/// Finds the last stage of this name before the stage `number`.
fn find_exactly(file: &Dockerfile, name: &str, number: usize) -> Option<usize> {
    file.stages[..number].iter().rposition(|stage| stage.from.name.as_deref() == Some(name))
}

fn find_target(file: &Dockerfile, target: Option<&str>) -> Result<usize> {
    let last = file.stages.len() - 1;
    let Some(target) = target else { return Ok(last) };
    let lower = target.to_lowercase();
    let by_name = file.stages.iter().rposition(|stage| stage.from.name.as_deref() == Some(&lower));
    let by_number = target.parse::<usize>().ok().filter(|&number| number <= last);
    by_name.or(by_number).ok_or_else(|| {
        let names: Vec<_> = file.stages.iter().filter_map(|stage| stage.from.name.as_deref()).collect();
        let error = BuildError::invalid(format!("target stage {target:?} could not be found"));
        if names.is_empty() {
            error
        } else {
            error.with_hint(format!("the stages are: {}", names.join(", ")))
        }
    })
}

/// Only this machine's platform can be built.
fn check_platform(wanted: &str) -> Result<()> {
    let host = cachestore::oci::platform::Target::host();
    let own = [host.name(), format!("{}/{}/{}", host.os, host.architecture, host.variant)];
    let plain = host.architecture.clone();
    if own.iter().any(|name| name == wanted) || wanted == plain || wanted == host.os {
        return Ok(());
    }
    Err(BuildError::invalid(format!(
        "FROM --platform={wanted}: only images for {} can be built here",
        host.name()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    fn graph(text: &str, target: Option<&str>) -> Result<Graph> {
        Graph::new(&parse(text.as_bytes()).unwrap(), &Variables::default(), target)
    }

    fn reachable(graph: &Graph) -> Vec<usize> {
        (0..graph.stages.len()).filter(|&stage| graph.stages[stage].is_reachable).collect()
    }

    fn images(graph: &Graph) -> Vec<String> {
        graph.images.iter().map(|image| image.reference.familiar()).collect()
    }

    const FILE: &str = "FROM golang:1.16 AS build\nRUN x\nFROM unused\nFROM alpine AS tools\nFROM scratch\n\
                        COPY --from=build /a /a\nCOPY --from=2 /b /b\nCOPY --from=busybox /c /c\n";

    #[test]
    fn only_what_the_target_needs_is_reachable() {
        let all = graph(FILE, None).unwrap();
        assert_eq!(reachable(&all), [0, 2, 3]);
        assert_eq!(images(&all), ["golang:1.16", "alpine:latest", "busybox:latest"]);
        assert_eq!(
            all.stages[3].copies,
            [(0, Source::Stage(0)), (1, Source::Stage(2)), (2, Source::Image(2))].into()
        );
        let one = graph(FILE, Some("Tools")).unwrap();
        assert_eq!((reachable(&one), images(&one)), (vec![2], vec!["alpine:latest".to_owned()]));
        assert_eq!(one.stages[2].base, Source::Image(0));
        assert_eq!(graph(FILE, Some("1")).unwrap().target, 1);
    }

    #[test]
    fn the_last_stage_of_a_name_before_its_use_counts() {
        let graph = graph("FROM a AS x\nFROM b AS x\nFROM x\nCOPY --from=X / /\n", None).unwrap();
        assert_eq!(graph.stages[2].base, Source::Stage(1));
        assert_eq!(graph.stages[2].copies[&0], Source::Stage(1));
    }

    #[test]
    fn steps_are_shown_with_their_stage_unless_it_is_alone() {
        for (text, expected) in [
            ("FROM a AS only\nRUN x\n", ""),
            ("FROM a\nCOPY x /\n", ""),
            ("FROM a\nCOPY --from=b x /\n", "stage-0"),
            ("FROM a AS only\nCOPY --from=b x /\n", "only"),
            ("FROM a\nFROM b\n", "stage-0"),
        ] {
            assert_eq!(graph(text, None).unwrap().stages[0].shown_name, expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_found_is_named() {
        for (text, target, expected) in [
            ("FROM a AS x\n", Some("y"), "\"y\""),
            ("FROM scratch\nCOPY --from=later / /\nFROM a AS later\n", None, "later"),
            ("FROM scratch\nCOPY --from=0 / /\n", None, "--from=0"),
            ("FROM $unset\n", None, "$unset"),
            ("FROM --platform=plan9/mips a\n", None, "plan9/mips"),
            ("FROM UPPER\n", None, "UPPER"),
        ] {
            let error = graph(text, target).unwrap_err();
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }
}
