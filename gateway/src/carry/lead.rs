//! Where a connection or a client's datagrams go: the rule, and one of its arms for all that follows. Knows no socket.

use crate::{backend::Backend, core::Core, exchange::Fault, failure::Failure, plan::choose_arm, telemetry::Record};
use headgate_config::{CertificateName, Listener, Transport};
use headgate_routing::{Carried, CompiledRule};
use std::sync::Arc;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What carries it.
    pub transport: Transport,
    /// The port of the listener, as the API has it.
    pub port: u16,
    /// The server name, canonical; empty where there is none.
    pub name: &'a str,
}

/// A rule, and a choice among its arms.
#[derive(Clone)]
pub struct Lead {
    rule: Arc<CompiledRule<Arc<Backend>>>,
    listener: Arc<Listener>,
    /// Where to.
    pub backend: Arc<Backend>,
}

impl Lead {
    /// Finds the rule, and chooses its arm; the record learns how far it came.
    pub fn of(core: &Core, asked: Asked<'_>, record: &mut Record) -> Result<Self, Fault> {
        let (version, found) = core.with_active(|active| (active.version, find(&active.table, asked)));
        record.routes = version;
        let (rule, listener) = found.map_err(|failure| missing(failure, asked))?;
        record.rule = Some(core.shard.rule(rule.name()));
        if let Some(why) = rule.invalid() {
            return Err(Fault::new(Failure::RuleInvalid, why.to_owned()));
        }
        let arm = choose_arm(core, &rule)?.ok_or(Failure::NoBackend)?;
        let backend = rule.arms()[arm].target();
        let backend = backend.map_err(|why| Fault::new(Failure::BackendInvalid, why.to_owned()))?.clone();
        record.backend = Some(core.shard.backend(&backend.config().name));
        Ok(Self { rule, listener, backend })
    }

    /// Whether the routes of now still have this rule for it.
    pub fn holds(&self, core: &Core, asked: Asked<'_>) -> bool {
        core.with_active(|active| match active.table.carry(asked.transport, asked.port, asked.name) {
            Carried::Found { rule, .. } => Arc::ptr_eq(rule, &self.rule),
            Carried::NoRule | Carried::NoListener => false,
        })
    }

    /// What is shown to an endpoint that asks for a certificate.
    pub fn identity(&self) -> Option<&CertificateName> {
        self.listener.backend_certificate.as_ref()
    }
}

type Found = (Arc<CompiledRule<Arc<Backend>>>, Arc<Listener>);

fn find(table: &headgate_routing::Table<Arc<Backend>>, asked: Asked<'_>) -> Result<Found, Failure> {
    match table.carry(asked.transport, asked.port, asked.name) {
        Carried::Found { rule, listener } => Ok((rule.clone(), listener.clone())),
        Carried::NoRule => Err(Failure::NoRoute),
        Carried::NoListener => Err(Failure::NoListener),
    }
}

fn missing(failure: Failure, asked: Asked<'_>) -> Fault {
    match asked.name {
        "" => failure.into(),
        name => Fault::new(failure, name.to_owned()),
    }
}
