//! The routes of one version, and which rule takes a request. Never changes once compiled: an edit is another Table.

use crate::{
    CompiledRule, Failed, Problem,
    index::{Hit, Index},
    listeners::Listeners,
    regexes::Regexes,
};
use headgate_config::{Backend, BackendName, Host, Listener, Protocol, RuleName, Snapshot, Version};
use headgate_message::RequestHead;
use std::{collections::HashMap, sync::Arc};

/// The compiled routes of one version. `B` is the handle of a backend.
#[derive(Debug)]
pub struct Table<B> {
    version: Version,
    /// Ordered by name.
    pub(crate) rules: Box<[Arc<CompiledRule<B>>]>,
    pub(crate) listeners: Listeners,
    index: Index,
}

/// A Table, and what was wrong in its Snapshot.
#[derive(Debug)]
pub struct Compiled<B> {
    /// Serves all that is right; the rest answers 500 for its share.
    pub table: Table<B>,
    /// What is wrong, also in the rules that were taken from the previous Table.
    pub problems: Vec<Problem>,
    /// How many rules are the previous Table's own.
    pub reused: usize,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome<'t, B> {
    /// A rule takes it.
    Found(Found<'t, B>),
    /// 404: no listener of the port takes the host.
    NoListener,
    /// 404: the listener takes the host, but no rule on it does.
    NoHost {
        /// The listener.
        listener: &'t Arc<Listener>,
    },
    /// 404: rules have the host, but none takes the request.
    NoMatch {
        /// The listener.
        listener: &'t Arc<Listener>,
        /// What the rule that came nearest asks for and the request has not.
        failed: Failed<'t>,
    },
}

/// A rule that takes a request.
#[derive(Debug)]
pub struct Found<'t, B> {
    /// The rule. Whether it can serve is another matter: see `CompiledRule::invalid`.
    pub rule: &'t Arc<CompiledRule<B>>,
    /// The index of its match.
    pub matched: usize,
    /// The length in bytes of the matched prefix of the canonical path, without a trailing slash (0 for `/`): what follows is
    /// empty or starts with `/`. An exact path and an expression match the whole.
    pub prefix: usize,
    /// The listener.
    pub listener: &'t Arc<Listener>,
}

/// A port to bind.
#[derive(Debug)]
pub struct Port<'t> {
    /// Its number, as the API says.
    pub number: u16,
    /// What is spoken on it; the same on all its listeners.
    pub protocol: Protocol,
    /// Its listeners, by name; at least one. Each has its own `tls`.
    pub listeners: &'t [Arc<Listener>],
}

impl<B> Default for Table<B> {
    /// Version 0: no listener, no rule.
    fn default() -> Self {
        Self {
            version: Version::default(),
            rules: Box::default(),
            listeners: Listeners::default(),
            index: Index::default(),
        }
    }
}

impl<B: Clone + PartialEq> Table<B> {
    /// Compiles a Snapshot. `resolve` gives the handle of each backend, once each; handles are equal where they lead to the
    /// same backend. A rule of `previous` is taken over as it is where the rule is equal and its handles are.
    pub fn compile(
        snapshot: &Snapshot,
        version: Version,
        previous: Option<&Self>,
        mut resolve: impl FnMut(&Backend) -> B,
    ) -> Compiled<B> {
        let mut problems = Vec::new();
        let backends: HashMap<&BackendName, B, foldhash::fast::RandomState> =
            snapshot.backends.values().map(|backend| (&backend.name, resolve(backend))).collect();
        let (listeners, numbers) =
            Listeners::gather(snapshot, previous.map(|previous| &previous.listeners), &mut problems);
        let mut regexes = Regexes::default();
        let mut reused = 0;
        let mut old = previous.map_or(&[][..], |previous| &previous.rules).iter().peekable();
        let backend = |name: &BackendName| backends.get(name);
        let rules: Box<[_]> = snapshot
            .rules
            .values()
            .map(|rule| {
                // Both are ordered by name, so one walk along both finds all pairs.
                while old.next_if(|old| *old.name() < rule.name).is_some() {}
                let same = old.next_if(|old| old.name() == &rule.name);
                match same.filter(|old| old.config() == rule && old.is_current(backend)) {
                    Some(old) => {
                        reused += 1;
                        Arc::clone(old)
                    }
                    None => Arc::new(CompiledRule::new(rule, &mut regexes, backend)),
                }
            })
            .collect();
        rules.iter().for_each(|rule| problems.extend_from_slice(rule.problems()));
        let index = Index::build(&rules, &listeners, &numbers, &mut problems);
        Compiled { table: Self { version, rules, listeners, index }, problems, reused }
    }
}

impl<B> Table<B> {
    /// The rule that takes a request on a port: of all on the most specific listener that match, the one with the greatest
    /// `Rank`. Allocates nothing, unless a regular expression tests a repeated header or an encoded query parameter.
    pub fn route<'t>(&'t self, port: u16, head: &RequestHead) -> Outcome<'t, B> {
        let Some(number) = self.listeners.find(port, head.host()) else { return Outcome::NoListener };
        let listener = self.listeners.get(number);
        match self.index.find(&self.rules, number, head) {
            Hit::Rule { rule, at, taken } => {
                Outcome::Found(Found { rule: &self.rules[rule as usize], matched: at, prefix: taken, listener })
            }
            Hit::Failed(failed) => Outcome::NoMatch { listener, failed },
            Hit::NoHost => Outcome::NoHost { listener },
        }
    }

    /// The listener of a port that takes a canonical host; the empty host (no SNI) only where one takes every host.
    pub fn listener_for(&self, port: u16, host: &str) -> Option<&Arc<Listener>> {
        Some(self.listeners.get(self.listeners.find(port, host)?))
    }

    /// The ports to bind, in order.
    pub fn ports(&self) -> impl Iterator<Item = Port<'_>> {
        self.listeners.ports().map(|(number, listeners)| Port { number, protocol: listeners[0].protocol, listeners })
    }

    /// The listeners, by port and name. Of several with the same port, hostname and TLS, the first by name stands for all.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        self.listeners.list()
    }

    /// The version that it was compiled of.
    pub fn version(&self) -> Version {
        self.version
    }

    /// All rules, by name.
    pub fn rules(&self) -> &[Arc<CompiledRule<B>>] {
        &self.rules
    }

    /// The rule of a name.
    pub fn rule(&self, name: &RuleName) -> Option<&Arc<CompiledRule<B>>> {
        let at = self.rules.binary_search_by(|rule| rule.name().cmp(name)).ok()?;
        Some(&self.rules[at])
    }

    /// Every match of every rule on each host of a listener, in no order that decides: what `explain` and `rows` go through.
    pub(crate) fn entries(&self, listener: u32) -> impl Iterator<Item = Entry<'_, B>> {
        let attached = self.rules.iter().flat_map(move |rule| {
            let attachments = rule.config().attachments.iter();
            let here = attachments.filter(move |attachment| self.listeners.serves(listener, &attachment.listener));
            here.flat_map(|attachment| &attachment.hosts).map(move |host| (rule, host))
        });
        attached.flat_map(|(rule, host)| (0..rule.config().matches.len()).map(move |at| Entry { rule, host, at }))
    }
}

/// A match of a rule on a host.
pub(crate) struct Entry<'t, B> {
    pub(crate) rule: &'t CompiledRule<B>,
    pub(crate) host: &'t Host,
    pub(crate) at: usize,
}
