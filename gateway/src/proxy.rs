//! The life of a request: route, filter, admit, connect, relay, and one record of it. Read this file first; it never parses bytes and never reads configuration.
//!
//! ```text
//! Exchange::begin ─► serve ─┬─► Done(Left)            the connection goes on, or ends
//!                      ▲    └─► Parked ─► wait ─┐     a request that waits is put aside, and costs only itself
//!                      └────────── resume ◄─────┘
//! ```

use crate::{
    auth::{self, Asked, Asker},
    backend::{Admission, CoreId, EndpointFailure, Slot, Ticket},
    connect::{self, To, Upstream},
    core::Core,
    deadline::Timer,
    drain::Ear,
    exchange::{DownRx, DownTx, Fault, Outgoing, UpRx},
    failure::{Failure, Side},
    forwarded::{self, RequestId},
    listen::Connection,
    mirror::{self, Source},
    plan::{FilterAt, Filtered, Plan, Unplanned},
    relay::{self, Client, Deadlines, Outcome, Progress, attempt_deadline},
    telemetry::{Began, Record},
    tries::Tries,
    tunnel,
    wait::{Granted, Parked},
};
use headgate_http1::Upgrade;
use headgate_message::{Chunk, Framing, PackedHead, RequestHead, ResponseHead, Version};
use std::{rc::Rc, time::Instant};

/// A request as its connection hands it over.
pub struct Down {
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
    pub connection: Rc<Connection>,
}

/// The tools of a task: its one timer and its ear for the drain.
pub struct Tools<'t> {
    /// The timer of all its waits.
    pub timer: &'t mut Timer,
    /// Hears the drain begin.
    pub ear: &'t Ear,
}

/// A request that has a plan, and all that is known of it.
pub struct Exchange {
    /// The request.
    pub down: Down,
    /// Where it goes.
    pub plan: Plan,
    /// Its place in every line.
    pub ticket: Ticket,
    /// What is told of it in the end.
    pub record: Record,
    tries: Tries,
    progress: Progress,
    /// Whether copies were sent.
    mirrored: bool,
    /// Whether the connection became a tunnel.
    tunnelled: bool,
}

/// What became of a request.
#[expect(clippy::large_enum_variant, reason = "the common case is the large one, and is not to allocate")]
pub enum Served {
    /// It is over: it got one answer and one record.
    Done(Left),
    /// It must wait.
    Parked(Box<Parked>),
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
    /// When it was over.
    pub ended: Instant,
}

/// How the story ended, if not with a failure.
enum Told {
    /// The endpoint's answer went to the client.
    Answered,
    /// A filter answered.
    Here(Given),
    /// The connection became a tunnel.
    Tunnelled,
    /// The backend is cold or full.
    MustWait(Instant),
}

/// An answer that is at hand as a whole.
pub struct Given {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: Vec<u8>,
    /// The length of the body that it would have, where it is one to a HEAD.
    pub length: Option<u64>,
}

impl Given {
    /// An answer with all of its body.
    pub fn whole(head: ResponseHead, body: Vec<u8>) -> Self {
        Self { head, body, length: None }
    }
}

/// Serves a request until it is over or must wait.
pub async fn serve(core: &Rc<Core>, mut down: Down, tools: &mut Tools<'_>) -> Served {
    let mut record = begin(core, &mut down);
    let arrived = down.arrived;
    let planned = match down.version == Version::Http2 && core.shared.memory.is_critical() {
        true => Err(Unplanned::for_memory(core)),
        false => Plan::of(core, &down),
    };
    match planned {
        Ok(plan) => {
            let mut exchange = Exchange::new(core, down, plan, record);
            let filtered = exchange.filter(core, tools).await;
            exchange.run(core, filtered, None, arrived, tools).await
        }
        Err(unplanned) => {
            let fault = unplanned.note(core, &mut record);
            // boxed, as all that is rare: the future of a connection is as large as its largest wait
            Box::pin(fail(core, &mut down, None, fault, &mut record, tools.timer)).await;
            let ended = end(core, record, &Progress::at(arrived));
            Served::Done(down.leave(false, ended))
        }
    }
}

/// Goes on with a request that has waited.
pub async fn resume(core: &Rc<Core>, parked: Parked, granted: Result<Granted, Fault>, tools: &mut Tools<'_>) -> Served {
    let mut exchange = parked.leave(core, &granted);
    let (filtered, slot) = match granted {
        Ok(Granted::Slot(slot)) => (Ok(None), Some(slot)),
        Ok(Granted::Reroute(original)) => (exchange.reroute(core, *original, tools).await, None),
        Err(fault) => (Err(fault), None),
    };
    exchange.run(core, filtered, slot, Instant::now(), tools).await
}

impl Exchange {
    fn new(core: &Core, down: Down, plan: Plan, mut record: Record) -> Self {
        record.routes = plan.version;
        record.rule = Some(core.shard.rule(plan.rule.name()));
        let ticket = Ticket::new(CoreId(core.id), plan.deadline);
        Self::unsent(core, down, plan, ticket, record)
    }

    /// A request of which nothing was sent: all else that is kept of one follows from its parts.
    pub fn unsent(core: &Core, down: Down, plan: Plan, ticket: Ticket, record: Record) -> Self {
        let tries = Tries::new(&plan, &down, core);
        let progress = Progress::at(down.arrived);
        Self { down, plan, ticket, record, tries, progress, mirrored: false, tunnelled: false }
    }

    /// The parts that [`Exchange::unsent`] makes the rest of.
    pub fn into_unsent(self) -> (Down, Plan, Ticket, Began) {
        (self.down, self.plan, self.ticket, self.record.began)
    }

    /// Whether its body was read, and is kept.
    pub fn has_read(&self) -> bool {
        self.tries.replay.whole().is_some()
    }

    /// Applies the filters, those of the listener first, and asks whom they say; mirrors are known only then, and so is what must be kept of
    /// the body.
    async fn filter(&mut self, core: &Rc<Core>, tools: &mut Tools<'_>) -> Result<Option<Given>, Fault> {
        let mut from = FilterAt::default();
        let answer = loop {
            match self.plan.filter(core, &mut self.down, &mut from)? {
                Filtered::All if self.plan.is_at_gate() => {
                    let beyond = self.plan.beyond_gate(core, &mut self.down);
                    self.go_by(core, beyond)?;
                    from = FilterAt::default();
                }
                Filtered::All => break None,
                Filtered::Answered(head) => break Some(Given::whole(head, Vec::new())),
                // boxed: rare
                Filtered::Ask(at) => match Box::pin(self.ask(core, at, tools)).await? {
                    Asked::Pass(permit) => {
                        permit.apply(&mut self.down.head.fields);
                        self.plan.edit_answer(permit.answer_edits);
                    }
                    Asked::Deny(answer) => break Some(answer),
                    Asked::Elsewhere(original) => {
                        self.plan_anew(core, *original)?;
                        from = FilterAt::default();
                    }
                },
            }
        };
        if self.plan.edits() {
            self.count_tries(core);
        }
        Ok(answer)
    }

    /// Asks the service of a filter.
    async fn ask(&mut self, core: &Rc<Core>, at: FilterAt, tools: &mut Tools<'_>) -> Result<Asked, Fault> {
        let Self { down, plan, record, tries, progress, .. } = self;
        auth::ask(core, at, Asker { down, plan, replay: &mut tries.replay, progress, record }, tools).await
    }

    /// New routes, and nothing was sent: the story begins again, at the same place in line.
    async fn reroute(
        &mut self,
        core: &Rc<Core>,
        original: RequestHead,
        tools: &mut Tools<'_>,
    ) -> Result<Option<Given>, Fault> {
        self.plan_anew(core, original)?;
        self.filter(core, tools).await
    }

    fn plan_anew(&mut self, core: &Core, original: RequestHead) -> Result<(), Fault> {
        self.down.head = original;
        let anew = self.plan.anew(core, &mut self.down);
        self.go_by(core, anew)
    }

    /// Goes by another plan from now on, which has its own limits.
    fn go_by(&mut self, core: &Core, plan: Result<Plan, Unplanned>) -> Result<(), Fault> {
        self.plan = plan.map_err(|unplanned| unplanned.note(core, &mut self.record))?;
        self.ticket.limit(self.plan.deadline);
        self.record.routes = self.plan.version;
        self.record.rule = Some(core.shard.rule(self.plan.rule.name()));
        self.count_tries(core);
        Ok(())
    }

    /// The tries that the plan allows, with what was read of the body.
    fn count_tries(&mut self, core: &Core) {
        let read = std::mem::take(&mut self.tries.replay);
        self.tries = Tries::new(&self.plan, &self.down, core).with(read);
    }

    /// From what the filters said to the end, or to where it must wait. `now`: when this turn began.
    async fn run(
        mut self,
        core: &Rc<Core>,
        filtered: Result<Option<Given>, Fault>,
        granted: Option<Slot>,
        now: Instant,
        tools: &mut Tools<'_>,
    ) -> Served {
        let told = match filtered {
            Ok(None) => self.story(core, granted, now, tools).await,
            Ok(Some(answer)) => Ok(Told::Here(answer)),
            Err(fault) => Err(fault),
        };
        let told = match told {
            Ok(Told::MustWait(asked)) => match Parked::new(core, self, asked) {
                Ok(parked) => return Served::Parked(parked),
                Err((refused, fault)) => {
                    self = refused;
                    Err(fault)
                }
            },
            told => told,
        };
        self.conclude(core, told, tools).await;
        self.leave(core)
    }

    /// Admit, connect, relay; again while another try may follow.
    async fn story(
        &mut self,
        core: &Rc<Core>,
        mut granted: Option<Slot>,
        mut now: Instant,
        tools: &mut Tools<'_>,
    ) -> Result<Told, Fault> {
        loop {
            let slot = match granted.take() {
                Some(slot) => slot,
                None => match self.admit(core, now)? {
                    Some(slot) => slot,
                    None => return Ok(Told::MustWait(now)),
                },
            };
            match self.attempt(core, &slot, now, tools).await {
                Outcome::Complete { .. } => {
                    self.mirror_body(core);
                    return Ok(Told::Answered);
                }
                Outcome::Switched(_) => return Ok(Told::Tunnelled),
                Outcome::RetryStatus => {
                    self.tries.spend();
                    self.spend_budget(core, || format!("it answered {}", self.progress.status.get()))?;
                }
                Outcome::Failed(fault) => {
                    tell_health(&slot, &fault);
                    if self.down.tx.is_started() || !self.tries.may_follow(&fault) {
                        return Err(fault);
                    }
                    if !self.tries.renews {
                        self.spend_budget(core, || fault.failure.name().to_owned())?;
                    }
                }
            }
            self.ticket.exclude(slot.endpoint().id);
            drop(slot);
            Box::pin(self.tries.pause(self.plan.deadline, tools)).await?;
            now = Instant::now();
        }
    }

    /// Whether the backend's budget allows another try. `failed`: why one is needed.
    fn spend_budget(&self, core: &Core, failed: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.plan.backend()?.spend_retry(Instant::now()) {
            return Ok(());
        }
        let fault = Fault::new(Failure::RetryBudgetSpent, failed());
        Err(Fault { retry_after: Some(core.shared.limits.retry_least), ..fault })
    }

    /// A slot, if there is one at once.
    fn admit(&mut self, core: &Core, now: Instant) -> Result<Option<Slot>, Fault> {
        let backend = self.plan.backend()?;
        self.record.backend = Some(core.shard.backend(&backend.config().name));
        if self.record.attempts == 0 {
            backend.begin_tries(now);
        }
        if let Some(endpoint) = self.plan.pinned(backend, now) {
            self.ticket.bind(endpoint);
        }
        match backend.try_admit(&self.ticket, core.roll(), now) {
            Admission::Slot(slot) => Ok(Some(slot)),
            Admission::MustWait => Ok(None),
            Admission::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// One try at one endpoint.
    async fn attempt(&mut self, core: &Rc<Core>, slot: &Slot, opening: Instant, tools: &mut Tools<'_>) -> Outcome {
        let Self { down, plan, record, tries, progress, mirrored, .. } = self;
        let progress = &*progress;
        record.attempts += 1;
        record.endpoint = Some(slot.endpoint().address);
        if record.attempts > 1 {
            record.backend.iter().for_each(|series| series.retried());
        }
        let deadlines = Deadlines {
            request: plan.deadline,
            attempt: attempt_deadline(plan.rule.timeouts().attempt_ms, opening),
            bell: &core.bell,
        };
        let upgrade = down.upgrade.map(|upgrade| upgrade.of(&down.head.fields));
        let outgoing = Outgoing { head: &down.head, framing: down.framing, upgrade, trailers: down.trailers };
        let backend = match plan.backend() {
            Ok(backend) => backend,
            Err(fault) => return Outcome::Failed(fault),
        };
        let opened = tools
            .timer
            .bound(
                || deadlines.first(),
                connect::open(core, To { backend, slot, identity: plan.identity() }, &down.connection, &outgoing),
            )
            .await;
        let mut up = match opened {
            Some(Ok(up)) => up,
            Some(Err(fault)) => return Outcome::Failed(fault),
            None => return Outcome::Failed(deadlines.passed(Instant::now()).into()),
        };
        tries.reused = up.reused;
        record.connecting = (!up.reused).then(|| opening.elapsed());
        record.backend.iter().for_each(|series| series.connected(up.reused));
        if down.framing.is_empty() && !std::mem::replace(mirrored, true) {
            let source = Source { client: &down.connection, identity: plan.identity() };
            plan.mirrors().for_each(|backend| mirror::send(core, backend, &down.head, &[], source));
        }
        if std::mem::take(&mut down.expects)
            && let Err(fault) = Box::pin(go_on(core, &mut down.tx, tools.timer)).await
        {
            return Outcome::Failed(fault);
        }
        let mut head_came = |head: &mut ResponseHead| {
            slot.answered(head.status, progress.now());
            plan.filter_answer(head);
            plan.tell_session(head, slot.endpoint().address, progress.now());
            head.fields.remove_where(|name| name.starts_with(b"x-headgate-"));
        };
        let client = Client {
            rx: &mut down.rx,
            tx: &mut down.tx,
            bodiless: down.framing.is_empty(),
            head_came: &mut head_came,
            upgrades: upgrade.is_some(),
            retry_codes: tries.codes(plan),
        };
        let limits = &core.shared.limits;
        let outcome = relay::relay(client, &mut up, &mut tries.replay, progress, limits, deadlines, tools).await;
        if matches!(outcome, Outcome::RetryStatus | Outcome::Switched(_)) {
            slot.answered(progress.status.get(), progress.now());
        }
        tries.sent = up.tx.is_sent();
        match outcome {
            Outcome::Failed(Fault { failure: Failure::AttemptTimeout | Failure::UpstreamIdle, .. }) => up.condemn(),
            Outcome::Complete { upload_ended } => up.finish(core, upload_ended, progress.now()),
            Outcome::Switched(mut head) => {
                plan.tell_session(&mut head, slot.endpoint().address, progress.now());
                return Box::pin(tunnel_through(core, down, up, head, tools, progress)).await;
            }
            _ => {}
        }
        outcome
    }

    /// Bytes of its body that are kept for another try.
    pub fn kept_of_body(&self) -> usize {
        self.tries.replay.kept().len()
    }

    /// Sends the copies of a request with a body, which is known only now that it was sent on. A service that was asked may have got a longer one.
    fn mirror_body(&self, core: &Rc<Core>) {
        if !self.down.framing.is_empty()
            && let Some(body) = self.tries.replay.whole()
            && body.len() <= core.shared.limits.mirror_bytes
        {
            let source = Source { client: &self.down.connection, identity: self.plan.identity() };
            self.plan.mirrors().for_each(|backend| mirror::send(core, backend, &self.down.head, body, source));
        }
    }

    /// Answers what is not answered yet. By reference: a request is large, and moving it costs more than most of its steps.
    async fn conclude(&mut self, core: &Rc<Core>, told: Result<Told, Fault>, tools: &mut Tools<'_>) {
        match told {
            Ok(Told::Here(given)) => {
                self.down.close_if_expecting();
                let answering = answer(core, &mut self.down.tx, given, &mut self.record, tools.timer);
                Box::pin(answering).await;
            }
            Ok(Told::Tunnelled) => self.tunnelled = true,
            Ok(Told::Answered | Told::MustWait(_)) => {}
            Err(fault) => {
                let failing = fail(core, &mut self.down, Some(&self.plan), fault, &mut self.record, tools.timer);
                Box::pin(failing).await;
            }
        }
    }

    /// Tells the record, and gives the connection its parts back.
    fn leave(self, core: &Core) -> Served {
        let ended = end(core, self.record, &self.progress);
        Served::Done(self.down.leave(self.tunnelled, ended))
    }
}

/// The 100 that a client waits for before it sends its body.
pub async fn go_on(core: &Core, tx: &mut DownTx, timer: &mut Timer) -> Result<(), Fault> {
    let limit = Instant::now() + core.shared.limits.write_stall;
    let sent = timer.bound(|| Some(limit), tx.interim(ResponseHead::new(100))).await;
    sent.unwrap_or_else(|| Err(Failure::WriteStall.into()))
}

impl Down {
    /// Makes it small for a wait; the bytes that are kept of it meanwhile, also those that may lie unread in an HTTP/2 window of this size.
    pub fn park(&mut self, window: usize) -> usize {
        if let DownRx::H1(rx) = &mut self.rx {
            rx.park();
        }
        PackedHead::bytes_of(&self.head) + self.rx.retained() + self.rx.unread_of_http2(self.framing, window)
    }

    /// A client that was told nothing may or may not send its body now: what follows on its connection is in doubt.
    fn close_if_expecting(&mut self) {
        if self.expects {
            self.tx.close_after();
        }
    }

    fn leave(self, tunnelled: bool, ended: Instant) -> Left {
        Left { rx: self.rx, tx: self.tx, head: self.head, tunnelled, ended }
    }
}

impl Unplanned {
    /// For a new stream of HTTP/2, which is taken like a new connection of HTTP/1: not while memory is that short.
    fn for_memory(core: &Core) -> Self {
        let fault = Fault { retry_after: Some(core.shared.limits.retry_least), ..Failure::MemoryShed.into() };
        Self { version: core.with_active(|active| active.version), rule: None, fault }
    }

    /// Notes in the record how far it came.
    fn note(self, core: &Core, record: &mut Record) -> Fault {
        record.routes = self.version;
        record.rule = self.rule.map(|rule| core.shard.rule(rule.name()));
        self.fault
    }
}

/// Sorts out who asks, and starts the record.
fn begin(core: &Core, down: &mut Down) -> Record {
    core.shard.request_began();
    let connection = &down.connection;
    let peer = connection.client();
    let mut record = Record::begin(peer, connection.port, &down.head, down.version, down.arrived);
    let caller = forwarded::apply(&mut down.head, &core.hop(connection, &|| core.roll()));
    record.client = caller.client;
    record.set_request_id(caller.request_id.as_bytes());
    record
}

/// Tells the record: the only place. Says when all was over.
fn end(core: &Core, mut record: Record, progress: &Progress) -> Instant {
    if record.status == 0 {
        record.status = progress.status.get();
    }
    record.bytes_in = progress.bytes_up.get();
    record.bytes_out += progress.bytes_down.get();
    record.grpc_status = record.grpc_status.or(progress.grpc_status.get());
    if let Some(at) = progress.first_byte.get() {
        record.head_came(at);
    }
    let ended = Instant::now();
    record.end(ended);
    core.shard.tell(record);
    ended
}

/// Passes the 101 on and joins both connections. Only what followed the 101 is read from now on.
async fn tunnel_through(
    core: &Rc<Core>,
    down: &mut Down,
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

/// Tells the endpoint's health of a failure that is its own.
pub fn tell_health(slot: &Slot, fault: &Fault) {
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
async fn fail(core: &Core, down: &mut Down, plan: Option<&Plan>, fault: Fault, record: &mut Record, timer: &mut Timer) {
    record.failure = Some(fault.failure);
    record.detail = fault.detail.as_deref().map(Into::into);
    // what was kept back is not an answer yet: the reason can still be told
    if down.tx.is_torn() || (down.tx.is_started() && !down.tx.take_back()) {
        return down.tx.abort();
    }
    down.close_if_expecting();
    if fault.failure.is_log_only() {
        return down.tx.abort();
    }
    let is_grpc = down.head.is_grpc();
    let (mut head, body) =
        fault.failure.answer(is_grpc, record.request_id(), fault.retry_after, fault.detail.as_deref());
    if let Some(plan) = plan {
        plan.filter_own_answer(&mut head);
    }
    if matches!(fault.failure.row().side, Side::Client) || fault.failure == Failure::Draining {
        down.tx.close_after();
    }
    answer(core, &mut down.tx, Given::whole(head, body), record, timer).await;
}

/// Sends an answer of our own.
async fn answer(core: &Core, tx: &mut DownTx, given: Given, record: &mut Record, timer: &mut Timer) {
    let Given { head, body, length } = given;
    record.status = head.status;
    record.bytes_out = body.len() as u64;
    let framing =
        if matches!(head.status, 204 | 304) || length.is_some() { Framing::NONE } else { Framing::of_whole(&body) };
    let sent = async {
        tx.head(head, framing, length)?;
        if !body.is_empty() {
            tx.data(Chunk::Lent(&body)).await?;
        }
        tx.end(None).await
    };
    let limit = Instant::now() + core.shared.limits.write_stall;
    let failure = match timer.bound(|| Some(limit), sent).await {
        Some(Ok(())) => return,
        Some(Err(_)) => Failure::ClientGone,
        None => Failure::WriteStall,
    };
    record.failure.get_or_insert(failure);
    tx.abort();
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
    let mut record = Record::headless(connection.client(), connection.port, version, arrived);
    record.set_request_id(RequestId::make(&|| core.roll()).as_bytes());
    record.failure = Some(fault.failure);
    record.detail = fault.detail.as_deref().map(Into::into);
    if !fault.failure.is_log_only() {
        let (head, body) = fault.failure.answer(false, record.request_id(), None, fault.detail.as_deref());
        tx.close_after();
        answer(core, tx, Given::whole(head, body), &mut record, &mut Timer::default()).await;
    }
    end(core, record, &Progress::at(arrived));
}
