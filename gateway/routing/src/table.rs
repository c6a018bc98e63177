//! The routes of one version, and which rule takes a request. Never changes once compiled: an edit is another Table, which costs as much as differs.

use crate::{
    CompiledRule, Failed, Problem,
    grounds::Grounds,
    index::{Edit, Hit, Index},
    listeners::Listeners,
    regexes::Regexes,
};
use headgate_config::{
    Backend, BackendName, ByName, Host, Listener, Protocol, Rule, RuleName, Snapshot, Transport, Version,
};
use headgate_message::RequestHead;
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

/// The compiled routes of one version. `B` is the handle of a backend.
#[derive(Debug)]
pub struct Table<B> {
    version: Version,
    /// What it was compiled of, for the next one: versions share what is equal in them.
    snapshot: Snapshot,
    pub(crate) rules: Rules<B>,
    pub(crate) listeners: Arc<Listeners>,
    index: Index<B>,
    handles: Handles<B>,
    /// Of the rules with which something is wrong, by name; of their own, then of where they stand.
    problems: OrdMap<RuleName, Arc<[Problem]>>,
}

/// The rules, by the name that they carry.
type Rules<B> = OrdMap<ByName<Rule>, Arc<CompiledRule<B>>>;

/// The handle of each backend of a Snapshot.
type Handles<B> = OrdMap<ByName<Backend>, B>;

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
    /// empty or starts with `/`. `None` where an exact path or an expression matched, which take the whole.
    pub prefix: Option<usize>,
    /// The listener.
    pub listener: &'t Arc<Listener>,
}

/// What becomes of a connection, or of the datagrams of a client.
#[derive(Debug)]
pub enum Carried<'t, B> {
    /// A rule takes it.
    Found {
        /// The rule. Whether it can serve is another matter: see `CompiledRule::invalid`.
        rule: &'t Arc<CompiledRule<B>>,
        /// The listener.
        listener: &'t Arc<Listener>,
    },
    /// The listener takes the server name, but no rule on it does.
    NoRule,
    /// No listener of the port takes the server name.
    NoListener,
}

/// A port to bind.
#[derive(Debug)]
pub struct Port<'t> {
    /// Its number, as the API says.
    pub number: u16,
    /// What is spoken on it, by its first listener: on a port of TLS some may end it for HTTP, and others pass it through.
    pub protocol: Protocol,
    /// Its listeners, by name; at least one. Each has its own `tls`.
    pub listeners: &'t [Arc<Listener>],
}

impl<'t, B> Outcome<'t, B> {
    /// The listener, where one takes the host.
    pub fn listener(&self) -> Option<&'t Arc<Listener>> {
        match self {
            Self::Found(Found { listener, .. }) | Self::NoHost { listener } | Self::NoMatch { listener, .. } => {
                Some(listener)
            }
            Self::NoListener => None,
        }
    }
}

impl<B> Default for Table<B> {
    /// Version 0: no listener, no rule.
    fn default() -> Self {
        Self {
            version: Version::default(),
            snapshot: Snapshot::default(),
            rules: Rules::new(),
            listeners: Arc::default(),
            index: Index::default(),
            handles: Handles::new(),
            problems: OrdMap::new(),
        }
    }
}

impl<B: Clone + PartialEq> Table<B> {
    /// Compiles a Snapshot. `resolve` gives the handle of each backend that `previous` does not know as it is; handles are equal
    /// where they lead to the same backend. A rule of `previous` is taken over as it is where the rule is equal and its handles
    /// are; of listeners and index all that nothing differs in. What differs decides what it costs.
    pub fn compile(
        snapshot: &Snapshot,
        version: Version,
        previous: Option<&Self>,
        resolve: impl FnMut(&Arc<Backend>) -> B,
    ) -> Compiled<B> {
        let none = Self::default();
        let old = previous.filter(|old| !old.listeners.is_worn()).unwrap_or(&none);
        let mut table = Self {
            version,
            snapshot: snapshot.clone(),
            rules: old.rules.clone(),
            listeners: Arc::clone(&old.listeners),
            index: Index::default(),
            handles: old.handles.clone(),
            problems: old.problems.clone(),
        };
        let lost = table.resolve(old, resolve);
        let mut edit = Edit::default();
        let mut regexes = Regexes::default();
        for name in &table.differing(old, &lost) {
            edit.gone.extend(table.rules.remove(name));
            if let Some(rule) = snapshot.rules.get(name) {
                let made = CompiledRule::new(rule, &mut regexes, |name| table.handles.get(name));
                edit.come.push(Arc::new(made));
            } else {
                table.problems.remove(name);
            }
        }
        table.rules.extend(edit.come.iter().map(|rule| (ByName::of(rule.config()), Arc::clone(rule))));
        let reused = table.rules.len() - edit.come.len();
        table.lay_out(old, edit);
        let of_rules = table.problems.values().flat_map(|problems| &**problems);
        let problems = table.listeners.problems().iter().chain(of_rules).cloned().collect();
        Compiled { problems, reused, table }
    }

    /// Finds the handles, and gives those to which their names do not lead any more.
    fn resolve(&mut self, old: &Self, mut resolve: impl FnMut(&Arc<Backend>) -> B) -> Vec<B> {
        let mut lost = Vec::new();
        for item in old.snapshot.backends.diff(&self.snapshot.backends) {
            let (before, now) = match item {
                DiffItem::Add(_, backend) => (None, Some(backend)),
                DiffItem::Update { new: (name, backend), .. } => {
                    (self.handles.remove::<BackendName>(name), Some(backend))
                }
                DiffItem::Remove(name, _) => (self.handles.remove::<BackendName>(name), None),
            };
            let handle = now.map(|backend| (backend, resolve(backend)));
            lost.extend(before.filter(|before| handle.as_ref().is_none_or(|(_, now)| now != before)));
            self.handles.extend(handle.map(|(backend, handle)| (ByName::of(backend), handle)));
        }
        lost
    }

    /// The rules that are new, changed or gone, or lead elsewhere.
    fn differing<'t>(&'t self, old: &'t Self, lost: &[B]) -> BTreeSet<RuleName> {
        let changed = old.snapshot.rules.diff(&self.snapshot.rules).map(|item| match item {
            DiffItem::Add(name, _) | DiffItem::Update { new: (name, _), .. } | DiffItem::Remove(name, _) => {
                (**name).clone()
            }
        });
        let mut names: BTreeSet<RuleName> = changed.collect();
        // only a rule with which something is wrong can lead to a backend that was not there before
        let named_in_vain = old.problems.keys().filter_map(|name| old.rules.get(name));
        let elsewhere = named_in_vain.filter(|rule| !rule.is_current(|name| self.handles.get(name)));
        names.extend(elsewhere.map(|rule| rule.name().clone()));
        if !lost.is_empty() {
            names.extend(old.rules.values().filter(|rule| rule.leads_to(lost)).map(|rule| rule.name().clone()));
        }
        names
    }

    /// Listeners and index, and what is wrong with rules and where they stand.
    fn lay_out(&mut self, old: &Self, mut edit: Edit<B>) {
        if old.snapshot.listeners != self.snapshot.listeners {
            self.listeners = Arc::new(Listeners::gather(&self.snapshot, &old.listeners));
            self.displaced(old, &mut edit);
        }
        let (before, now) = (old.grounds(), self.grounds());
        let index = old.index.after(&edit, &before, &now, self.rules.values());
        let problems = edit.come.iter().map(|rule| {
            let all: Arc<[Problem]> = rule.problems().iter().cloned().chain(now.problems(rule.config())).collect();
            (rule.name().clone(), all)
        });
        let (wrong, right): (Vec<_>, Vec<_>) = problems.partition(|(_, problems)| !problems.is_empty());
        right.iter().for_each(|(name, _)| drop(self.problems.remove(name)));
        self.problems.extend(wrong);
        self.index = index;
    }

    /// Adds the rules that stand elsewhere because listeners do, though nothing differs in themselves.
    fn displaced(&self, old: &Self, edit: &mut Edit<B>) {
        let moved = self.grounds().moved_from(&old.grounds());
        let known: HashSet<_> = edit.come.iter().map(Arc::as_ptr).collect();
        let is_displaced = |rule: &&Arc<CompiledRule<B>>| {
            let mut attachments = rule.config().attachments.iter();
            attachments.any(|attachment| moved.contains(&attachment.listener))
        };
        // only a rule with which something is wrong can name a listener that was not there before
        let named_in_vain = self.problems.keys().filter_map(|name| self.rules.get(name));
        let mut all: BTreeMap<_, _> = named_in_vain.map(|rule| (rule.name(), rule)).collect();
        if !moved.is_empty() {
            all.extend(self.rules.values().filter(is_displaced).map(|rule| (rule.name(), rule)));
        }
        for rule in all.into_values().filter(|rule| !known.contains(&Arc::as_ptr(rule))) {
            edit.gone.push(Arc::clone(rule));
            edit.come.push(Arc::clone(rule));
        }
    }
}

impl<B> Table<B> {
    /// The rule that takes a request on a port: of all on the most specific listener that match, the one with the greatest
    /// `Rank`. Allocates nothing, unless a regular expression tests a repeated header or an encoded query parameter.
    pub fn route<'t>(&'t self, port: u16, head: &RequestHead) -> Outcome<'t, B> {
        let Some(number) = self.listeners.find(Transport::Tcp, port, head.host_bytes()) else {
            return Outcome::NoListener;
        };
        let listener = self.listeners.get(number);
        if !listener.protocol.is_http() {
            return Outcome::NoListener;
        }
        match self.index.find(self.listeners.tag(number), head) {
            Hit::Rule { rule, at, taken, is_prefix } => {
                let prefix = is_prefix.then_some(taken);
                Outcome::Found(Found { rule, matched: at, prefix, listener })
            }
            Hit::Failed(failed) => Outcome::NoMatch { listener, failed },
            Hit::NoHost => Outcome::NoHost { listener },
        }
    }

    /// The listener of a port that takes a canonical host; the empty host (no SNI) only where one takes every host.
    pub fn listener_for(&self, port: u16, host: &str) -> Option<&Arc<Listener>> {
        Some(self.listeners.get(self.listeners.find(Transport::Tcp, port, host.as_bytes())?))
    }

    /// The rule that takes a connection, or datagrams, for a canonical server name, empty where there is none. Allocates nothing.
    pub fn carry(&self, transport: Transport, port: u16, name: &str) -> Carried<'_, B> {
        let found =
            self.listeners.find(transport, port, name.as_bytes()).map(|number| (number, self.listeners.get(number)));
        match found.filter(|(_, listener)| !listener.protocol.is_http()) {
            None => Carried::NoListener,
            Some((number, listener)) => match self.index.find_named(self.listeners.tag(number), name) {
                Some(rule) => Carried::Found { rule, listener },
                None => Carried::NoRule,
            },
        }
    }

    /// What is spoken on a port of TCP, by its first listener.
    pub fn protocol(&self, port: u16) -> Option<Protocol> {
        self.listeners.first(Transport::Tcp, port).map(|listener| listener.protocol)
    }

    /// The ports to bind, in order.
    pub fn ports(&self) -> impl Iterator<Item = Port<'_>> {
        self.listeners.ports().map(|listeners| {
            let first = &listeners[0];
            Port { number: first.port, protocol: first.protocol, listeners }
        })
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
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Arc<CompiledRule<B>>> {
        self.rules.values()
    }

    /// The rule of a name.
    pub fn rule(&self, name: &RuleName) -> Option<&Arc<CompiledRule<B>>> {
        self.rules.get(name)
    }

    fn grounds(&self) -> Grounds<'_> {
        Grounds { by_name: &self.snapshot.listeners, serving: &self.listeners }
    }

    /// Every match of every rule on each host of a listener, with the number of the listener, in no order that decides: what `explain` and `rows` go through.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, Entry<'_, B>)> {
        let grounds = self.grounds();
        let attached = self.rules.values().flat_map(move |rule| {
            let attachments = rule.config().attachments.iter();
            attachments.filter_map(move |attachment| Some((grounds.number(&attachment.listener)?, rule, attachment)))
        });
        attached.flat_map(|(number, rule, attachment)| {
            let matches = 0..rule.config().matches.len();
            let on = move |host| matches.clone().map(move |at| (number, Entry { rule, host, at }));
            attachment.hosts.iter().flat_map(on)
        })
    }
}

/// A match of a rule on a host.
pub(crate) struct Entry<'t, B> {
    pub(crate) rule: &'t CompiledRule<B>,
    pub(crate) host: &'t Host,
    pub(crate) at: usize,
}
