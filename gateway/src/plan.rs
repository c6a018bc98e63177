//! Where a request goes: the rule that takes it, the arm of its split, and what filters make of it before anything is sent. The one load of the routes.

use crate::{
    backend::{Backend, EndpointId},
    clock,
    core::Core,
    exchange::Fault,
    failure::Failure,
    filters::{self, Answerer, Applied, Context, Edit, NOTHING_APPLIED, Verdict},
    listen::Connection,
    proxy::Down,
    session::Key,
};
use headgate_config::{
    ArmTarget, BackendName, CertificateName, ColdArm, ExternalAuth, Filter, Listener, Session, Version,
};
use headgate_message::{Method, PackedHead, RequestHead, ResponseHead};
use headgate_routing::{self as routing, CompiledRule, Failed, FilterBackend, Table};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// A rule, and a choice among its arms. Small: a request that waits keeps it.
pub struct Plan {
    /// The rule.
    pub rule: Arc<CompiledRule<Arc<Backend>>>,
    /// Version of the routes.
    pub version: Version,
    /// Limit of the request.
    pub deadline: Option<Instant>,
    /// The filters of its listener that have let it pass: they are not asked again (GEP-5224).
    // boxed: few listeners have any
    passed: Option<Box<Passed>>,
    /// The listener, where its requests show a certificate to endpoints.
    shows: Option<Arc<Listener>>,
    /// Length of the matched prefix, for rewrites; `None` for other matches.
    prefix: Option<u16>,
    /// The chosen arm; `None` where no arm has weight.
    arm: Option<u16>,
    /// The head before filters, kept while the request may still wait and be routed anew.
    original: Option<Box<PackedHead>>,
    applied: Option<Box<Applied>>,
}

/// The rule of the filters of a listener, which come before a route is chosen.
type Gate = Arc<CompiledRule<Arc<Backend>>>;

/// What is kept of having passed such filters.
struct Passed {
    gate: Gate,
    /// The head as it came to them: others are asked about that.
    original: Option<Box<PackedHead>>,
    /// What they add to the answer, whichever route it is of.
    answer_edits: Vec<Edit>,
}

/// A place among the filters of a plan: those of the rule, then those of the arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterAt {
    of_arm: bool,
    at: usize,
}

/// What filters made of a request.
pub enum Filtered {
    /// All are applied.
    All,
    /// One answered it, without a body.
    Answered(ResponseHead),
    /// The service of this one must be asked; those after it are not applied yet.
    Ask(FilterAt),
}

/// Why there is no plan, and how far it came.
pub struct Unplanned {
    /// Version of the routes.
    pub version: Version,
    /// The rule, where one takes the request.
    pub rule: Option<Arc<CompiledRule<Arc<Backend>>>>,
    /// What the client is answered.
    pub fault: Fault,
}

impl Plan {
    /// Finds the rule that takes a request, and chooses its arm.
    pub fn of(core: &Core, down: &Down) -> Result<Self, Unplanned> {
        Self::of_passed(core, down, None)
    }

    fn of_passed(core: &Core, down: &Down, passed: Option<Box<Passed>>) -> Result<Self, Unplanned> {
        let (connection, head) = (&down.connection, &down.head);
        let gate = passed.as_ref().map(|passed| &passed.gate);
        let (version, found) = core.with_active(|active| (active.version, find(&active.table, connection, head, gate)));
        let Taken { rule, prefix, shows } = found.map_err(|fault| Unplanned { version, rule: None, fault })?;
        let deadline = request_deadline(core, &rule, down.arrived);
        let chosen = match rule.invalid() {
            Some(why) => Err(Fault::new(invalidity(&rule), why.to_owned())),
            // who may not pass wakes nothing: the arm is chosen again once that is known
            None if asks(rule.filters()) => Ok(rule.choose(core.roll())),
            None => choose_arm(core, &rule),
        };
        match chosen {
            Ok(arm) => {
                let (prefix, arm) = (prefix.and_then(small), arm.and_then(small));
                Ok(Self { rule, version, deadline, passed, shows, prefix, arm, original: None, applied: None })
            }
            Err(fault) => Err(Unplanned { version, rule: Some(rule), fault }),
        }
    }

    /// The plan of a request that the filters of its listener have let pass: a route.
    pub fn beyond_gate(&mut self, core: &Core, down: &mut Down) -> Result<Self, Unplanned> {
        let answer_edits = self.applied.take().map(|applied| applied.answer_edits).unwrap_or_default();
        let passed = Passed { gate: self.rule.clone(), original: self.original.take(), answer_edits };
        Self::with_passed(core, down, Some(Box::new(passed)))
    }

    /// The plan of a request by other routes. What it has passed it has passed, while that is what there is to pass.
    pub fn anew(&mut self, core: &Core, down: &mut Down) -> Result<Self, Unplanned> {
        let passed = self.passed.take();
        Self::with_passed(core, down, passed)
    }

    /// A route, or other filters than it has passed: those are asked about the head as it came.
    fn with_passed(core: &Core, down: &mut Down, mut passed: Option<Box<Passed>>) -> Result<Self, Unplanned> {
        let original = passed.as_mut().and_then(|passed| passed.original.take());
        let mut plan = Self::of_passed(core, down, passed)?;
        match original {
            Some(original) if plan.is_at_gate() => {
                down.head = original.unpack(core.buffers.take_spent());
                plan.passed = None;
            }
            original => {
                if let Some(passed) = &mut plan.passed {
                    passed.original = original;
                }
            }
        }
        Ok(plan)
    }

    /// Whether no route is chosen yet.
    pub fn is_at_gate(&self) -> bool {
        self.rule.name().kind.is_of_listeners()
    }

    /// Bytes of the heads that are kept beside the request's own.
    pub fn kept(&self) -> usize {
        let at_gate = self.passed.as_ref().and_then(|passed| passed.original.as_ref());
        self.original.iter().chain(at_gate).map(|head| head.bytes()).sum()
    }

    fn arm(&self) -> Option<usize> {
        self.arm.map(usize::from)
    }

    /// What filters keep for the answer.
    pub fn applied(&self) -> &Applied {
        self.applied.as_deref().unwrap_or(&NOTHING_APPLIED)
    }

    /// Where it leads.
    pub fn backend(&self) -> Result<&Arc<Backend>, Fault> {
        let arm = self.arm().ok_or(Failure::NoBackend)?;
        self.rule.arms()[arm].target().map_err(|why| Fault::new(Failure::BackendInvalid, why.to_owned()))
    }

    /// What is shown to an endpoint that asks for a certificate.
    pub fn identity(&self) -> Option<&CertificateName> {
        self.shows.as_ref()?.backend_certificate.as_ref()
    }

    /// The backends that get a copy.
    pub fn mirrors(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.applied().mirrors.iter().filter_map(|name| self.mirror(name))
    }

    fn mirror(&self, name: &BackendName) -> Option<&Arc<Backend>> {
        let all = [false, true].into_iter().flat_map(|of_arm| self.filter_backends(of_arm));
        all.filter_map(|named| named.backend.as_ref()).find(|backend| backend.config().name == *name)
    }

    /// What an ExternalAuth filter says, and whom it asks.
    pub fn asked(&self, place: FilterAt) -> Result<(&ExternalAuth, &Arc<Backend>), Fault> {
        let Some(Filter::ExternalAuth(auth)) = self.filters(place.of_arm).get(place.at) else {
            return Err(Failure::Internal.into());
        };
        let mut named = self.filter_backends(place.of_arm).iter();
        let backend = named.find(|named| named.at == place.at).and_then(|named| named.backend.as_ref());
        backend.map(|backend| (&**auth, backend)).ok_or_else(|| {
            let why = match &auth.service {
                ArmTarget::Invalid(why) => why.clone(),
                ArmTarget::Backend(name) => format!("no backend {name} is known"),
            };
            Fault::new(Failure::BackendInvalid, why)
        })
    }

    fn filter_backends(&self, of_arm: bool) -> &[FilterBackend<Arc<Backend>>] {
        match of_arm {
            false => self.rule.filter_backends(),
            true => self.arm().map_or(&[], |arm| self.rule.arms()[arm].filter_backends()),
        }
    }

    fn filters(&self, of_arm: bool) -> &[Filter] {
        if of_arm { self.arm_filters() } else { self.rule.filters() }
    }

    fn arm_filters(&self) -> &[Filter] {
        self.arm().map_or(&[], |arm| self.rule.arm_filters(arm))
    }

    /// Whether it has filters.
    pub fn edits(&self) -> bool {
        !self.rule.filters().is_empty() || !self.arm_filters().is_empty()
    }

    /// Applies the filters of the rule, then of the arm, to the request, from a place on; some answer it.
    pub fn filter(&mut self, core: &Core, down: &mut Down, from: &mut FilterAt) -> Result<Filtered, Fault> {
        if !self.edits() {
            return Ok(Filtered::All);
        }
        if *from == FilterAt::default() {
            let may_ask = asks(self.rule.filters()) || asks(self.arm_filters());
            let may_wait = may_ask || self.backend().is_ok_and(|backend| backend.is_cold());
            self.original = may_wait.then(|| Box::new(PackedHead::of(&down.head)));
        }
        let context = Context {
            scheme: down.connection.scheme,
            listener_port: down.connection.public_port,
            prefix_len: self.prefix.map(usize::from),
            dice: &|| core.roll(),
        };
        let mut applied = self.applied.take().map(|applied| *applied).unwrap_or_default();
        let mut chosen = Ok(());
        let verdict = loop {
            let filters = &self.filters(from.of_arm)[from.at..];
            let verdict = filters::apply_request(filters, &mut down.head, &context, &mut applied);
            if from.of_arm || !matches!(verdict, Verdict::Go) {
                break verdict;
            }
            *from = FilterAt { of_arm: true, at: 0 };
            if asks(self.rule.filters()) {
                chosen = choose_arm(core, &self.rule).map(|arm| self.arm = arm.and_then(small));
            }
            if chosen.is_err() {
                break verdict;
            }
        };
        self.applied = applied.boxed();
        chosen?;
        match verdict {
            Verdict::Go => Ok(Filtered::All),
            Verdict::Answer(head) => Ok(Filtered::Answered(head)),
            Verdict::Fail(failure) => Err(failure.into()),
            Verdict::Ask(beyond) => {
                let asked = FilterAt { at: from.at + beyond, ..*from };
                from.at = asked.at + 1;
                Ok(Filtered::Ask(asked))
            }
        }
    }

    /// Keeps what a service adds to the answer.
    pub fn edit_answer(&mut self, edits: Vec<Edit>) {
        if !edits.is_empty() {
            self.applied.get_or_insert_default().answer_edits.extend(edits);
        }
    }

    /// Applies them to the endpoint's answer.
    pub fn filter_answer(&self, head: &mut ResponseHead) {
        filters::apply_response(self.rule.filters(), self.applied(), head);
        filters::apply_response(self.arm_filters(), self.applied(), head);
        let at_gate = self.passed.iter().flat_map(|passed| &passed.answer_edits);
        at_gate.chain(&self.applied().answer_edits).for_each(|edit| edit.apply(&mut head.fields));
    }

    /// The endpoint of its backend that the client is kept at, if that is in service.
    pub fn pinned(&self, backend: &Backend, now: Instant) -> Option<EndpointId> {
        let brought = self.applied.as_ref()?.session.as_ref()?;
        let key = Key::of(&backend.config().name);
        let term = filters::session_term(self.session()?, unix_s(now));
        backend.find(|addresses| brought.pins.find(&key, term, addresses))
    }

    /// Tells the client at which endpoint it was served, where it is to be kept there.
    pub fn tell_session(&self, head: &mut ResponseHead, endpoint: SocketAddr, now: Instant) {
        if let Some(brought) = self.applied.as_ref().and_then(|applied| applied.session.as_ref())
            && let (Some(session), Ok(backend)) = (self.session(), self.backend())
        {
            let config = backend.config();
            let answerer = Answerer { backend: &config.name, endpoint, now: unix_s(now) };
            filters::tell_session(session, brought, &answerer, &mut head.fields);
        }
    }

    fn session(&self) -> Option<&Session> {
        self.rule.filters().iter().chain(self.arm_filters()).find_map(|filter| match filter {
            Filter::Session(session) => Some(&**session),
            _ => None,
        })
    }

    /// Applies what concerns answers of our own.
    pub fn filter_own_answer(&self, head: &mut ResponseHead) {
        filters::apply_own_answer(self.rule.filters(), self.applied(), head);
        filters::apply_own_answer(self.arm_filters(), self.applied(), head);
    }

    /// The head as it came, if the routes of now have another rule for it; `None` if it stays with this one. `head` as it is now, where that is at hand.
    pub fn leads_elsewhere(&self, core: &Core, port: u16, head: Option<&PackedHead>) -> Option<Box<RequestHead>> {
        let packed = match &self.original {
            Some(original) => original,
            // Edited and not kept: it stays with the rule that edited it.
            None if self.edits() => return None,
            None => head?,
        };
        let original = packed.unpack(core.buffers.take_spent());
        let same = core.with_active(|active| {
            let outcome = active.table.route(port, &original);
            let passed = self.passed.as_ref().map(|passed| &passed.gate);
            match (gate_of(&active.table, &outcome, passed), outcome) {
                (Some(Ok(gate)), _) => Arc::ptr_eq(gate, &self.rule),
                (None, routing::Outcome::Found(found)) => Arc::ptr_eq(found.rule, &self.rule),
                _ => false,
            }
        });
        if same {
            core.buffers.give_spent(original.fields);
            return None;
        }
        Some(Box::new(original))
    }
}

/// Of paths and arms, of which the API allows 1,024 characters and some dozens.
fn small(number: usize) -> Option<u16> {
    u16::try_from(number).ok()
}

fn unix_s(moment: Instant) -> u32 {
    u32::try_from(clock::unix_ms(moment) / 1000).unwrap_or(u32::MAX)
}

fn asks(filters: &[Filter]) -> bool {
    filters.iter().any(|filter| matches!(filter, Filter::ExternalAuth(_)))
}

/// The rule that takes a request, and what else of the match counts.
struct Taken {
    rule: Arc<CompiledRule<Arc<Backend>>>,
    prefix: Option<usize>,
    shows: Option<Arc<Listener>>,
}

/// The rule of the filters that come before the route of a request, where its listener has some that it has not passed.
fn gate_of<'t>(
    table: &'t Table<Arc<Backend>>,
    outcome: &routing::Outcome<'t, Arc<Backend>>,
    passed: Option<&Gate>,
) -> Option<Result<&'t Gate, Fault>> {
    let name = outcome.listener()?.gate.as_ref()?;
    // without it, requests would pass that it should stop
    let missing = || Fault::new(Failure::RuleInvalid, format!("there is no rule {name} of the listener's filters"));
    let gate = table.rule(name).ok_or_else(missing);
    let is_passed = |gate: &&Gate| passed.is_some_and(|passed| Arc::ptr_eq(passed, gate));
    if gate.as_ref().is_ok_and(is_passed) { None } else { Some(gate) }
}

fn find(
    table: &Table<Arc<Backend>>,
    connection: &Connection,
    head: &RequestHead,
    passed: Option<&Gate>,
) -> Result<Taken, Fault> {
    if head.method == Method::Trace {
        // RFC 9110 §9.3.8: it would send back what hops added to the request
        return Err(Failure::MethodNotSupported.into());
    }
    if let Some(opened_for) = &connection.opened_for
        && table.listener_for(connection.port, head.host()).is_some_and(|listener| !opened_for.fits(listener))
    {
        // RFC 9110 §7.4, and HTTPS listeners of Gateway API
        return Err(Failure::Misdirected.into());
    }
    let outcome = table.route(connection.port, head);
    let shows = |listener: &Arc<Listener>| listener.backend_certificate.is_some().then(|| listener.clone());
    if let Some(gate) = gate_of(table, &outcome, passed) {
        let shows = outcome.listener().and_then(shows);
        return Ok(Taken { rule: gate?.clone(), prefix: None, shows });
    }
    match outcome {
        routing::Outcome::Found(found) => {
            Ok(Taken { rule: found.rule.clone(), prefix: found.prefix, shows: shows(found.listener) })
        }
        routing::Outcome::NoListener => Err(Fault::new(Failure::NoListener, head.host().to_owned())),
        routing::Outcome::NoHost { .. } => Err(Fault::new(Failure::NoRoute, no_host(head.host()))),
        routing::Outcome::NoMatch { failed, .. } => Err(Fault::new(Failure::NoRoute, no_match(failed, head))),
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
pub fn choose_arm(core: &Core, rule: &CompiledRule<Arc<Backend>>) -> Result<Option<usize>, Fault> {
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

/// What an invalid rule is answered with: a filter that is not known has a name and a remedy of its own.
fn invalidity(rule: &CompiledRule<Arc<Backend>>) -> Failure {
    match rule.filters().iter().any(|filter| matches!(filter, Filter::Unsupported(_))) {
        true => Failure::FilterUnsupported,
        false => Failure::RuleInvalid,
    }
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
        Failed::Query(name) => {
            format!("the rule that comes nearest asks for another value of the query parameter {name}")
        }
    }
}
