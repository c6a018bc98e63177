//! What is run for a replica, and how it becomes a program with arguments and an environment. Never starts anything.

use headgate_config::Probe;
use headgate_functions::{fill_in, in_parentheses};
use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Searched where neither the function nor the environment of the gateway has a PATH.
const PATH_FALLBACK: &str = "/usr/local/bin:/usr/bin:/bin";

/// The run template of one revision, as a process of this machine needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The scale target that it belongs to (`namespace/name`).
    pub name: String,
    /// What a person calls it: prefix of its output and subject of messages.
    pub function: String,
    /// Program and arguments (`command` followed by `args` of the container `function`).
    pub command: Vec<String>,
    /// Environment on top of the inherited one, in order; a later value may use an earlier one as `$(NAME)`.
    pub env: Vec<(String, String)>,
    /// Where it runs; `None` is the gateway's own directory.
    pub working_dir: Option<PathBuf>,
    /// From SIGTERM to SIGKILL (`terminationGracePeriodSeconds`).
    pub grace: Duration,
    /// How the gateway asks whether it is ready; `None` is TCP.
    pub probe: Option<Probe>,
}

/// A Launch with a port given: ready to be spawned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub env: Vec<(String, OsString)>,
    pub working_dir: Option<PathBuf>,
}

impl Launch {
    /// Resolves everything that can fail before a process exists, so that the reason can say what to do.
    ///
    /// `own_dir` is put before the function's PATH, so that the gateway's own commands are found.
    pub(super) fn prepare(&self, port: u16, own_dir: Option<&Path>) -> Result<Prepared, String> {
        let (env, values) = self.environment(port);
        let path = search_path(values.get("PATH").map(String::as_str), own_dir);
        let mut words = self.command.iter().map(|word| expand(word, &values));
        let program = words.next().filter(|program| !program.is_empty()).ok_or_else(|| {
            "it has no command: write one under `command` of the container `function`, for example [\"node\", \"server.js\"]"
                .to_owned()
        })?;
        if let Some(dir) = &self.working_dir {
            check_working_dir(dir)?;
        }
        Ok(Prepared {
            program: find_program(&program, &path, self.working_dir.as_deref())?,
            arguments: words.collect(),
            env: env
                .into_iter()
                .filter(|(name, _)| name != "PATH")
                .map(|(name, value)| (name, value.into()))
                .chain([("PATH".to_owned(), path)])
                .collect(),
            working_dir: self.working_dir.clone(),
        })
    }

    /// The variables in order, and by name. PORT is ours: two replicas on one machine cannot share a port.
    fn environment(&self, port: u16) -> (Vec<(String, String)>, HashMap<String, String>) {
        let port = ("PORT".to_owned(), port.to_string());
        let mut values = HashMap::from([port.clone()]);
        let mut ordered = vec![port];
        for (name, value) in self.env.iter().filter(|(name, _)| name != "PORT") {
            let value = expand(value, &values);
            values.insert(name.clone(), value.clone());
            ordered.push((name.clone(), value));
        }
        (ordered, values)
    }
}

/// Kubernetes' expansion of `$(NAME)`; `${PORT}` is understood too.
fn expand(text: &str, values: &HashMap<String, String>) -> String {
    let value = |name: &str| values.get(name).map(String::as_str);
    fill_in(text, |rest| match rest.strip_prefix("{PORT}") {
        Some(after) => Some((value("PORT")?, after)),
        None => in_parentheses(rest, value),
    })
}

fn search_path(of_function: Option<&str>, own_dir: Option<&Path>) -> OsString {
    let given = match of_function {
        Some(path) => OsString::from(path),
        None => env::var_os("PATH").unwrap_or_else(|| PATH_FALLBACK.into()),
    };
    let Some(own_dir) = own_dir else { return given };
    // a directory with a colon in its name cannot be in a PATH: then the function's own PATH has to do
    env::join_paths([own_dir.to_owned()].into_iter().chain(env::split_paths(&given))).unwrap_or(given)
}

fn check_working_dir(dir: &Path) -> Result<(), String> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("its workingDir {} is not a directory: name a directory", dir.display())),
        Err(error) => {
            Err(format!("its workingDir {} cannot be used ({error}): create it or correct `workingDir`", dir.display()))
        }
    }
}

/// A name with a slash is a path, from the working directory; any other is looked for along `path`.
fn find_program(program: &str, path: &OsStr, working_dir: Option<&Path>) -> Result<PathBuf, String> {
    if program.contains('/') {
        let full = working_dir.unwrap_or(Path::new("")).join(program);
        return match fs::metadata(&full) {
            Ok(found) if is_executable(&found) => Ok(full),
            Ok(_) => Err(format!(
                "its command {} is not an executable file: run `chmod +x` on it, or put its interpreter before it",
                full.display()
            )),
            Err(error) => Err(format!("its command {} cannot be used ({error}): correct `command`", full.display())),
        };
    }
    let found = env::split_paths(path)
        .map(|dir| dir.join(program))
        .find(|candidate| fs::metadata(candidate).is_ok_and(|found| is_executable(&found)));
    found.ok_or_else(|| {
        format!(
            "its command {program:?} was not found in PATH ({}): install it, or write its full path in `command`",
            path.to_string_lossy()
        )
    })
}

fn is_executable(found: &fs::Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(command: &[&str]) -> Launch {
        Launch {
            name: "default/hello".into(),
            function: "hello".into(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![],
            working_dir: None,
            grace: Duration::from_secs(1),
            probe: None,
        }
    }

    #[test]
    fn words_expand_as_in_kubernetes() {
        let values = HashMap::from([("PORT".into(), "4000".into()), ("A".into(), "b c".into())]);
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)", "b c"),
            ("--port=$(PORT)", "--port=4000"),
            ("--port=${PORT}", "--port=4000"),
            ("$$(A)", "$(A)"),
            ("${A}", "${A}"),
        ] {
            assert_eq!(expand(text, &values), expected, "{text}");
        }
    }

    #[test]
    fn environment_is_in_order_and_the_port_is_ours() {
        let mut launch = launch(&["sh", "-c", "x $(URL)"]);
        launch.env = vec![
            ("EARLY".into(), "$(URL)".into()),
            ("PORT".into(), "1".into()),
            ("URL".into(), "http://h:$(PORT)".into()),
        ];
        let prepared = launch.prepare(81, None).unwrap();
        assert_eq!(prepared.arguments, ["-c", "x http://h:81"]);
        let shown: Vec<_> = prepared.env.iter().map(|(n, v)| format!("{n}={}", v.to_string_lossy())).collect();
        assert_eq!(shown[..3], ["PORT=81", "EARLY=$(URL)", "URL=http://h:81"]);
    }

    #[test]
    fn the_gateways_own_directory_comes_first() {
        let prepared = launch(&["sh"]).prepare(1, Some(Path::new("/own"))).unwrap();
        let path = &prepared.env.iter().find(|(name, _)| name == "PATH").unwrap().1;
        assert!(path.to_string_lossy().starts_with("/own:"));
    }

    #[test]
    fn what_cannot_start_says_what_to_do() {
        let there = |dir: &str| Launch { working_dir: Some(dir.into()), ..launch(&["sh"]) };
        for (launch, expected) in [
            (launch(&[]), "it has no command"),
            (launch(&["no-such-program-here"]), "install it, or write its full path"),
            (launch(&["/no/such/program"]), "correct `command`"),
            (launch(&["/etc/passwd"]), "chmod +x"),
            (there("/no/such/dir"), "create it or correct `workingDir`"),
            (there("/etc/passwd"), "name a directory"),
        ] {
            let reason = launch.prepare(1, None).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
