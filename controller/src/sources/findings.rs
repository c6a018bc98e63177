//! What is wrong with the objects of a source, and how it is told: to people, to programs, to GitHub. It never decides what is wrong.

use super::yaml::Position;
use serde::{Serialize, Serializer};
use std::{ffi::OsStr, fmt::Write, path::PathBuf};

/// Something to tell about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named or found below a name; `-` for standard input.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// Where in it; none when the file itself is meant.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The line of the position, empty without one.
    #[serde(rename = "text", skip_serializing_if = "String::is_empty")]
    pub line_text: String,
    /// The object as `Kind namespace/name`, empty where it cannot be told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// Path of the field in the object (`spec.rules[0].name`), empty for the object itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Whether an earlier version of the object stays live meanwhile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The object, or a part of it, is not served as written.
    Error,
    /// It is served, though perhaps not as meant.
    Warning,
}

/// A kind that Headgate does not use, told once for all its objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// `apiVersion` and `kind`, as in `apps/v1 Deployment`; empty for documents that name no kind at all.
    pub kind: String,
    /// How many objects of it there are.
    pub objects: usize,
}

/// All that a look at the sources gave.
#[derive(Clone, Copy, Debug)]
pub struct Report<'r> {
    /// The findings, in the order they are told.
    pub findings: &'r [Finding],
    /// The kinds that were skipped.
    pub skipped: &'r [Skipped],
    /// How many files were read.
    pub files: usize,
    /// How many objects are used.
    pub objects: usize,
}

/// For whom a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people, in colours or not.
    Text {
        /// Whether to colour, see [`colours`].
        colours: bool,
    },
    /// For programs: one JSON document.
    Json,
    /// For GitHub's workflow commands, which annotate the lines of a change.
    Github,
}

/// Whether to colour: on a terminal, unless `NO_COLOR` is set and not empty (no-color.org).
#[must_use]
pub fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

impl Report<'_> {
    /// The whole report, closed by its counts and a line break.
    #[must_use]
    pub fn render(&self, output: Output) -> String {
        match output {
            Output::Text { colours } => self.text(colours),
            Output::Json => self.json(),
            Output::Github => self.github(),
        }
    }

    /// How many findings have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The counts as a sentence: `2 errors, 1 warning; 14 objects in 3 files`.
    #[must_use]
    pub fn counts(&self) -> String {
        let found = match (self.count(Severity::Error), self.count(Severity::Warning)) {
            (0, 0) => "no problems".to_owned(),
            (0, warnings) => counted(warnings, "warning"),
            (errors, 0) => counted(errors, "error"),
            (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        format!("{found}; {} in {}", counted(self.objects, "object"), counted(self.files, "file"))
    }

    fn text(&self, colours: bool) -> String {
        let mut out = String::new();
        for finding in self.findings {
            out.push_str(&finding.text(colours));
        }
        for skipped in self.skipped {
            let _ = writeln!(out, "{skipped}");
        }
        let _ = writeln!(out, "{}", self.counts());
        out
    }

    fn json(&self) -> String {
        let document = serde_json::json!({
            "findings": self.findings,
            "skipped": self.skipped,
            "counts": {
                "errors": self.count(Severity::Error),
                "warnings": self.count(Severity::Warning),
                "objects": self.objects,
                "files": self.files,
            },
        });
        format!("{document:#}\n")
    }

    fn github(&self) -> String {
        let mut out: String = self.findings.iter().map(Finding::github).collect();
        for skipped in self.skipped {
            let _ = writeln!(out, "::notice::{}", github_data(&skipped.to_string()));
        }
        let _ = writeln!(out, "{}", self.counts());
        out
    }
}

impl Finding {
    /// `file:line:column: error: message`, the line with a caret below the column, and what to write instead; each ends in a line break.
    #[must_use]
    pub fn text(&self, colours: bool) -> String {
        let paint = Paint(colours);
        let (word, colour) = match self.severity {
            Severity::Error => ("error", Paint::RED),
            Severity::Warning => ("warning", Paint::YELLOW),
        };
        let mut out = paint.with(Paint::BOLD, &self.place());
        let _ = writeln!(out, ": {}: {}", paint.with(colour, word), printable(&self.sentence()));
        if let Some(position) = self.position.filter(|_| !self.line_text.trim().is_empty()) {
            let (line, caret) = window(&self.line_text, position.column);
            let number = position.line.to_string();
            let _ = writeln!(out, "  {number} | {line}");
            let _ = writeln!(out, "  {:width$} | {}", "", caret + &paint.with(colour, "^"), width = number.len());
        }
        if !self.remedy.is_empty() {
            let _ = writeln!(out, "  {} {}", paint.with(Paint::CYAN, "help:"), printable(&self.remedy));
        }
        if self.kept {
            let _ = writeln!(out, "  {} the last good version stays live", paint.with(Paint::CYAN, "note:"));
        }
        out
    }

    /// `file`, or `file:line:column`.
    #[must_use]
    pub fn place(&self) -> String {
        let file = self.file.display();
        self.position.map_or_else(|| file.to_string(), |at| format!("{file}:{}:{}", at.line, at.column))
    }

    fn sentence(&self) -> String {
        let parts = [self.object.as_str(), self.field.as_str(), self.message.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    /// `::error file=…,line=…,col=…::…`, as GitHub documents it for workflow commands.
    fn github(&self) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut place = format!("file={}", github_property(&self.file.display().to_string()));
        if let Some(at) = self.position {
            let _ = write!(place, ",line={},col={}", at.line, at.column);
        }
        let help = if self.remedy.is_empty() { String::new() } else { format!("\nhelp: {}", self.remedy) };
        format!("::{word} {place}::{}\n", github_data(&(self.sentence() + &help)))
    }
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let objects = counted(self.objects, "object");
        if self.kind.is_empty() {
            return write!(
                f,
                "skipped {} without apiVersion and kind: no Kubernetes object",
                counted(self.objects, "document")
            );
        }
        write!(f, "skipped kind {} ({objects}): Headgate does not use it", self.kind)
    }
}

/// `1 object`, `2 objects`.
fn counted(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// How much of a long line is shown, in characters.
const LINE_CHARACTERS_MAX: usize = 120;

/// The part of a line around a column, and the blanks that put a caret below that column.
fn window(line: &str, column: u32) -> (String, String) {
    let column = column.max(1) as usize - 1;
    let length = line.chars().count();
    let start = if length <= LINE_CHARACTERS_MAX { 0 } else { column.saturating_sub(LINE_CHARACTERS_MAX / 2) };
    let shown: String = line.chars().skip(start).take(LINE_CHARACTERS_MAX).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if start + LINE_CHARACTERS_MAX < length { "…" } else { "" };
    let blank = |character: char| if character == '\t' { '\t' } else { ' ' };
    let mut caret: String =
        before.chars().chain(shown.chars()).take(column - start + before.chars().count()).map(blank).collect();
    let missing = (column - start + before.chars().count()).saturating_sub(caret.chars().count());
    caret.extend(std::iter::repeat_n(' ', missing));
    (format!("{before}{}{after}", printable(&shown)), caret)
}

/// A file must not be able to write escape sequences to a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character })
        .collect()
}

fn github_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn github_property(text: &str) -> String {
    github_data(text).replace(':', "%3A").replace(',', "%2C")
}

fn lossy<S: Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

struct Paint(bool);

impl Paint {
    const BOLD: &str = "1";
    const RED: &str = "1;31";
    const YELLOW: &str = "1;33";
    const CYAN: &str = "1;36";

    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line_text: &str, line: u32, column: u32) -> Finding {
        Finding {
            severity: Severity::Error,
            file: "dir/a.yaml".into(),
            position: Some(Position { line, column }),
            line_text: line_text.to_owned(),
            object: "HTTPRoute default/hello".to_owned(),
            field: "spec.x".to_owned(),
            message: "is wrong".to_owned(),
            remedy: "write what is right".to_owned(),
            kept: false,
        }
    }

    #[test]
    fn text_shows_the_line_and_the_remedy() {
        let expected = "dir/a.yaml:12:6: error: HTTPRoute default/hello: spec.x: is wrong\n  12 |   x: y\n     |      ^\n  help: write what is right\n";
        assert_eq!(finding("  x: y", 12, 6).text(false), expected);
        let kept = Finding {
            kept: true,
            remedy: String::new(),
            position: None,
            severity: Severity::Warning,
            ..finding("", 0, 0)
        };
        let expected = "dir/a.yaml: warning: HTTPRoute default/hello: spec.x: is wrong\n  note: the last good version stays live\n";
        assert_eq!(kept.text(false), expected);
    }

    #[test]
    fn colours_follow_the_terminal_and_no_color() {
        assert!(finding("  x: y", 12, 6).text(true).contains("\x1b[1;31merror\x1b[0m"));
        assert!(colours(true, None) && colours(true, Some(OsStr::new(""))));
        assert!(!colours(true, Some(OsStr::new("1"))) && !colours(false, None));
    }

    #[test]
    fn a_line_cannot_write_to_the_terminal_and_long_ones_are_cut_around_the_caret() {
        assert!(!finding("a: \x1b[2J", 1, 4).text(false).contains('\x1b'));
        let long = format!("{}!{}", "x".repeat(500), "y".repeat(500));
        let text = finding(&long, 1, 501).text(false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].chars().count() < 140);
        assert_eq!(lines[1].chars().position(|c| c == '!'), lines[2].chars().position(|c| c == '^'));
        assert_eq!(window("\ta: x", 5).1, "\t   ", "a tab stays a tab, so that the caret stands right");
        assert_eq!(window("ab", 4).1, "   ", "beyond the end of the line");
    }

    #[test]
    fn github_gets_workflow_commands() {
        let mut finding = finding("  x: y", 12, 6);
        finding.file = "a,b.yaml".into();
        finding.message = "is 100%\nwrong".to_owned();
        let report = Report { findings: &[finding], skipped: &[], files: 1, objects: 3 };
        let expected = "::error file=a%2Cb.yaml,line=12,col=6::HTTPRoute default/hello: spec.x: is 100%25%0Awrong%0Ahelp: write what is right\n1 error; 3 objects in 1 file\n";
        assert_eq!(report.render(Output::Github), expected);
    }

    #[test]
    fn json_is_one_document() {
        let skipped = [Skipped { kind: "apps/v1 Deployment".to_owned(), objects: 2 }];
        let report = Report { findings: &[finding("  x: y", 12, 6)], skipped: &skipped, files: 2, objects: 3 };
        let document: serde_json::Value = serde_json::from_str(&report.render(Output::Json)).unwrap();
        let expected = serde_json::json!({
            "severity": "error", "file": "dir/a.yaml", "line": 12, "column": 6, "text": "  x: y",
            "object": "HTTPRoute default/hello", "field": "spec.x", "message": "is wrong", "remedy": "write what is right",
        });
        assert_eq!(document["findings"][0], expected);
        assert_eq!(document["skipped"][0], serde_json::json!({"kind": "apps/v1 Deployment", "objects": 2}));
        assert_eq!(document["counts"], serde_json::json!({"errors": 1, "warnings": 0, "objects": 3, "files": 2}));
    }

    #[test]
    fn a_report_closes_with_what_was_skipped_and_counted() {
        let skipped = [
            Skipped { kind: String::new(), objects: 1 },
            Skipped { kind: "apps/v1 Deployment".to_owned(), objects: 2 },
        ];
        let report = Report { findings: &[], skipped: &skipped, files: 1, objects: 0 };
        let expected = "skipped 1 document without apiVersion and kind: no Kubernetes object\nskipped kind apps/v1 Deployment (2 objects): Headgate does not use it\nno problems; 0 objects in 1 file\n";
        assert_eq!(report.render(Output::Text { colours: false }), expected);
    }
}
