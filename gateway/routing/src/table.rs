//! The routes of one version, and which rule takes a request. Never changes once compiled: an edit is another Table.

use crate::{
    CompiledRule, Failed, Problem,
    index::{Hit, Index},
    listeners::Listeners,
    regexes::Regexes,
};
use headgate_config::{Backend, BackendName, ByName, Host, Listener, Protocol, RuleName, Snapshot, Transport, Version};
use headgate_message::RequestHead;
use imbl::{OrdMap, ordmap::DiffItem};
use std::sync::Arc;

/// The compiled routes of one version. `B` is the handle of a backend.
#[derive(Debug)]
pub struct Table<B> {
    version: Version,
    /// Ordered by name.
    pub(crate) rules: Box<[Arc<CompiledRule<B>>]>,
    pub(crate) listeners: Arc<Listeners>,
    index: Arc<Index>,
    /// What it was compiled of, for the next one: versions share what is equal in them.
    snapshot: Snapshot,
    handles: Handles<B>,
    listener_problems: Arc<[Problem]>,
    index_problems: Arc<[Problem]>,
}

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

impl<B> Default for Table<B> {
    /// Version 0: no listener, no rule.
    fn default() -> Self {
        Self {
            version: Version::default(),
            rules: Box::default(),
            listeners: Arc::default(),
            index: Arc::default(),
            snapshot: Snapshot::default(),
            handles: Handles::new(),
            listener_problems: Arc::default(),
            index_problems: Arc::default(),
        }
    }
}

impl<B: Clone + PartialEq> Table<B> {
    /// Compiles a Snapshot. `resolve` gives the handle of each backend that `previous` does not know as it is; handles are equal
    /// where they lead to the same backend. A rule of `previous` is taken over as it is where the rule is equal and its handles
    /// are; the listeners and the index are where nothing that they depend on differs.
    pub fn compile(
        snapshot: &Snapshot,
        version: Version,
        previous: Option<&Self>,
        resolve: impl FnMut(&Arc<Backend>) -> B,
    ) -> Compiled<B> {
        let none = Self::default();
        let old = previous.unwrap_or(&none);
        let mut table = Self { version, snapshot: snapshot.clone(), ..Self::default() };
        let led_elsewhere = table.resolve(old, resolve);
        let draft = table.compile_rules(old, led_elsewhere);
        table.lay_out(old, draft.same_places);
        let of_rules = table.rules.iter().flat_map(|rule| rule.problems());
        let problems = table.listener_problems.iter().chain(of_rules).chain(table.index_problems.iter()).cloned();
        Compiled { problems: problems.collect(), reused: draft.reused, table }
    }

    /// Finds the handles; whether a name leads elsewhere than before, or nowhere any more.
    fn resolve(&mut self, old: &Self, mut resolve: impl FnMut(&Arc<Backend>) -> B) -> bool {
        self.handles = old.handles.clone();
        let mut led_elsewhere = false;
        for item in old.snapshot.backends.diff(&self.snapshot.backends) {
            match item {
                DiffItem::Add(_, backend) | DiffItem::Update { new: (_, backend), .. } => {
                    let handle = resolve(backend);
                    // a new name may be one that a rule has named in vain
                    led_elsewhere |= self.handles.get(&backend.name) != Some(&handle);
                    self.handles.insert(ByName::of(backend), handle);
                }
                DiffItem::Remove(name, _) => {
                    self.handles.remove::<BackendName>(name);
                    led_elsewhere = true;
                }
            }
        }
        led_elsewhere
    }

    fn compile_rules(&mut self, old: &Self, led_elsewhere: bool) -> Draft {
        let mut regexes = Regexes::default();
        let mut draft = Draft { reused: 0, same_places: old.rules.len() == self.snapshot.rules.len() };
        let mut olds = old.rules.iter().peekable();
        let backend = |name: &BackendName| self.handles.get(name);
        let rules = self.snapshot.rules.values().map(|rule| {
            // Both are ordered by name, so one walk along both finds all pairs.
            let is_same = |old: &&Arc<CompiledRule<B>>| Arc::ptr_eq(old.config(), rule);
            let known = olds.next_if(is_same).or_else(|| {
                while olds.next_if(|old| *old.name() < rule.name).is_some() {}
                olds.next_if(|old| old.name() == &rule.name)
            });
            draft.same_places &= known.is_some_and(|known| known.is_found_as(rule));
            match known.filter(|known| known.config() == rule && (!led_elsewhere || known.is_current(backend))) {
                Some(known) => {
                    draft.reused += 1;
                    Arc::clone(known)
                }
                None => Arc::new(CompiledRule::new(rule, &mut regexes, backend)),
            }
        });
        self.rules = rules.collect();
        draft
    }

    /// Listeners and index, those of the old Table where they would be equal.
    fn lay_out(&mut self, old: &Self, same_places: bool) {
        let same_listeners = old.snapshot.listeners == self.snapshot.listeners;
        if same_listeners && same_places {
            self.listeners = Arc::clone(&old.listeners);
            self.index = Arc::clone(&old.index);
            self.listener_problems = Arc::clone(&old.listener_problems);
            self.index_problems = Arc::clone(&old.index_problems);
            return;
        }
        let (mut of_listeners, mut of_index) = (Vec::new(), Vec::new());
        let (listeners, numbers) = Listeners::gather(&self.snapshot, Some(&*old.listeners), &mut of_listeners);
        self.index = Arc::new(Index::build(&self.rules, &listeners, &numbers, &mut of_index));
        self.listeners = Arc::new(listeners);
        self.listener_problems = of_listeners.into();
        self.index_problems = of_index.into();
    }
}

/// What is known once the rules are compiled.
struct Draft {
    reused: usize,
    /// The same rules as before are found in the same places, so that the index is the same.
    same_places: bool,
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
        match self.index.find(&self.rules, number, head) {
            Hit::Rule { rule, at, taken, is_prefix } => {
                let prefix = is_prefix.then_some(taken);
                Outcome::Found(Found { rule: &self.rules[rule as usize], matched: at, prefix, listener })
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
            Some((number, listener)) => match self.index.find_named(number, name) {
                Some(rule) => Carried::Found { rule: &self.rules[rule as usize], listener },
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
