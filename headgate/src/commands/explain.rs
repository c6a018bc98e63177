//! `explain`: why a request goes where it goes. From files, from a running gateway, or from the gateways of a cluster; it never sends the request.

use super::routes;
use crate::{
    admin::{Admin, AdminArgs, Unanswered, encoded},
    exit,
    gateways::{Fleet, GatewayArgs, One},
    logging,
    offline::{Offline, Source},
    output::{self, Format},
    reach::block_on,
};
use headgate_gateway::{failure::Failure, question::Question};
use serde_json::Value;
use std::{io, path::PathBuf, process::ExitCode};

mod told;

use told::Told;

/// Tell why a request goes where it goes
///
/// Names the rule that takes the request, the rules that lost to it with the field that decided, the rules that nearly matched with
/// the field that did not, filters, split, timeouts, and the state of the backends. The request is not sent. Method, headers and data
/// are written as for curl.
///
/// The routes are those of files (--from), of the Gateways of a cluster (--context, --kubeconfig, --gateway or -n; one Pod of each is
/// asked through the API server, and those that come nearest are shown), else of the gateway that `headgate run` runs now. Exits with 1
/// if the request would get a 404 or 500.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # in the running gateway
  headgate explain http://hello.default.localhost:8080/
  headgate explain -X POST -H 'X-Role: admin' http://shop.localhost:8080/orders?all=1

  # in files, without starting anything
  headgate explain --from examples/canary http://hello.default.localhost:8080/

  # in a cluster: at one Gateway, and at all of a namespace
  headgate explain --gateway infra/web http://shop.example/orders
  headgate explain -n infra http://shop.example/orders

  # a request of the past, by its request_id in the access log; in a cluster all Pods are asked
  headgate explain --request-id 0198c2f4a1b2
  headgate explain --gateway infra/web --request-id 0198c2f4a1b2")]
pub struct Args {
    /// What is asked for; http:// can be left out, and tls://, tcp:// and udp:// ask for what is not read
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
    #[arg(long, value_name = "PATH", conflicts_with_all = ["gateway", "context", "kubeconfig", "namespace"])]
    from: Vec<PathBuf>,
    /// Domain of functions that have no hostname of their own; with --from
    #[arg(long, default_value = "localhost", requires = "from")]
    domain: String,
    /// A past request instead of a URL; the gateway remembers the last ones
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "from", "method", "headers", "data"])]
    request_id: Option<String>,
    /// Of a cluster: Gateways of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    of: GatewayArgs,
    #[command(flatten)]
    admin: AdminArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Explains and prints.
pub fn run(args: Args) -> ExitCode {
    let admin = Admin(args.admin.address());
    let is_of_cluster = args.of.is_given() || (args.namespace.is_some() && args.admin.admin.is_none());
    if let Some(id) = &args.request_id {
        if is_of_cluster {
            return past_in_cluster(&args, id);
        }
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
    let answers = if is_of_cluster {
        match block_on(in_cluster(&args, &question)).and_then(|answers| answers) {
            Ok(answers) => answers,
            Err(why) => return exit::fail(exit::UNREACHABLE, &why, "see what there is: headgate status"),
        }
    } else if args.from.is_empty() {
        match live(&admin, &question) {
            Ok(answer) => Answers::One(answer),
            Err(why) => {
                return admin.report(
                    &why,
                    "read files: headgate explain --from PATH URL, or a cluster: headgate explain --gateway NAME URL",
                );
            }
        }
    } else {
        match Source::of(&args.from) {
            Ok(source) => {
                let offline = Offline::read(&source, &args.domain);
                offline.warn_of_errors();
                let answer = serde_json::to_value(asked.explain(&offline.table()));
                Answers::One(answer.expect("an explanation has text keys only"))
            }
            Err(why) => return exit::fail(exit::USAGE, &why, "headgate explain --from PATH URL"),
        }
    };
    let colours = logging::colours(&io::stdout());
    let text = |answer: &Value| match serde_json::from_value::<Told>(answer.clone()) {
        Ok(told) => told.text(&question.url, colours),
        // another version of the gateway: what it says is better than nothing
        Err(_) => output::yaml(answer),
    };
    let (printed, found) = match &answers {
        Answers::One(answer) => (render(args.output, answer, text), is_found(answer)),
        Answers::Several(answers) => {
            let whole = Value::Array(answers.clone());
            let texts = |_: &Value| {
                let of_gateway = |answer: &Value| format!("Gateway {}\n{}", named(answer), text(answer));
                answers.iter().map(of_gateway).collect::<Vec<_>>().join("\n")
            };
            (render(args.output, &whole, texts), answers.iter().any(is_found))
        }
    };
    output::print(&printed, if found { 0 } else { exit::PROBLEMS })
}

/// What was answered.
enum Answers {
    /// By the one that was asked.
    One(Value),
    /// By the Gateways that come nearest to taking the request; each says its `gateway`.
    Several(Vec<Value>),
}

fn verdict(answer: &Value) -> &str {
    answer.get("verdict").and_then(Value::as_str).unwrap_or_default()
}

fn is_found(answer: &Value) -> bool {
    verdict(answer) == "found"
}

fn named(answer: &Value) -> &str {
    answer.get("gateway").and_then(Value::as_str).unwrap_or_default()
}

/// Those that come nearest to taking the request: by a rule, a host, a listener, or not at all.
fn nearest(answers: Vec<Value>) -> Vec<Value> {
    const FARTHEST_FIRST: [&str; 3] = ["noListener", "noHost", "noMatch"];
    let near = |answer: &Value| {
        let far = FARTHEST_FIRST.iter().position(|known| *known == verdict(answer));
        far.unwrap_or(FARTHEST_FIRST.len())
    };
    let most = answers.iter().map(near).max();
    answers.into_iter().filter(|answer| Some(near(answer)) == most).collect()
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
    Ok(with_backends(admin.get(&page(question))?, admin.get("/backends")?))
}

/// The same of one Pod of each Gateway that is asked for. Of several, those that cannot be asked are named, and the others answer.
async fn in_cluster(args: &Args, question: &Question) -> Result<Answers, String> {
    let fleet = Fleet::find(&args.of, args.namespace.as_deref(), |_| false).await?;
    if let [only] = &fleet.gateways[..] {
        return Ok(Answers::One(of_gateway(&fleet, only, question).await?));
    }
    let (mut answers, mut unasked) = (Vec::new(), Vec::new());
    for gateway in &fleet.gateways {
        match of_gateway(&fleet, gateway, question).await {
            Ok(mut answer) => {
                answer["gateway"] = gateway.name.clone().into();
                answers.push(answer);
            }
            Err(why) => unasked.push(why),
        }
    }
    if answers.is_empty() {
        return Err(unasked.join("; "));
    }
    unasked.iter().for_each(|why| eprintln!("warning: {why}"));
    Ok(Answers::Several(nearest(answers)))
}

async fn of_gateway(fleet: &Fleet, gateway: &One, question: &Question) -> Result<Value, String> {
    let asked = fleet.ask(gateway, [&page(question), "/backends"]).await;
    let (pod, [answer, backends]) = asked.map_err(|why| routes::unsaid(&gateway.name, &why))?;
    let backends = serde_json::from_value(backends).map_err(|error| format!("Pod {pod}: {error}"))?;
    eprintln!("asked: Pod {pod} of Gateway {}", gateway.name);
    Ok(with_backends(answer, backends))
}

/// A request of the past, which only one Pod remembers.
fn past_in_cluster(args: &Args, id: &str) -> ExitCode {
    let found = block_on(async {
        let fleet = Fleet::find(&args.of, args.namespace.as_deref(), |_| false).await?;
        fleet.ask_all(&format!("/requests?id={}", encoded(id))).await.map_err(|why| routes::unsaid("the cluster", &why))
    });
    match found.and_then(|found| found) {
        Ok(Some(record)) => match serde_json::from_str::<Value>(&record) {
            Ok(record) => output::print(&render(args.output, &record, past), 0),
            Err(error) => exit::fail(exit::PROBLEMS, &format!("what a gateway remembers cannot be read: {error}"), ""),
        },
        Ok(None) => {
            exit::fail(exit::PROBLEMS, "no gateway remembers such a request", "look for the id in the access log")
        }
        Err(why) => exit::fail(exit::UNREACHABLE, &why, "see what there is: headgate status"),
    }
}

/// The page of the admin port that answers a question.
fn page(question: &Question) -> String {
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
    page
}

/// With what the gateway says of the backends of the split.
fn with_backends(mut answer: Value, backends: Vec<Value>) -> Value {
    let arms = answer.get("split").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_arm = |row: &Value| arms.iter().any(|arm| arm.get("backend") == row.get("name"));
    answer["backends"] = backends.into_iter().filter(is_arm).collect();
    answer
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_several_gateways_those_that_come_nearest_are_shown() {
        let answer = |gateway: &str, verdict: &str| json!({"gateway": gateway, "verdict": verdict});
        let shown = |answers: &[(&str, &str)]| {
            let answers = answers.iter().map(|(gateway, verdict)| answer(gateway, verdict)).collect();
            nearest(answers).iter().map(|answer| named(answer).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&[("a", "noHost"), ("b", "found"), ("c", "invalid"), ("d", "noMatch")]), ["b", "c"]);
        assert_eq!(shown(&[("a", "noHost"), ("b", "noMatch"), ("c", "noListener")]), ["b"]);
        assert_eq!(shown(&[("a", "noListener"), ("b", "noListener")]), ["a", "b"]);
    }
}
