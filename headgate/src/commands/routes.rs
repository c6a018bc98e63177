//! `routes`: every rule in the order in which it is tried, and where each function is found. From files, from a running gateway, or from the gateways of a cluster.

use super::status::sight;
use crate::{
    admin::{Admin, AdminArgs, Unanswered},
    exit,
    gateways::{Fleet, GatewayArgs},
    model::Model,
    offline::{Offline, Source},
    output::{self, ListFormat},
    reach::{Reach, block_on},
};
use headgate_cluster::pods::Unsaid;
use headgate_config::{PathMatch, Protocol, ValueMatch, ValueTest, Version};
use headgate_controller::{assemble::Assembly, report::Report, sources::cluster::ClusterObject};
use headgate_functions::kinds::FUNCTION_GROUP;
use headgate_routing::Table;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// Show every rule in matching order, and each function's hostnames, paths and addresses
///
/// Of the rules whose listener and host take a request, the first that matches serves it. The rules are those of files (--from), of
/// the gateways of a cluster (--context, --kubeconfig, --gateway, -n or -A, asked through the API server), else of the gateway that
/// `headgate run` runs now.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  # of the running gateway
  headgate routes

  # of files, without starting anything
  headgate routes --from examples/canary
  headgate routes --from gateway.yaml --from functions/ -o json

  # with listeners, headers and query parameters; of one namespace only
  headgate routes --from gateway.yaml -o wide -n shop

  # of a cluster: all its Gateways, one of them, only routes of one namespace
  headgate routes -A
  headgate routes --gateway infra/web
  headgate routes --context prod -n shop")]
pub struct Args {
    /// Read this file or folder (- for standard input) and start nothing; can be repeated
    #[arg(long, value_name = "PATH", conflicts_with_all = ["gateway", "context", "kubeconfig"])]
    from: Vec<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ListFormat,
    /// Only routes and functions of this namespace; of the cluster, unless --from or --admin is given
    #[arg(short, long)]
    namespace: Option<String>,
    /// Those of all namespaces of the cluster
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Domain of functions that have no hostname of their own; with --from
    #[arg(long, default_value = "localhost", requires = "from")]
    domain: String,
    #[command(flatten)]
    of: GatewayArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What is printed as JSON and YAML.
#[derive(Debug, Default, Serialize)]
struct Listing {
    /// The rules as the gateway's own admin port has them.
    rules: Vec<Value>,
    functions: Vec<FunctionRow>,
}

/// Where a function is found, in the words of its status in OpenFunction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FunctionRow {
    namespace: String,
    name: String,
    /// `status.route.hosts`; empty for a function that HTTP does not call.
    hosts: Vec<String>,
    /// `status.route.paths`.
    paths: Vec<Value>,
    /// `status.addresses`.
    addresses: Vec<Value>,
    /// `status.serving.state`.
    state: String,
}

/// The functions of an assembly, in order.
pub fn functions(assembly: &Assembly) -> Vec<FunctionRow> {
    let row = |function: &headgate_functions::kinds::Function| {
        let name = function.reference();
        let status = assembly.expansion.status(&name);
        let list = |pointer: &str| status.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let texts = |values: Vec<Value>| values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        FunctionRow {
            namespace: name.namespace,
            name: name.name,
            hosts: texts(list("/route/hosts")),
            paths: list("/route/paths"),
            addresses: list("/addresses"),
            state: status.pointer("/serving/state").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    };
    assembly.functions.iter().map(row).collect()
}

/// Prints them.
pub fn run(args: Args) -> ExitCode {
    let parts = if !args.from.is_empty() {
        match Source::of(&args.from) {
            Ok(source) => vec![(String::new(), offline(&source, &args.domain))],
            Err(why) => return exit::fail(exit::USAGE, &why, "headgate routes --from PATH"),
        }
    } else if args.is_of_cluster() {
        match block_on(in_cluster(&args.of)).and_then(|parts| parts) {
            Ok(parts) => parts,
            Err(why) => return exit::fail(exit::UNREACHABLE, &why, "see what there is: headgate status"),
        }
    } else {
        let admin = Admin(args.admin.address());
        match live(&admin) {
            Ok(listing) => vec![(String::new(), listing)],
            Err(why) => {
                return admin.report(&why, "read files: headgate routes --from PATH, or a cluster: headgate routes -A");
            }
        }
    };
    output::print(&args.printed(parts), 0)
}

impl Args {
    fn is_of_cluster(&self) -> bool {
        self.of.is_given() || (self.admin.admin.is_none() && (self.namespace.is_some() || self.all_namespaces))
    }

    /// The parts under their titles, or all as one for programs.
    fn printed(&self, mut parts: Vec<(String, Listing)>) -> String {
        if let Some(namespace) = &self.namespace {
            for (_, listing) in &mut parts {
                listing.rules.retain(|rule| namespace_of(rule) == Some(namespace));
                listing.functions.retain(|function| function.namespace == *namespace);
            }
        }
        if matches!(self.output, ListFormat::Table | ListFormat::Wide) {
            let wide = self.output == ListFormat::Wide;
            let texts = parts.iter().map(|(title, listing)| match title.is_empty() {
                true => listing.table(wide),
                false => format!("{title}\n{}", listing.table(wide)),
            });
            return texts.collect::<Vec<_>>().join("\n");
        }
        let mut whole = Listing::default();
        for (_, listing) in parts {
            whole.rules.extend(listing.rules);
            whole.functions.extend(listing.functions);
        }
        match self.output {
            ListFormat::Json => output::json(&whole),
            ListFormat::Yaml => output::yaml(&whole),
            _ => whole.names(),
        }
    }
}

/// Of each Gateway what one of its Pods says, and the functions of the cluster behind the last.
async fn in_cluster(args: &GatewayArgs) -> Result<Vec<(String, Listing)>, String> {
    let fleet = Fleet::find(args, None, |kind| kind.group == FUNCTION_GROUP).await?;
    let mut parts = Vec::new();
    for gateway in &fleet.gateways {
        let (by, rules) = match fleet.ask(gateway, ["/routes"]).await {
            Ok((pod, [rules])) => (format!("Pod {pod}"), rules),
            Err(why) => {
                eprintln!("note: {}; by objects:", unsaid(&gateway.name, &why));
                ("objects".to_owned(), by_objects(args, &gateway.name).await?)
            }
        };
        let title = format!("Gateway {} (by {by})", gateway.name);
        parts.push((title, Listing { rules, functions: Vec::new() }));
    }
    if let (Some((_, last)), None) = (parts.last_mut(), &args.gateway) {
        last.functions = functions_of(&fleet);
    }
    Ok(parts)
}

/// What a Gateway is to serve by the objects of its cluster, whatever its Pods do.
async fn by_objects(args: &GatewayArgs, gateway: &str) -> Result<Vec<Value>, String> {
    let model = Model::read(Reach::to(&args.cluster).await?).await?;
    let outlook = model.expect(model.there()).await.outlook;
    let snapshot = outlook.gateways.iter().find(|(name, _)| name.to_string() == gateway).map(|(_, snapshot)| snapshot);
    let rows = snapshot.map(|snapshot| {
        Table::compile(snapshot, Version::default(), None, |backend| backend.name.clone()).table.rules_in_order()
    });
    Ok(rows.unwrap_or_default().iter().filter_map(|row| serde_json::to_value(row).ok()).collect())
}

/// Why a Gateway could not be asked, with what to do.
pub fn unsaid(gateway: &str, why: &Unsaid) -> String {
    format!("the gateways of {gateway} cannot be asked: {why}")
}

/// As their status says.
fn functions_of(fleet: &Fleet) -> Vec<FunctionRow> {
    let sight = sight(&fleet.looked, &fleet.ground, None);
    let objects = fleet.looked.objects.iter().filter(|object| object.name.group == FUNCTION_GROUP);
    let row = |(row, object): (headgate_controller::report::FunctionRow, &Arc<ClusterObject>)| {
        let status = object.status.unfold();
        let list = |pointer: &str| status.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let hosts = list("/route/hosts").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let (namespace, name, state) = (row.namespace, row.name, row.state);
        FunctionRow { namespace, name, hosts, paths: list("/route/paths"), addresses: list("/addresses"), state }
    };
    Report::of(&sight).functions.into_iter().zip(objects).map(row).collect()
}

fn offline(source: &Source, domain: &str) -> Listing {
    let offline = Offline::read(source, domain);
    offline.warn_of_errors();
    let rows = offline.table().rules_in_order();
    let rules = rows.iter().map(|row| serde_json::to_value(row).expect("a row has text keys only")).collect();
    Listing { rules, functions: functions(&offline.assembly) }
}

fn live(admin: &Admin) -> Result<Listing, Unanswered> {
    let rules = admin.get("/routes")?;
    let functions = match admin.get("/functions") {
        // a gateway that runs without functions knows none
        Err(Unanswered::Refused(404, _)) => Vec::new(),
        answer => answer?,
    };
    Ok(Listing { rules, functions })
}

/// Of a rule's name, `kind/namespace/route/index`.
fn namespace_of(rule: &Value) -> Option<&str> {
    rule.get("rule")?.as_str()?.split('/').nth(1)
}

/// A rule as the table shows it: host, port, path, what else a request must have with its values, name, and where it goes.
pub fn cells(rule: &Value) -> Option<Vec<String>> {
    let mut cells = Row::deserialize(rule).ok()?.cells(true);
    // without title and listener
    cells.drain(5..7);
    Some(cells)
}

/// A rule as the table shows it.
#[derive(Deserialize)]
struct Row {
    port: u16,
    /// Of a gateway of an earlier version nothing, which served no others.
    #[serde(default = "http")]
    protocol: Protocol,
    listener: String,
    host: String,
    path: PathMatch,
    method: Option<String>,
    #[serde(default)]
    headers: Vec<ValueMatch>,
    #[serde(default)]
    queries: Vec<ValueMatch>,
    rule: String,
    #[serde(default)]
    title: String,
    arms: Vec<Arm>,
    invalid: Option<String>,
}

#[derive(Deserialize)]
struct Arm {
    backend: Option<String>,
    percent: f64,
    invalid: Option<String>,
}

fn http() -> Protocol {
    Protocol::Http
}

impl Listing {
    fn names(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for name in self.rules.iter().filter_map(|rule| rule.get("rule")?.as_str()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.into_iter().map(|name| format!("{name}\n")).collect()
    }

    fn table(&self, wide: bool) -> String {
        let rows: Vec<Row> = self.rules.iter().filter_map(|rule| Row::deserialize(rule).ok()).collect();
        let lines: Vec<_> = rows.iter().map(|row| row.cells(wide)).collect();
        let head: &[&str] = match wide {
            false => &["HOST", "PORT", "PATH", "ALSO", "RULE", "TO"],
            true => &["HOST", "PORT", "PATH", "ALSO", "RULE", "TITLE", "LISTENER", "TO"],
        };
        let mut text = output::table(head, &lines);
        if text.is_empty() {
            text.push_str("no rules\n");
        }
        let lines: Vec<_> = self.functions.iter().map(FunctionRow::cells).collect();
        let functions = output::table(&["FUNCTION", "STATE", "ADDRESSES"], &lines);
        if functions.is_empty() { text } else { text + "\n" + &functions }
    }
}

impl Row {
    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.host.clone(),
            match self.protocol {
                Protocol::Http | Protocol::Https => self.port.to_string(),
                other => format!("{} {}", self.port, other.as_str()),
            },
            // what is carried is not read
            if self.protocol.is_http() { path(&self.path) } else { "-".to_owned() },
            also(self.method.as_deref(), &self.headers, &self.queries, wide),
            self.rule.clone(),
        ];
        if wide {
            cells.extend([self.title.clone(), self.listener.clone()]);
        }
        cells.push(self.target());
        cells
    }

    fn target(&self) -> String {
        if let Some(why) = &self.invalid {
            return format!("500: {why}");
        }
        let arm = |arm: &Arm| match (&arm.invalid, &arm.backend) {
            (Some(why), _) => format!("500 {}: {why}", percent(arm.percent)),
            (None, Some(backend)) if self.arms.len() == 1 => backend.clone(),
            (None, backend) => format!("{} {}", backend.as_deref().unwrap_or("nowhere"), percent(arm.percent)),
        };
        match self.arms.is_empty() {
            true => "answered by a filter".to_owned(),
            false => self.arms.iter().map(arm).collect::<Vec<_>>().join(", "),
        }
    }
}

impl FunctionRow {
    fn cells(&self) -> Vec<String> {
        let value = |address: &Value| address.get("value").and_then(Value::as_str).map(str::to_owned);
        let addresses: Vec<String> = self.addresses.iter().filter_map(value).collect();
        vec![format!("{}/{}", self.namespace, self.name), self.state.clone(), addresses.join(" ")]
    }
}

/// A path match: `/a` exactly, `/a/*` by prefix, `~ …` by expression.
pub fn path(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("= {path}"),
        PathMatch::Prefix(path) => path.to_string(),
        PathMatch::Regex(expression) => format!("~ {expression}"),
    }
}

/// What else a request must have: values only where there is room for them.
pub fn also(method: Option<&str>, headers: &[ValueMatch], queries: &[ValueMatch], values: bool) -> String {
    let test = |sign: &str, one: &ValueMatch| match &one.test {
        _ if !values => format!("{sign}{}", one.name),
        ValueTest::Exact(value) => format!("{sign}{}={value}", one.name),
        ValueTest::Regex(expression) => format!("{sign}{}~{expression}", one.name),
    };
    let mut parts: Vec<String> = method.iter().map(|method| (*method).to_owned()).collect();
    parts.extend(headers.iter().map(|one| test("header ", one)));
    parts.extend(queries.iter().map(|one| test("?", one)));
    parts.join(", ")
}

/// `90%`, `33.3%`.
pub fn percent(percent: f64) -> String {
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}
