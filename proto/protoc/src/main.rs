//! Compiles `.proto` files into a descriptor set, with the arguments that prost's build scripts use.

use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Default)]
struct Arguments {
    includes: Vec<PathBuf>,
    files: Vec<PathBuf>,
    output: Option<PathBuf>,
    imports: bool,
    source_info: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("protoc: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments = parse(std::env::args().skip(1))?;
    let output = arguments.output.ok_or("-o FILE is missing")?;
    let mut compiler = protox::Compiler::new(&arguments.includes).map_err(|e| e.to_string())?;
    compiler.include_imports(arguments.imports).include_source_info(arguments.source_info);
    compiler.open_files(&arguments.files).map_err(|e| format!("{e:?}"))?;
    let bytes = compiler.encode_file_descriptor_set();
    std::fs::write(&output, bytes).map_err(|e| format!("{}: {e}", output.display()))
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = |name: &str| words.next().ok_or(format!("{name} needs a value"));
        match word.as_str() {
            "--include_imports" => arguments.imports = true,
            "--include_source_info" => arguments.source_info = true,
            "--experimental_allow_proto3_optional" => {}
            "--version" => return Err("this stand-in has no version; it only compiles descriptor sets".into()),
            "-I" | "--proto_path" => arguments.includes.push(value("-I")?.into()),
            "-o" | "--descriptor_set_out" => arguments.output = Some(value("-o")?.into()),
            flag if flag.starts_with("-I") => arguments.includes.push(flag[2..].into()),
            flag if flag.starts_with('-') => return Err(format!("{flag}: unknown argument")),
            file => arguments.files.push(file.into()),
        }
    }
    Ok(arguments)
}
