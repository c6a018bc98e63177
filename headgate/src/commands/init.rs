//! `init`: writes the example. It never writes over a file.

use crate::{exit, output};
use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What is written.
const FILES: [(&str, &str); 3] = [
    ("README.md", include_str!("init/README.md")),
    ("function.yaml", include_str!("init/function.yaml")),
    ("route.yaml", include_str!("init/route.yaml")),
];

/// Write an example: two versions of a function, and a route that splits between them
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headgate init            # into the current directory
  headgate init hello      # into a new folder
  headgate run hello")]
pub struct Args {
    /// The folder; made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// Writes it and says what to do next.
pub fn run(args: Args) -> ExitCode {
    let folder = &args.folder;
    if let Some((name, _)) = FILES.iter().find(|(name, _)| folder.join(name).exists()) {
        let why = format!("{} exists already: nothing was written", folder.join(name).display());
        return exit::fail(exit::PROBLEMS, &why, "name a new folder: headgate init hello");
    }
    let written = fs::create_dir_all(folder)
        .map_err(|error| format!("{}: {error}", folder.display()))
        .and_then(|()| FILES.iter().try_for_each(|(name, text)| write_new(&folder.join(name), text)));
    match written {
        Ok(()) => output::print(&next_steps(folder), 0),
        Err(why) => exit::fail(exit::PROBLEMS, &why, ""),
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), String> {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => format!("{} exists already and stays as it is", path.display()),
        _ => format!("{}: {error}", path.display()),
    })
}

fn next_steps(folder: &Path) -> String {
    let argument = if folder == Path::new(".") { String::new() } else { format!(" {}", folder.display()) };
    let mut text = String::new();
    for (name, _) in FILES {
        text.push_str(&format!("wrote {}\n", folder.join(name).display()));
    }
    text + &format!(
        "
Next:
  headgate run{argument}
  curl http://hello.default.localhost:8080/          # in another terminal: starts from zero
Then change the weights in {} and save: they are live at once.
",
        folder.join("route.yaml").display()
    )
}
