//! How commands print: the `-o` formats and tables. Never what is printed.

use clap::ValueEnum;
use serde::Serialize;
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// `-o` of a command that prints one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// The same as YAML.
    Yaml,
}

/// `-o` of a command that prints a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// For programs.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names only, one a line.
    Name,
}

/// JSON with a line break at its end.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("what commands print has text keys only") + "\n"
}

/// YAML.
pub fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).expect("what commands print has a YAML form")
}

/// Writes to standard output and gives the code. A reader that went away (`| head`) is no problem.
pub fn print(text: &str, code: u8) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            crate::exit::fail(crate::exit::PROBLEMS, &format!("standard output: {error}"), "")
        }
        _ => ExitCode::from(code),
    }
}

/// Columns as wide as their widest cell, three blanks between them; nothing without rows.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| lines().map(|line| line.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for line in lines() {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(padded.collect::<Vec<_>>().join("   ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [vec!["a".to_owned(), "long".to_owned()], vec!["bbbb".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &rows), "X      Y\na      long\nbbbb\n");
        assert_eq!(table(&["X"], &[]), "");
    }
}
