//! `explain`: why a request goes where it goes. From files, or from a running gateway; it never sends the request.

use super::routes;
use crate::{
    admin::{self, Admin, Unanswered, encoded},
    exit, logging,
    offline::{Offline, Source},
    output::{self, Format},
};
use headgate_gateway::{failure::Failure, question::Question};
use serde_json::Value;
use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode};

mod told;

use told::Told;

/// Tell why a request goes where it goes
///
/// Names the rule that takes the request, the rules that lost to it with the field that decided, the rules that nearly matched with
/// the field that did not, filters, split, timeouts, and the state of the backends. The request is not sent. Method, headers and data
/// are written as for curl.
///
/// Without --from the routes are those of the gateway that runs now. Exits with 1 if the request would get a 404 or 500.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # in the running gateway
  headgate explain http://hello.default.localhost:8080/
  headgate explain -X POST -H 'X-Role: admin' http://shop.localhost:8080/orders?all=1

  # in files, without starting anything
  headgate explain --from examples/canary http://hello.default.localhost:8080/

  # a request of the past, by its request_id in the access log
  headgate explain --request-id 0198c2f4a1b2")]
pub struct Args {
    /// What is asked for; http:// can be left out
    #[arg(required_unless_present = "request_id")]
    url: Option<String>,
    /// The method; GET, or POST with --data
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header as `Name: value`; can be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A body
    #[arg(short, long)]
    data: Option<String>,
    /// Read this file or folder (- for standard input) and start nothing; can be repeated
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// Domain of functions that have no hostname of their own; with --from
    #[arg(long, default_value = "localhost", requires = "from")]
    domain: String,
    /// A past request instead of a URL; the gateway remembers the last ones
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "from", "method", "headers", "data"])]
    request_id: Option<String>,
    /// Where the running gateway explains
    #[arg(long, value_name = "ADDRESS", default_value = admin::DEFAULT, conflicts_with = "from")]
    admin: SocketAddr,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Explains and prints.
pub fn run(args: Args) -> ExitCode {
    let admin = Admin(args.admin);
    if let Some(id) = &args.request_id {
        return match admin.get::<Value>(&format!("/requests?id={}", encoded(id))) {
            Ok(record) => output::print(&render(args.output, &record, past), 0),
            Err(why) => admin.report(&why, "look for the id in the access log"),
        };
    }
    let question = question(&args);
    // asked here too: what is wrong with the question itself is a matter of usage, whoever answers it
    let asked = match question.read() {
        Ok(asked) => asked,
        Err(why) => return exit::fail(exit::USAGE, &why, ""),
    };
    let answer = if args.from.is_empty() {
        match live(&admin, &question) {
            Ok(answer) => answer,
            Err(why) => return admin.report(&why, "read files: headgate explain --from PATH URL"),
        }
    } else {
        match Source::of(&args.from) {
            Ok(source) => {
                let offline = Offline::read(&source, &args.domain);
                offline.warn_of_errors();
                serde_json::to_value(asked.explain(&offline.table())).expect("an explanation has text keys only")
            }
            Err(why) => return exit::fail(exit::USAGE, &why, "headgate explain --from PATH URL"),
        }
    };
    let found = answer.get("verdict").and_then(Value::as_str) == Some("found");
    let colours = logging::colours(&io::stdout());
    let text = render(args.output, &answer, |answer| match serde_json::from_value::<Told>(answer.clone()) {
        Ok(told) => told.text(&question.url, colours),
        // another version of the gateway: what it says is better than nothing
        Err(_) => output::yaml(answer),
    });
    output::print(&text, if found { 0 } else { exit::PROBLEMS })
}

fn question(args: &Args) -> Question {
    Question {
        url: args.url.clone().unwrap_or_default(),
        method: args.method.clone(),
        headers: args.headers.clone(),
        body_bytes: args.data.as_ref().map(|data| data.len() as u64),
    }
}

/// The running gateway's explanation, and what it says of the backends of the split.
fn live(admin: &Admin, question: &Question) -> Result<Value, Unanswered> {
    let mut page = format!("/explain?url={}", encoded(&question.url));
    if let Some(method) = &question.method {
        page += &format!("&method={}", encoded(method));
    }
    for header in &question.headers {
        page += &format!("&header={}", encoded(header));
    }
    if let Some(bytes) = question.body_bytes {
        page += &format!("&body={bytes}");
    }
    let mut answer: Value = admin.get(&page)?;
    let backends: Vec<Value> = admin.get("/backends")?;
    let arms = answer.get("split").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_arm = |row: &Value| arms.iter().any(|arm| arm.get("backend") == row.get("name"));
    answer["backends"] = backends.into_iter().filter(is_arm).collect();
    Ok(answer)
}

fn render(format: Format, value: &Value, text: impl Fn(&Value) -> String) -> String {
    match format {
        Format::Text => text(value),
        Format::Json => output::json(value),
        Format::Yaml => output::yaml(value),
    }
}

/// A past request: its access log, and what its failure means.
fn past(record: &Value) -> String {
    let fields = record.as_object().into_iter().flatten();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut text: String = fields.map(|(name, value)| format!("{name:<14} {}\n", plain(value))).collect();
    let name = record.get("failure").and_then(Value::as_str);
    if let Some(failure) = Failure::ALL.iter().find(|failure| Some(failure.name()) == name) {
        let row = failure.row();
        text.push_str(&format!("\n{}: {}\nhelp: {}\n", failure.name(), row.text, row.remedy));
    }
    text
}
