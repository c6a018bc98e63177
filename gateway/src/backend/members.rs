//! The endpoints of a backend with what is known of each, and which of them are in service. Never forgets one whose requests still run.

use super::{
    Endpoint, EndpointFailure, EndpointId, Limits,
    endpoint::{Roster, Row},
    health::{Health, is_panic},
};
use headgate_config as config;
use std::{
    collections::{HashMap, HashSet},
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

/// All endpoints, those included that are listed no more but have requests in flight.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Vec<Member>,
    /// When something lapses next; earlier is harmless.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    row: Arc<Row>,
    listed: bool,
    /// What the list says.
    said_ready: bool,
    /// What the list says or a probe found.
    ready: bool,
    /// A probe is at it.
    probing: bool,
    health: Health,
}

impl Members {
    /// Takes a new list: known addresses keep their endpoint, others get one from `make`.
    pub fn set(&mut self, list: &[config::Endpoint]) {
        let (mut known, mut gone) = (HashMap::<SocketAddr, Member>::new(), Vec::new());
        for member in self.all.drain(..) {
            // Twice only if its probe changed: the older one has requests in flight and goes.
            gone.extend(known.insert(member.row.endpoint.address, member));
        }
        let mut seen = HashSet::new();
        for spec in list.iter().filter(|spec| seen.insert(spec.address)) {
            let same = known.remove(&spec.address).and_then(|member| {
                let same = member.row.endpoint.probe == spec.probe;
                if same {
                    Some(member)
                } else {
                    gone.push(member);
                    None
                }
            });
            let make = || Member::new(Row::new(Endpoint::new(spec.address, spec.probe.clone())), spec.ready);
            self.all.push(same.map_or_else(make, |member| member.renewed(spec.ready)));
        }
        // In front, so that the newer of two of one address is the one found.
        gone.extend(known.into_values());
        gone.iter_mut().for_each(Member::leave);
        self.all.splice(0..0, gone);
        // kept as long as the list: most have one
        self.all.shrink_to_fit();
    }

    /// Forgets those that are listed no more and have no request in flight. Only once the gate was shut for the list that has them no
    /// more: a core that saw it open may be about to count itself.
    pub fn forget_idle(&mut self) {
        // Those that leave stand in front.
        if self.all.first().is_some_and(|member| !member.listed) {
            self.all.retain(|member| member.listed || member.row.in_flight() > 0);
        }
    }

    /// Those that requests may be sent to.
    pub fn in_service(&self) -> Arc<Roster> {
        let ready = || self.all.iter().filter(|member| member.ready);
        let out = ready().filter(|member| member.health.out_until().is_some()).count();
        let panic = is_panic(out, ready().count());
        let serving = ready().filter(|member| panic || member.health.out_until().is_none());
        Arc::new(serving.map(|member| Arc::clone(&member.row)).collect())
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.all.iter().map(|member| member.row.in_flight()).sum()
    }

    /// Those to probe that no probe is at; marks them.
    pub fn take_unprobed(&mut self) -> Vec<Arc<Endpoint>> {
        let unprobed = self.all.iter_mut().filter(|member| member.listed && !member.ready && !member.probing);
        unprobed
            .map(|member| {
                member.probing = true;
                Arc::clone(&member.row.endpoint)
            })
            .collect()
    }

    /// Whether one is to be probed that no probe is at.
    pub fn has_unprobed(&self) -> bool {
        self.all.iter().any(|member| member.listed && !member.ready && !member.probing)
    }

    /// A probe ended, with a connection or without; `true` if the endpoint is ready now and was not before.
    pub fn probed(&mut self, id: EndpointId, ready: bool, connection: Option<TcpStream>, now: Instant) -> bool {
        let Some(member) = self.find(id) else { return false };
        member.probing = false;
        if !ready || !member.listed || member.ready {
            return false;
        }
        (member.ready, member.health) = (true, Health::default());
        member.row.endpoint.troubled.store(false, Relaxed);
        if let Some(stream) = connection {
            member.row.endpoint.keep_probe_connection(stream, now);
            self.due = Some(now);
        }
        true
    }

    /// A request got an answer.
    pub fn succeeded(&mut self, id: EndpointId) {
        if let Some(member) = self.find(id) {
            member.health.succeeded();
            member.row.endpoint.troubled.store(false, Relaxed);
        }
    }

    /// A try failed; `true` if that changes who is in service. Where only our own probe said ready and nobody listens any more, it is
    /// asked again instead of being ejected.
    pub fn failed(&mut self, id: EndpointId, how: EndpointFailure, now: Instant, limits: &Limits) -> bool {
        let Some(member) = self.find(id) else { return false };
        if how == EndpointFailure::Refused && !member.said_ready && member.ready {
            member.ready = false;
            return true;
        }
        let ejected = member.health.failed(now, limits);
        member.row.endpoint.troubled.store(!member.health.is_spotless(), Relaxed);
        let until = member.health.out_until();
        self.due = [self.due, until].into_iter().flatten().min();
        ejected
    }

    /// Ends ejections whose time has come and closes probe connections that nobody took; `true` if that changes who is in service.
    pub fn lapse(&mut self, now: Instant, limits: &Limits) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let mut changed = false;
        self.due = None;
        for member in &mut self.all {
            changed |= member.health.lapse(now);
            let closes = member.row.endpoint.lapse_probe_connection(now, limits.probe_connection_kept);
            self.due = [self.due, member.health.out_until(), closes].into_iter().flatten().min();
        }
        changed
    }

    /// When [`Members::lapse`] has something to do next.
    pub fn next_lapse(&self) -> Option<Instant> {
        self.due
    }

    /// What an operator sees.
    pub fn report(&self) -> Vec<EndpointReport> {
        let report = |member: &Member| EndpointReport {
            id: member.row.endpoint.id,
            address: member.row.endpoint.address,
            listed: member.listed,
            ready: member.ready,
            ejected: member.health.out_until().is_some(),
            in_flight: member.row.in_flight(),
        };
        self.all.iter().map(report).collect()
    }

    fn find(&mut self, id: EndpointId) -> Option<&mut Member> {
        self.all.iter_mut().find(|member| member.row.endpoint.id == id)
    }
}

impl Member {
    fn new(row: Arc<Row>, ready: bool) -> Self {
        Self { row, listed: true, said_ready: ready, ready, probing: false, health: Health::default() }
    }

    /// Listed no more: no new request.
    fn leave(&mut self) {
        (self.listed, self.ready) = (false, false);
        self.row.endpoint.listed.store(false, Relaxed);
    }

    /// Listed again. It stays ready if a probe found it so and the list never said so; if the list took its word back, it is asked again.
    fn renewed(mut self, said_ready: bool) -> Self {
        self.ready = said_ready || (self.ready && !self.said_ready);
        (self.listed, self.said_ready) = (true, said_ready);
        self.row.endpoint.listed.store(true, Relaxed);
        self
    }
}

/// An endpoint as an operator sees it. One that is not listed has requests in flight and gets no new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointReport {
    /// Unique in this process.
    pub id: EndpointId,
    /// Where.
    pub address: SocketAddr,
    /// Whether it is in the newest list.
    pub listed: bool,
    /// Whether the list says so or a probe found so.
    pub ready: bool,
    /// Whether it is left out for its failures.
    pub ejected: bool,
    /// Requests in flight.
    pub in_flight: u32,
}
