//! `controller`: watches, state machine, publisher, writers, joined for a cluster. It decides nothing: objects and acknowledgements go to `Cluster`, and what that says is done.

mod admin;
mod ask;
mod metrics;
mod scaling;

use crate::{clock::now_ms, exit, interrupts::Interrupts};
use admin::Shown;
use ask::Look;
use headgate_cluster::{
    Client,
    apply::Applier,
    authority::{AuthorityError, authority},
    events::{Happening, Regarding, Severity},
    leader::{Leader, Leading},
    status::StatusWriter,
    tokens::{Tokens, Unknown},
    watches::Watches,
};
use headgate_config::GatewayName;
use headgate_controller::{
    cluster::{About, Cluster, Ground, Output},
    scaling::cluster::{Input, TargetState},
    sources::cluster::ObjectChange,
};
use headgate_functions::Defaults;
use headgate_stream::{FromGateway, Identity, Pace, Publisher, Refusal, Report, ServerTls, authority::Material};
use headgate_translate::{DEFAULT_CONTROLLER_NAME, Settings};
use scaling::Scaling;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, RwLock, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};
use tokio::{net::TcpListener, sync::watch};

/// How often the authority of the stream is looked at.
const AUTHORITY_PERIOD: Duration = Duration::from_secs(3_600);
/// Between tries to get the first one: at first and at most.
const AUTHORITY_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// How long the work on a change waits for Secrets, ConfigMaps and workloads that it refers to.
const REFERRED_WITHIN: Duration = Duration::from_secs(2);

/// Serve a cluster: watch its routes and functions, give each Gateway its own gateways, tell them what to serve, write status.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  headgate controller --image headgate:0.1.0                       # in a Pod, or by the current kubeconfig\n  headgate controller --image headgate:0.1.0 --domain example.com  # functions below example.com"
)]
pub struct Args {
    /// Namespace of the controller.
    #[arg(long, env = "POD_NAMESPACE", hide_env_values = true, default_value = "headgate-system")]
    namespace: String,
    /// Name of this controller among its replicas.
    #[arg(long, env = "POD_NAME", hide_env_values = true, default_value = "headgate-controller")]
    identity: String,
    /// Image of the gateways.
    #[arg(long)]
    image: String,
    /// `imagePullPolicy` of the gateways.
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// GatewayClasses with this controllerName are served.
    #[arg(long, default_value = DEFAULT_CONTROLLER_NAME)]
    controller_name: String,
    /// The class of Gateways that functions make.
    #[arg(long, default_value = "headgate")]
    class: String,
    /// Whether functions are served: by one installation of a cluster only.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    functions: bool,
    /// Whether Ingresses are served whose IngressClass names the controller headgate.dev/ingress-controller, and a Gateway in its
    /// parameters.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    ingress: bool,
    /// Domain of functions that have no hostname of their own.
    #[arg(long, default_value = "example.com")]
    domain: String,
    /// Domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Where gateways connect to.
    #[arg(long, default_value = "0.0.0.0:9902", value_name = "ADDRESS")]
    stream_address: SocketAddr,
    /// The DNS name by which gateways call the controllers; made of the namespace if not given.
    #[arg(long, value_name = "NAME")]
    stream_name: Option<String>,
    /// Where metrics and health are shown.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9901")]
    admin: SocketAddr,
}

/// Serves until it is stopped.
pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(exit::PROBLEMS, &format!("no runtime: {error}"), ""),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => exit::fail(exit::UNREACHABLE, &why, ""),
    }
}

async fn serve(args: Args) -> Result<(), String> {
    let shown = Arc::new(Shown::default());
    let admin = TcpListener::bind(args.admin).await.map_err(|error| format!("--admin {}: {error}", args.admin))?;
    let (asker, questions) = ask::questions();
    tokio::spawn(admin::serve(admin, shown.clone(), asker));
    let client = headgate_cluster::client().await.map_err(|error| format!("no API server: {error}"))?;
    let mut interrupts = Interrupts::new()?;
    let leader = Leader::start(client.clone(), &args.namespace, &args.identity);
    let serving = controller(&args, client, shown, questions, (leader.leading(), leader.reached()));
    let ended = tokio::select! {
        ended = serving => ended,
        () = interrupts.next() => Ok(()),
    };
    tracing::info!("stopping: gateways serve on");
    leader.release().await;
    ended
}

/// Whose token speaks for which Gateway, by namespace and ServiceAccount.
type Accounts = Arc<RwLock<BTreeMap<(String, String), GatewayName>>>;

async fn controller(
    args: &Args,
    client: Client,
    shown: Arc<Shown>,
    mut questions: ask::Questions,
    (mut leading, reached): (Leading, watch::Receiver<Instant>),
) -> Result<(), String> {
    let names = stream_names(args);
    let material = first_authority(&client, &args.namespace, &names).await?;
    let tls = ServerTls::new(material.chain(), material.key()).map_err(text)?;
    // the time is another number after each start
    let (publisher, mut reports) = Publisher::new(&args.identity, now_ms(), env!("CARGO_PKG_VERSION"), Pace::default());
    publisher.current_as_of(reached);
    let accounts = Accounts::default();
    let listener = TcpListener::bind(args.stream_address)
        .await
        .map_err(|error| format!("--stream-address {}: {error}", args.stream_address))?;
    let authenticate = authenticator(Tokens::new(client.clone()), accounts.clone());
    let mut serving = tokio::spawn(headgate_stream::serve(listener, tls.clone(), authenticate, publisher.clone()));
    let mut watches = Watches::start(client.clone(), |kind| args.ingress || !kind.is_asked_for);
    let (scaling, mut written) = Scaling::new(client.clone(), publisher.clone(), &args.controller_name);
    let mut machine = Machine {
        scaling,
        cluster: Cluster::new(ground(args, &material.trusted())),
        publisher,
        applier: Applier::start(client.clone(), args.functions, leading.clone()),
        writer: StatusWriter::start(client.clone(), &args.controller_name, &args.identity, leading.clone()),
        accounts,
        shown,
        leading: leading.clone(),
        leads: false,
    };
    let mut refusals = machine.applier.refusals();
    let mut hourly = tokio::time::interval(AUTHORITY_PERIOD);
    hourly.tick().await;
    machine.lead(leading.is_now());
    loop {
        tokio::select! {
            batch = watches.next() => machine.work(batch, &mut watches).await,
            Some(report) = reports.recv() => machine.heard(report),
            Some(outcome) = written.recv() => machine.scale(outcome),
            () = tokio::time::sleep(machine.scaling.pause()) => machine.scale(Input::Tick),
            Ok(()) = refusals.changed() => {
                let refused = refusals.borrow_and_update().clone();
                let outputs = machine.cluster.refused(refused);
                machine.carry_out(outputs);
            }
            Some(question) = questions.recv() => {
                // whoever asked may have left
                let _ = question.send(machine.look(&args.identity, leading.is_now(), &watches).health());
            }
            () = leading.changed() => machine.check_term(),
            _ = hourly.tick() => match authority(&client, &args.namespace, &names, SystemTime::now()).await {
                Ok(material) => {
                    tls.replace(material.chain(), material.key()).map_err(text)?;
                    let outputs = machine.cluster.provide(provision(args, &material.trusted()));
                    machine.carry_out(outputs);
                }
                Err(error) => tracing::error!(%error, "the authority of the stream was not looked at"),
            },
            ended = &mut serving => {
                let why = ended.map_err(text).and_then(|ended| ended.map_err(text)).err();
                return Err(format!("the stream to gateways ended: {}", why.unwrap_or_default()));
            }
        }
    }
}

/// The authority, however long the API server is not there or refuses: whoever ends for that starts later and later, and is away for
/// minutes when it is there again.
async fn first_authority(client: &Client, namespace: &str, names: &[String]) -> Result<Material, String> {
    let mut pause = AUTHORITY_PAUSE.0;
    loop {
        match authority(client, namespace, names, SystemTime::now()).await {
            Ok(material) => return Ok(material),
            // another try makes no other name
            Err(error @ AuthorityError::Material(_)) => return Err(error.to_string()),
            Err(error) => tracing::warn!(%error, "no authority for the stream yet; it is tried again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AUTHORITY_PAUSE.1);
    }
}

/// The joint: what `Cluster` says is done here.
struct Machine {
    cluster: Cluster,
    scaling: Scaling,
    publisher: Publisher,
    applier: Applier,
    writer: StatusWriter,
    accounts: Accounts,
    shown: Arc<Shown>,
    leading: Leading,
    /// What was made of `leading` last.
    leads: bool,
}

impl Machine {
    /// Takes in what watches showed, with the Secrets, ConfigMaps and workloads that it refers to.
    async fn work(&mut self, batch: Vec<ObjectChange>, watches: &mut Watches) {
        self.check_term();
        let mut open = batch;
        loop {
            self.writer.see(&open);
            self.applier.see(&open);
            self.shown.batches.inc();
            let Some(referred) = self.cluster.take(&open) else { break };
            open = watches.refer(referred, REFERRED_WITHIN).await;
        }
        let began = Instant::now();
        let outputs = self.cluster.work(now_ms());
        self.carry_out(outputs);
        self.shown.busy.inc_by(began.elapsed().as_secs_f64());
        self.shown.is_ready.store(true, Ordering::Relaxed);
    }

    fn look<'a>(&'a self, identity: &'a str, leading: bool, watches: &'a Watches) -> Look<'a> {
        Look { identity, leading, watches, applier: &self.applier, writer: &self.writer, cluster: &self.cluster }
    }

    /// Does what is to be done, in order.
    fn carry_out(&mut self, outputs: Vec<Output>) {
        let mut open = std::collections::VecDeque::from(outputs);
        let mut states = Vec::new();
        loop {
            let Some(output) = open.pop_front() else {
                if states.is_empty() {
                    self.announce();
                    break;
                }
                // what the scaler said meanwhile may change what is to be
                let said = std::mem::take(&mut states).into_iter();
                open.extend(said.flat_map(|state| self.cluster.scaled(state, now_ms())));
                continue;
            };
            match output {
                Output::Endpoints(gateway, endpoints) => drop(self.publisher.endpoints(&gateway, endpoints)),
                Output::Publish { gateway, snapshot, certificates } => {
                    let version = self.publisher.publish(&gateway, *snapshot, certificates);
                    self.shown.published.inc();
                    open.extend(self.cluster.published(&gateway, version));
                }
                Output::Forget(gateway) => {
                    self.publisher.forget(&gateway);
                    self.scaling.forget(&gateway);
                }
                Output::Targets(targets) => self.tell(Input::Targets(targets), &mut states),
                Output::Seen(target, workload) => self.tell(Input::Seen(target, workload), &mut states),
                Output::Retry(target) => self.tell(Input::Retry(target), &mut states),
                Output::Running(pods) => self.tell(Input::Running(pods), &mut states),
                Output::Say(object, wanted) => self.writer.want(&object, wanted),
                Output::Troubles(About { object, uid, api_version }, all) => {
                    self.writer.stand(&Regarding { object, uid, api_version }, all);
                }
                Output::Manifests(manifests, gateways) => {
                    self.applier.want(manifests, gateways);
                    let accounts = self.cluster.accounts();
                    self.shown.gateways.set(i64::try_from(accounts.len()).unwrap_or(i64::MAX));
                    *self.accounts.write().unwrap_or_else(std::sync::PoisonError::into_inner) = accounts;
                }
            }
        }
    }

    fn tell(&mut self, input: Input, states: &mut Vec<TargetState>) {
        states.extend(self.scaling.tell(input));
    }

    /// Tells the scaler something, and does what follows.
    fn scale(&mut self, input: Input) {
        self.check_term();
        let states = self.scaling.tell(input);
        self.scaled(states);
    }

    fn scaled(&mut self, states: Vec<TargetState>) {
        for state in states {
            let outputs = self.cluster.scaled(state, now_ms());
            self.carry_out(outputs);
        }
        self.announce();
    }

    /// What the scaler did becomes Events of the objects at which people look.
    fn announce(&mut self) {
        for report in self.scaling.take_reports() {
            let Some(About { object, uid, api_version }) = self.cluster.about(&report) else { continue };
            let severity = if report.is_warning() { Severity::Warning } else { Severity::Normal };
            let happening = Happening { severity, reason: report.reason().to_owned(), note: report.to_string() };
            self.writer.tell(Regarding { object, uid, api_version }, happening);
        }
    }

    fn heard(&mut self, FromGateway { gateway, pod, report }: FromGateway) {
        self.check_term();
        let states = self.scaling.hear(&gateway, &pod, report.clone());
        self.scaled(states);
        let outputs = match report {
            Report::Connected { program } => {
                tracing::info!(%gateway, pod, program, "gateway connected");
                self.shown.connected.inc();
                self.cluster.connected(&gateway, &pod)
            }
            Report::Acknowledged { version, problems } => {
                for problem in problems {
                    tracing::warn!(%gateway, pod, version = version.0, problem, "a gateway cannot serve a part of its routes");
                }
                self.cluster.acknowledged(&gateway, &pod, version)
            }
            Report::Gone => {
                tracing::info!(%gateway, pod, "gateway gone");
                self.shown.connected.dec();
                self.cluster.gone(&gateway, &pod)
            }
            Report::Following(_) | Report::EndpointsApplied { .. } | Report::Demand { .. } => Vec::new(),
        };
        self.carry_out(outputs);
    }

    /// Before anything is done: time may have stood still since.
    fn check_term(&mut self) {
        let leads = self.leading.is_now();
        if leads != self.leads {
            self.lead(leads);
        }
    }

    fn lead(&mut self, leading: bool) {
        self.leads = leading;
        tracing::info!(leading, "leader");
        self.shown.leading.set(i64::from(leading));
        self.publisher.lead(leading);
        let states = self.scaling.tell(Input::Leading(leading));
        self.scaled(states);
        self.applier.lead(leading);
        self.writer.lead(leading);
    }
}

/// What an operator decided; gateways trust the authority `trusted`.
pub fn ground(args: &Args, trusted: &str) -> Ground {
    let settings = Settings {
        controller_name: args.controller_name.clone(),
        cluster_domain: args.cluster_domain.clone(),
        ..Settings::default()
    };
    let functions = Defaults {
        domain: args.domain.clone(),
        class: args.class.clone(),
        namespace: args.namespace.clone(),
        cluster_domain: args.cluster_domain.clone(),
        make_gateways: false,
        ..Defaults::default()
    };
    Ground {
        settings,
        provision: provision(args, trusted),
        functions: args.functions.then_some(functions),
        ingress: args.ingress,
    }
}

fn provision(args: &Args, trusted: &str) -> headgate_provision::Settings {
    headgate_provision::Settings {
        image: args.image.clone(),
        image_pull_policy: args.image_pull_policy.clone(),
        controller: format!("{}:{}", stream_name(args), args.stream_address.port()),
        authority: trusted.to_owned(),
    }
}

/// Who a token belongs to: the Gateway whose gateways run under its ServiceAccount.
fn authenticator(
    tokens: Tokens,
    accounts: Accounts,
) -> impl Fn(headgate_config::Redacted) -> futures_util::future::BoxFuture<'static, Result<Identity, Refusal>> {
    move |token| {
        let (tokens, accounts) = (tokens.clone(), accounts.clone());
        Box::pin(async move {
            let bearer = tokens.bearer(&token).await.map_err(|why| match why {
                Unknown::Invalid(why) => Refusal::Token(why),
                Unknown::Unavailable(why) => Refusal::Unavailable(why),
            })?;
            let key = (bearer.namespace, bearer.account);
            let accounts = accounts.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            match accounts.get(&key) {
                Some(gateway) => Ok(Identity { gateway: gateway.clone(), pod: bearer.pod }),
                None if accounts.is_empty() => Err(Refusal::Unavailable("objects are still being read".into())),
                None => Err(Refusal::Token(format!("no Gateway has the ServiceAccount {}/{}", key.0, key.1))),
            }
        })
    }
}

/// The names in the serving certificate.
fn stream_names(args: &Args) -> Vec<String> {
    let given = stream_name(args);
    let mut names = vec![given.clone(), format!("{given}.{}", args.cluster_domain), "localhost".into()];
    names.dedup();
    names
}

fn stream_name(args: &Args) -> String {
    args.stream_name.clone().unwrap_or_else(|| format!("headgate-controller.{}.svc", args.namespace))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
