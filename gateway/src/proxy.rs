//! The life of a request: route, filter, admit, connect, relay, and one record of it. Read this file first; it never parses bytes and never reads configuration.

use crate::{
    backend::{Admission, Backend, CoreId, EndpointFailure, Slot, Ticket, Waited},
    connect::{self, Upstream},
    core::Core,
    deadline::{Timer, earlier},
    drain::Ear,
    exchange::{DownRx, DownTx, Fault, Outgoing, UpRx, poll_gone},
    failure::{Failure, Retry, Side},
    filters::{self, Applied, Context, Verdict},
    forwarded::{self, RequestId},
    listen::Connection,
    mirror,
    relay::{self, Client, Deadlines, Outcome, Progress, attempt_deadline},
    replay::Replay,
    telemetry::{Record, WaitEnd},
    tunnel,
};
use headgate_config::{BackendName, ColdArm, Filter, PathMatch};
use headgate_http1::Upgrade;
use headgate_message::{Chunk, Framing, RequestHead, ResponseHead, Version};
use headgate_routing::{self as routing, CompiledRule, Failed, Table};
use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// Tries beyond the first that cost the endpoint nothing: a connection that was refused, or had been closed while idle.
const FREE_TRIES_MAX: u32 = 3;

/// A request as its connection hands it over.
pub struct Down<'c> {
    /// Its head.
    pub head: RequestHead,
    /// How its body is delimited.
    pub framing: Framing,
    /// Its body.
    pub rx: DownRx,
    /// Its answer.
    pub tx: DownTx,
    /// What the client speaks.
    pub version: Version,
    /// The protocol it wants to switch to.
    pub upgrade: Option<Upgrade>,
    /// Whether it waits for a 100.
    pub expects: bool,
    /// Whether it takes trailers.
    pub trailers: bool,
    /// When its head was complete.
    pub arrived: Instant,
    /// Its connection.
    pub connection: &'c Connection,
}

/// The tools of a task: its one timer and its ear for the drain.
pub struct Tools<'t> {
    /// The timer of all its waits.
    pub timer: &'t mut Timer,
    /// Hears the drain begin.
    pub ear: &'t Ear,
}

/// What is left of a request: the halves, and its head's buffer.
pub struct Left {
    /// The body's half.
    pub rx: DownRx,
    /// The answer's half.
    pub tx: DownTx,
    /// The head.
    pub head: RequestHead,
    /// Whether the connection became a tunnel, and is spent.
    pub tunnelled: bool,
}

/// Serves one request to its end; whatever happens, it gets one answer and one record.
pub async fn serve(core: &Rc<Core>, mut down: Down<'_>, mut tools: Tools<'_>) -> Left {
    let mut record = begin(core, &mut down);
    let progress = Progress::default();
    let mut tunnelled = false;
    match story(core, &mut down, &mut tools, &mut record, &progress).await {
        Ok(Told::Answered) => {}
        Ok(Told::Here(head)) => answer(&mut down.tx, head, &[], &mut record).await,
        Ok(Told::Tunnelled) => tunnelled = true,
        Err(fault) => fail(&mut down, fault, &mut record).await,
    }
    end(core, record, &progress);
    Left { rx: down.rx, tx: down.tx, head: down.head, tunnelled }
}

/// Sorts out who asks, and starts the record.
fn begin(core: &Core, down: &mut Down<'_>) -> Record {
    core.shard.request_began();
    let connection = down.connection;
    let peer = connection.client.ip();
    let mut record = Record::begin(peer, connection.port, &down.head, down.version, down.arrived);
    let caller = forwarded::apply(&mut down.head, &core.hop(connection, &|| core.roll()));
    record.client = caller.client;
    record.set_request_id(caller.request_id.as_str());
    record
}

/// Tells the record: the only place.
fn end(core: &Core, mut record: Record, progress: &Progress) {
    if record.status == 0 {
        record.status = progress.status.get();
    }
    record.bytes_in = progress.bytes_up.get();
    record.bytes_out += progress.bytes_down.get();
    record.grpc_status = record.grpc_status.or(progress.grpc_status.get());
    if let Some(at) = progress.first_byte.get() {
        record.head_came(at);
    }
    record.end(Instant::now());
    core.shard.tell(record);
}

/// How the story ended, if not with a failure.
enum Told {
    /// The endpoint's answer went to the client.
    Answered,
    /// A filter answered, without a body.
    Here(ResponseHead),
    /// The connection became a tunnel.
    Tunnelled,
}

async fn story(
    core: &Rc<Core>,
    down: &mut Down<'_>,
    tools: &mut Tools<'_>,
    record: &mut Record,
    progress: &Progress,
) -> Result<Told, Fault> {
    let mut plan = route(core, down, record)?;
    let mut applied = Applied::default();
    if let Some(head) = filter(core, &mut plan, down, &mut applied)? {
        return Ok(Told::Here(head));
    }
    let mut ticket = Ticket::new(CoreId(core.id), plan.deadline);
    let mut tries = Tries::new(&plan, down, &applied, core);
    loop {
        let slot = match admit(core, &mut plan, &mut ticket, down, tools, record).await? {
            Admitted::Slot(slot) => slot,
            // New routes, and nothing was sent: the story begins again, at the same place in line.
            Admitted::Reroute(original) => {
                down.head = original;
                plan = route(core, down, record)?;
                applied = Applied::default();
                if let Some(head) = filter(core, &mut plan, down, &mut applied)? {
                    return Ok(Told::Here(head));
                }
                continue;
            }
        };
        record.attempts += 1;
        if record.attempts > 1 {
            record.backend.iter().for_each(|series| series.retried());
        }
        let outcome = attempt(core, &plan, &slot, &applied, &mut tries, down, tools, record, progress).await;
        match outcome {
            Outcome::Complete { .. } => {
                mirror_body(core, &plan, &applied, down, &tries);
                return Ok(Told::Answered);
            }
            Outcome::Switched(_) => return Ok(Told::Tunnelled),
            Outcome::RetryStatus => {}
            Outcome::Failed(fault) => {
                tell_health(&slot, &fault);
                if down.tx.is_started() || !tries.may_follow(&fault, down) {
                    return Err(fault);
                }
            }
        }
        ticket.exclude(slot.endpoint().id);
        drop(slot);
        tries.pause(plan.deadline, tools).await?;
    }
}

/// Where a request goes.
struct Plan {
    rule: Arc<CompiledRule<Arc<Backend>>>,
    /// Length of the matched prefix, for rewrites; `None` for other matches.
    prefix: Option<usize>,
    /// The chosen arm; `None` where no arm has weight.
    arm: Option<usize>,
    /// Limit of the request.
    deadline: Option<Instant>,
    /// The head before filters, kept while the request may still wait and be routed anew.
    original: Option<RequestHead>,
}

impl Plan {
    fn backend(&self) -> Result<&Arc<Backend>, Fault> {
        let arm = self.arm.ok_or(Failure::NoBackend)?;
        self.rule.arms()[arm].target().map_err(|why| Fault::new(Failure::BackendInvalid, why.to_owned()))
    }

    /// The backend of a mirror filter of the rule or the arm.
    fn mirror(&self, name: &BackendName) -> Option<&Arc<Backend>> {
        let of_arm = self.arm.map_or(&[][..], |arm| &self.rule.arms()[arm].mirrors);
        let all = self.rule.mirrors().iter().chain(of_arm).filter_map(|mirror| mirror.backend.as_ref());
        all.into_iter().find(|backend| backend.config().name == *name)
    }

    fn arm_filters(&self) -> &[Filter] {
        self.arm.map_or(&[], |arm| self.rule.arm_filters(arm))
    }
}

/// Finds the rule and chooses its arm. The one load of the routes.
fn route(core: &Core, down: &Down<'_>, record: &mut Record) -> Result<Plan, Fault> {
    let connection = down.connection;
    let found = core.with_active(|active| {
        record.routes = active.version;
        if let Some(sni) = &connection.sni {
            check_direction(&active.table, connection.port, sni, down.head.host())?;
        }
        match active.table.route(connection.port, &down.head) {
            routing::Outcome::Found(found) => {
                let prefix = matches!(found.rule.config().matches[found.matched].path, PathMatch::Prefix(_));
                Ok((found.rule.clone(), prefix.then_some(found.prefix)))
            }
            routing::Outcome::NoListener => Err(Fault::new(Failure::NoListener, down.head.host().to_owned())),
            routing::Outcome::NoHost { .. } => Err(Fault::new(Failure::NoRoute, no_host(down.head.host()))),
            routing::Outcome::NoMatch { failed, .. } => Err(Fault::new(Failure::NoRoute, no_match(failed, &down.head))),
        }
    });
    let (rule, prefix) = found?;
    let deadline = request_deadline(core, &rule, down.arrived);
    record.rule = Some(core.shard.rule(rule.name()));
    if let Some(why) = rule.invalid() {
        return Err(Fault::new(Failure::RuleInvalid, why.to_owned()));
    }
    let arm = choose_arm(core, &rule)?;
    Ok(Plan { rule, prefix, arm, deadline, original: None })
}

/// A connection opened for one listener must not carry requests of another (RFC 9110 §7.4, Gateway API's HTTPS listeners).
fn check_direction(table: &Table<Arc<Backend>>, port: u16, sni: &str, host: &str) -> Result<(), Fault> {
    let (opened, asked) = (table.listener_for(port, sni), table.listener_for(port, host));
    match (opened, asked) {
        (Some(opened), Some(asked)) if opened.name != asked.name => Err(Failure::Misdirected.into()),
        _ => Ok(()),
    }
}

fn request_deadline(core: &Core, rule: &CompiledRule<Arc<Backend>>, arrived: Instant) -> Option<Instant> {
    match rule.timeouts().request_ms {
        Some(0) => None,
        Some(ms) => Some(arrived + Duration::from_millis(ms)),
        None => core.shared.limits.request_timeout.map(|limit| arrived + limit),
    }
}

/// The arm by weight; a cold one by the rule's policy. Whatever the policy, the cold arm is woken.
fn choose_arm(core: &Core, rule: &CompiledRule<Arc<Backend>>) -> Result<Option<usize>, Fault> {
    let Some(arm) = rule.choose(core.roll()) else { return Ok(None) };
    if rule.cold() == ColdArm::Hold {
        return Ok(Some(arm));
    }
    let is_cold = |arm: usize| rule.arms()[arm].target().is_ok_and(|backend| backend.is_cold());
    if !is_cold(arm) {
        return Ok(Some(arm));
    }
    if let Ok(backend) = rule.arms()[arm].target() {
        backend.wake(Instant::now());
    }
    if rule.cold() == ColdArm::Reject {
        return Err(Failure::ArmCold.into());
    }
    Ok(rule.choose_among(core.roll(), |other| !is_cold(other)).or(Some(arm)))
}

/// Applies the filters of the rule, then of the arm; some answer.
fn filter(
    core: &Core,
    plan: &mut Plan,
    down: &mut Down<'_>,
    applied: &mut Applied,
) -> Result<Option<ResponseHead>, Fault> {
    let edits = !plan.rule.filters().is_empty() || !plan.arm_filters().is_empty();
    let may_wait = plan.backend().is_ok_and(|backend| backend.is_cold());
    plan.original = (edits && may_wait).then(|| down.head.clone());
    if !edits {
        return plan.backend().map(|_| None);
    }
    let connection = down.connection;
    let context = Context {
        scheme: connection.scheme,
        listener_port: connection.public_port,
        prefix_len: plan.prefix,
        dice: &|| core.roll(),
    };
    for filters in [plan.rule.filters(), plan.arm_filters()] {
        match filters::apply_request(filters, &mut down.head, &context, applied) {
            Verdict::Go => {}
            Verdict::Answer(head) => return Ok(Some(head)),
            Verdict::Fail(failure) => return Err(failure.into()),
        }
    }
    plan.backend().map(|_| None)
}

enum Admitted {
    Slot(Slot),
    /// The head as it came.
    Reroute(RequestHead),
}

/// A slot at once, or a place in line. While it waits the request holds no buffer but what it has to keep, and leaves with its client.
async fn admit(
    core: &Rc<Core>,
    plan: &mut Plan,
    ticket: &mut Ticket,
    down: &mut Down<'_>,
    tools: &mut Tools<'_>,
    record: &mut Record,
) -> Result<Admitted, Fault> {
    let backend = plan.backend()?.clone();
    let series = core.shard.backend(&backend.config().name);
    record.backend = Some(series.clone());
    let asked = Instant::now();
    match backend.try_admit(ticket, core.roll(), asked) {
        Admission::Slot(slot) => return Ok(Admitted::Slot(slot)),
        Admission::Refused(refusal) => return Err(refusal.into()),
        Admission::MustWait => {}
    }
    let mut charge = backend.charge();
    let kept = park(down);
    charge.grow(kept as u64).map_err(Fault::from)?;
    let mut waiting = backend.enqueue(ticket, asked).map_err(Fault::from)?;
    let answer = loop {
        let limit = Some(waiting.deadline());
        let (rx, tx) = (&mut down.rx, &mut down.tx);
        let answer = poll_fn(|cx| {
            let _ = tools.ear.poll_rung(cx);
            let expired = tools.timer.poll_expired(cx, earlier(limit, core.bell.until())).is_ready();
            if let Poll::Ready(answer) = waiting.poll_slot(cx, Instant::now()) {
                return Poll::Ready(Ok(answer));
            }
            if expired {
                return Poll::Ready(Err(Failure::Draining));
            }
            let before = retained(rx);
            if poll_gone(rx, tx, cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            let after = retained(rx);
            if after > before && charge.grow((after - before) as u64).is_err() {
                return Poll::Ready(Err(Failure::GatewayFull));
            }
            Poll::Pending
        })
        .await;
        match answer {
            Ok(Waited::Reroute) => match reroute(core, plan, down) {
                Some(original) => {
                    series.waited(WaitEnd::Rerouted, asked.elapsed());
                    return Ok(Admitted::Reroute(original));
                }
                None => continue,
            },
            other => break other,
        }
    };
    record.waited = Some(asked.elapsed());
    series.waited(wait_end(&answer), asked.elapsed());
    match answer? {
        Waited::Slot(slot) => Ok(Admitted::Slot(slot)),
        Waited::Refused(refusal) => Err(refusal.into()),
        Waited::Reroute => Err(Failure::Internal.into()),
    }
}

fn wait_end(answer: &Result<Waited, Failure>) -> WaitEnd {
    match answer {
        Ok(Waited::Slot(_)) => WaitEnd::Served,
        Ok(Waited::Reroute) => WaitEnd::Rerouted,
        Err(Failure::ClientGone) => WaitEnd::Gone,
        Ok(Waited::Refused(_)) | Err(_) => WaitEnd::Refused,
    }
}

/// Gives back what a waiting request does not need; says how many bytes it keeps.
fn park(down: &mut Down<'_>) -> usize {
    down.head.fields.shrink();
    if let DownRx::H1(rx) = &mut down.rx {
        rx.park();
    }
    down.head.fields.retained() + retained(&down.rx)
}

fn retained(rx: &DownRx) -> usize {
    match rx {
        DownRx::H1(rx) => rx.retained(),
        DownRx::H2(_) => 0,
    }
}

/// The head as it came, if the new routes have another rule for it; `None` if it stays where it waits.
fn reroute(core: &Core, plan: &Plan, down: &Down<'_>) -> Option<RequestHead> {
    let edits = !plan.rule.filters().is_empty() || !plan.arm_filters().is_empty();
    let original = match &plan.original {
        Some(original) => original,
        // Edited and not kept: it stays with the rule that edited it.
        None if edits => return None,
        None => &down.head,
    };
    let same = core.with_active(|active| match active.table.route(down.connection.port, original) {
        routing::Outcome::Found(found) => Arc::ptr_eq(found.rule, &plan.rule),
        _ => false,
    });
    (!same).then(|| original.clone())
}

/// One try at one endpoint.
#[allow(clippy::too_many_arguments)]
async fn attempt(
    core: &Rc<Core>,
    plan: &Plan,
    slot: &Slot,
    applied: &Applied,
    tries: &mut Tries,
    down: &mut Down<'_>,
    tools: &mut Tools<'_>,
    record: &mut Record,
    progress: &Progress,
) -> Outcome {
    let deadlines = Deadlines {
        request: plan.deadline,
        attempt: attempt_deadline(plan.rule.timeouts().attempt_ms, Instant::now()),
        drain: core.bell.until(),
    };
    record.endpoint = Some(slot.endpoint().address);
    let upgrade = down.upgrade.map(|upgrade| upgrade.of(&down.head.fields));
    let outgoing = Outgoing { head: &down.head, framing: down.framing, upgrade, trailers: down.trailers };
    let backend = match plan.backend() {
        Ok(backend) => backend,
        Err(fault) => return Outcome::Failed(fault),
    };
    let opening = Instant::now();
    let opened = tools.timer.bound(|| deadlines.first(), connect::open(core, backend, slot, &outgoing)).await;
    if record.attempts == 1 && down.framing.is_empty() {
        mirror(core, plan, applied, &down.head, &[]);
    }
    let mut up = match opened {
        Some(Ok(up)) => up,
        Some(Err(fault)) => return Outcome::Failed(fault),
        None => return Outcome::Failed(deadlines.passed(Instant::now()).into()),
    };
    tries.reused = up.reused;
    record.connecting = (!up.reused).then(|| opening.elapsed());
    record.backend.iter().for_each(|series| series.connected(up.reused));
    if std::mem::take(&mut down.expects)
        && let Err(fault) = down.tx.interim(ResponseHead::new(100)).await
    {
        return Outcome::Failed(fault);
    }
    let mut edit = |head: &mut ResponseHead| {
        filters::apply_response(plan.rule.filters(), applied, head);
        filters::apply_response(plan.arm_filters(), applied, head);
        head.fields.remove_where(|name| name.starts_with("x-headgate-"));
    };
    let client = Client {
        rx: &mut down.rx,
        tx: &mut down.tx,
        bodiless: down.framing.is_empty(),
        edit: &mut edit,
        retry_codes: tries.codes(plan),
    };
    let limits = &core.shared.limits;
    let outcome = relay::relay(client, &mut up, &mut tries.replay, progress, limits, deadlines, tools.timer).await;
    if progress.first_byte.get().is_some() {
        slot.succeeded(Instant::now());
    }
    tries.sent = up.tx.is_sent();
    match outcome {
        Outcome::Complete { upload_ended } => {
            up.finish(core, upload_ended);
            Outcome::Complete { upload_ended }
        }
        Outcome::Switched(head) => tunnel_through(core, down, up, head, tools, progress).await,
        other => other,
    }
}

/// Sends the copies of a request with a body, which is known only now that it was sent on.
fn mirror_body(core: &Rc<Core>, plan: &Plan, applied: &Applied, down: &Down<'_>, tries: &Tries) {
    if !down.framing.is_empty()
        && let Some(body) = tries.replay.whole()
    {
        mirror(core, plan, applied, &down.head, body);
    }
}

fn mirror(core: &Rc<Core>, plan: &Plan, applied: &Applied, head: &RequestHead, body: &[u8]) {
    for name in &applied.mirrors {
        if let Some(backend) = plan.mirror(name) {
            mirror::send(core, backend, head, body);
        }
    }
}

/// Passes the 101 on and joins both connections. Only what followed the 101 is read from now on.
async fn tunnel_through(
    core: &Rc<Core>,
    down: &mut Down<'_>,
    up: Upstream,
    head: ResponseHead,
    tools: &mut Tools<'_>,
    progress: &Progress,
) -> Outcome {
    let (UpRx::H1(up_rx), DownTx::H1(tx)) = (up.rx, &mut down.tx) else {
        return Outcome::Failed(Failure::UpgradeFailed.into());
    };
    let protocol = up_rx.upgraded().map(|upgraded| upgraded.of(&head.fields).to_owned()).unwrap_or_default();
    if let Err(fault) = tx.switch(&head, &protocol).await {
        return Outcome::Failed(fault);
    }
    let (io, read) = up_rx.into_parts();
    let DownRx::H1(rx) = &mut down.rx else { return Outcome::Failed(Failure::Internal.into()) };
    let (client_io, client_read) = rx.take_parts();
    let client = tunnel::End { io: client_io, read: client_read };
    let endpoint = tunnel::End { io, read };
    let carried = tunnel::join(core, client, endpoint, tools.timer, tools.ear).await;
    progress.bytes_up.set(carried.up);
    progress.bytes_down.set(carried.down);
    Outcome::Switched(head)
}

/// The tries of one request: how many are left, and what can be sent again.
struct Tries {
    replay: Replay,
    idempotent: bool,
    /// Tries that the rule still allows.
    left: u32,
    free_left: u32,
    done: u32,
    backoff: Duration,
    /// Of the last try: whether its connection had been used before, and whether a byte was sent.
    reused: bool,
    sent: bool,
}

impl Tries {
    fn new(plan: &Plan, down: &Down<'_>, applied: &Applied, core: &Core) -> Self {
        let limits = &core.shared.limits;
        let idempotent = down.head.method.is_idempotent();
        let retry = plan.rule.retry();
        let for_tries = if idempotent || retry.is_some() { limits.spool_bytes } else { 0 };
        let for_mirrors = if applied.mirrors.is_empty() { 0 } else { limits.mirror_bytes };
        Self {
            replay: Replay::up_to(for_tries.max(for_mirrors)),
            idempotent,
            left: retry.map_or(0, |retry| retry.attempts),
            free_left: FREE_TRIES_MAX,
            done: 0,
            backoff: retry
                .and_then(|retry| retry.backoff_ms)
                .map_or(limits.retry_backoff, Duration::from_millis),
            reused: false,
            sent: false,
        }
    }

    /// The statuses that are tried again now.
    fn codes<'p>(&self, plan: &'p Plan) -> &'p [u16] {
        let codes = plan.rule.retry().map_or(&[][..], |retry| &retry.codes);
        if self.left > 0 { codes } else { &[] }
    }

    /// Whether another try may follow a failure: by the failure's row, and never twice to an application unless the method allows it.
    fn may_follow(&mut self, fault: &Fault, down: &Down<'_>) -> bool {
        let _ = down;
        if !self.replay.is_possible() {
            return false;
        }
        let is_safe = !self.sent || self.idempotent;
        match fault.failure.row().retry {
            Retry::Never | Retry::Later => false,
            Retry::OtherEndpoint => self.spend_free() || self.spend(),
            // Closed while idle: the endpoint never saw the request.
            Retry::IfUnsent if self.reused && is_safe => self.spend_free() || self.spend(),
            Retry::IfUnsent => is_safe && self.spend(),
        }
    }

    fn spend(&mut self) -> bool {
        let spent = self.left > 0;
        self.left = self.left.saturating_sub(1);
        spent
    }

    fn spend_free(&mut self) -> bool {
        let spent = self.free_left > 0;
        self.free_left = self.free_left.saturating_sub(1);
        spent
    }

    /// The pause before the next try: none before the first, then doubling.
    async fn pause(&mut self, deadline: Option<Instant>, tools: &mut Tools<'_>) -> Result<(), Fault> {
        self.done += 1;
        if self.done == 1 && self.reused {
            return Ok(());
        }
        let pause = self.backoff * (1 << (self.done - 1).min(6));
        match tools.timer.bound(|| deadline, tokio::time::sleep(pause)).await {
            Some(()) => Ok(()),
            None => Err(Failure::RequestTimeout.into()),
        }
    }
}

/// Tells the endpoint's health of a failure that is its own.
fn tell_health(slot: &Slot, fault: &Fault) {
    let how = match fault.failure {
        Failure::ConnectRefused => EndpointFailure::Refused,
        Failure::ConnectUnreachable | Failure::ConnectTimeout | Failure::UpstreamTls => EndpointFailure::Unconnected,
        Failure::AttemptTimeout | Failure::UpstreamIdle => EndpointFailure::TimedOut,
        other if other.row().side == Side::Upstream => EndpointFailure::Broken,
        _ => return,
    };
    slot.failed(how, Instant::now());
}

/// Answers with a failure, or breaks an answer off that has begun.
async fn fail(down: &mut Down<'_>, fault: Fault, record: &mut Record) {
    record.failure = Some(fault.failure);
    record.detail = fault.detail.as_deref().map(Into::into);
    if down.tx.is_started() {
        return down.tx.abort();
    }
    if fault.failure.is_log_only() {
        return down.tx.abort();
    }
    let is_grpc = down.head.is_grpc();
    let (head, body) = fault.failure.answer(is_grpc, record.request_id(), fault.retry_after, fault.detail.as_deref());
    if matches!(fault.failure.row().side, Side::Client) || fault.failure == Failure::Draining {
        down.tx.close_after();
    }
    answer(&mut down.tx, head, &body, record).await;
}

/// Sends an answer of our own.
async fn answer(tx: &mut DownTx, head: ResponseHead, body: &[u8], record: &mut Record) {
    record.status = head.status;
    record.bytes_out = body.len() as u64;
    let framing = if matches!(head.status, 204 | 304) { Framing::NONE } else { Framing::of_whole(body) };
    let sent = async {
        tx.head(head, framing, None)?;
        if !body.is_empty() {
            tx.data(Chunk::Lent(body)).await?;
        }
        tx.end(None).await
    };
    if sent.await.is_err() {
        record.failure.get_or_insert(Failure::ClientGone);
    }
}

/// Answers a head that was refused before it was a request.
pub async fn refuse(
    core: &Rc<Core>,
    connection: &Connection,
    tx: &mut DownTx,
    version: Version,
    fault: Fault,
    arrived: Instant,
) {
    core.shard.request_began();
    let mut record = Record::headless(connection.client.ip(), connection.port, version, arrived);
    record.set_request_id(RequestId::make(&|| core.roll()).as_str());
    record.failure = Some(fault.failure);
    record.detail = fault.detail.as_deref().map(Into::into);
    if !fault.failure.is_log_only() {
        let (head, body) = fault.failure.answer(false, record.request_id(), None, fault.detail.as_deref());
        tx.close_after();
        answer(tx, head, &body, &mut record).await;
    }
    end(core, record, &Progress::default());
}

fn no_host(host: &str) -> String {
    format!("no route has the host {host}")
}

fn no_match(failed: Failed<'_>, head: &RequestHead) -> String {
    let host = head.host();
    match failed {
        Failed::Path => format!("no rule of {host} has the path {}", head.path()),
        Failed::Grpc => format!("the rules of {host} take gRPC only"),
        Failed::Method => format!("no rule of {host} has the method {}", head.method),
        Failed::Header(name) => format!("the rule that comes nearest asks for another value of the header {name}"),
        Failed::Query(name) => format!("the rule that comes nearest asks for another value of the query parameter {name}"),
    }
}
