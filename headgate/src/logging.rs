//! Where events go that are not a command's output: standard error, as text or JSON, chosen by `HEADGATE_LOG`. Never standard output.

use clap::ValueEnum;
use headgate_controller::sources::findings;
use headgate_gateway::telemetry::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Auto => Self::Auto,
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// Starts it. A filter that cannot be read is told, and the default holds.
pub fn start(format: Format) {
    let filter = std::env::var("HEADGATE_LOG").unwrap_or_default();
    let (filter, defect) = match filter.parse::<EnvFilter>() {
        Ok(read) if !filter.is_empty() => (read, None),
        Ok(_) => (EnvFilter::new("warn,headgate=info"), None),
        Err(error) => (EnvFilter::new("warn,headgate=info"), Some(error)),
    };
    let stderr = std::io::stderr();
    let colours = colours(&stderr);
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if LogFormat::from(format).is_json(&stderr) {
        events.json().flatten_event(true).init();
    } else {
        events.with_ansi(colours).init();
    }
    if let Some(error) = defect {
        tracing::warn!("HEADGATE_LOG cannot be read ({error}): write for example info, or headgate_gateway=debug");
    }
}

/// Whether a stream gets colours.
pub fn colours(stream: &impl IsTerminal) -> bool {
    findings::colours(stream.is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}
