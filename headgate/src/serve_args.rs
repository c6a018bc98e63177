//! What all commands that serve requests have in common, as flags. It serves nothing itself.

use headgate_gateway::{
    Binding, Hosts, Inheritance, Proxied, Settings,
    forwarded::TrustedHops,
    telemetry::{LogFormat, LogSink},
};
use std::{fs::OpenOptions, net::SocketAddr};

/// Flags of a data plane.
#[derive(clap::Args)]
pub struct ServeArgs {
    /// Threads that serve; as many as there are processors if not given.
    #[arg(long)]
    cores: Option<usize>,
    /// Where the access log goes: `stderr`, `none`, or a file.
    #[arg(long, value_name = "WHERE", default_value = "stderr")]
    access_log: String,
    /// Networks whose X-Forwarded-* are believed, with commas between them.
    #[arg(long, value_name = "CIDRS", default_value = "")]
    trusted_hops: String,
    /// Ports of listeners whose connections begin with a header of the PROXY protocol (version 1 or 2), with commas between them: who
    /// that says is the client. A connection without one is closed.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    proxy_protocol_in: Vec<u16>,
    /// Networks from which such a header is taken, with commas between them; from everybody who reaches the port if not given.
    #[arg(long, value_name = "CIDRS", default_value = "", hide_default_value = true, requires = "proxy_protocol_in")]
    proxy_protocol_from: String,
    #[command(flatten)]
    pub limits: crate::limits_args::LimitArgs,
}

impl ServeArgs {
    /// The settings of a gateway that listens there.
    ///
    /// # Errors
    /// What is wrong with a flag, for people.
    pub fn settings(
        &self,
        binding: Binding,
        admin: Option<SocketAddr>,
        log_format: LogFormat,
    ) -> Result<Settings, String> {
        let limits = self.limits.limits.clone();
        if let Some(defect) = limits.defects().first() {
            return Err(defect.clone());
        }
        Ok(Settings {
            cores: self.cores.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1),
            binding,
            log: log_sink(&self.access_log, log_format, limits.log_bytes)?,
            limits,
            trusted: networks("trusted-hops", &self.trusted_hops)?,
            hosts: Hosts::default(),
            proxied: Proxied {
                ports: self.proxy_protocol_in.iter().copied().collect(),
                from: networks("proxy-protocol-from", &self.proxy_protocol_from)?,
            },
            admin,
            inheritance: Inheritance::default(),
        })
    }
}

fn networks(flag: &str, written: &str) -> Result<TrustedHops, String> {
    written.parse().map_err(|why| format!("--{flag}: {why}"))
}

fn log_sink(wanted: &str, format: LogFormat, bytes_max: usize) -> Result<Option<LogSink>, String> {
    match wanted {
        "none" => Ok(None),
        "stderr" => {
            let json = format.is_json(&std::io::stderr());
            Ok(Some(LogSink { sink: Box::new(std::io::stderr()), json, bytes_max }))
        }
        path => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|error| format!("--access-log {path}: {error}"))?;
            let json = format.is_json(&file);
            Ok(Some(LogSink { sink: Box::new(file), json, bytes_max }))
        }
    }
}
