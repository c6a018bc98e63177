//! What of the objects may make a route, a Backend or a list of endpoints another one. May name too much, never too little.

use crate::{
    AliasArm, Key, Objects,
    gateways::Moved,
    kinds::{DefaultScope, ParentRef},
    lookup::Slices,
    route::Route,
};
use headgate_config::{RouteKind, Text};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// A route of any kind.
pub(crate) type RouteName = (RouteKind, Key);

/// Which routes name what: of thousands those few are found that one object concerns.
#[derive(Debug, Default)]
pub(crate) struct Users {
    services: BTreeSet<(Key, RouteName)>,
    sets: BTreeSet<(Key, RouteName)>,
}

impl Users {
    /// Takes a route as it is now in place of what it was.
    fn take(&mut self, name: &RouteName, before: Option<Route<'_>>, now: Option<Route<'_>>) {
        if let Some(route) = before {
            for key in services(route) {
                self.services.remove(&(key, name.clone()));
            }
            for key in sets(route) {
                self.sets.remove(&(key, name.clone()));
            }
        }
        if let Some(route) = now {
            self.services.extend(services(route).map(|key| (key, name.clone())));
            self.sets.extend(sets(route).map(|key| (key, name.clone())));
        }
    }
}

/// The routes that name one thing.
fn users<'u>(all: &'u BTreeSet<(Key, RouteName)>, key: &Key) -> impl Iterator<Item = &'u RouteName> {
    // the first kind and the shortest text: nothing comes before it
    let (first, key) = ((key.clone(), (RouteKind::HTTPRoute, Key::default())), key.clone());
    all.range(first..).take_while(move |(named, _)| *named == key).map(|(_, route)| route)
}

fn services(route: Route<'_>) -> impl Iterator<Item = Key> {
    route.services().map(|(namespace, name)| (namespace.into(), (*name).into()))
}

fn sets(route: Route<'_>) -> impl Iterator<Item = Key> {
    let parents = route.parents().iter().filter(|parent| parent.is_listener_set());
    parents.map(move |parent| parent.key(&route.meta().namespace))
}

/// What changed between two states of the objects.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Routes that are new, gone or written anew.
    routes: BTreeSet<RouteName>,
    /// Services of which something that routes look at is new: the object, what a function or a policy says of it, its aliases.
    services: Services,
    /// Services that have other slices.
    endpoints: Services,
    /// Gateways that routes see in another way.
    gateways: BTreeSet<Key>,
    /// ListenerSets that are new, gone, written anew or seen in another way, and those of such Gateways.
    sets: BTreeSet<Key>,
    namespaces: BTreeSet<Text>,
    grants: bool,
    everything: bool,
}

/// Services, so that one can be found without making a key of it.
#[derive(Debug, Default)]
pub(crate) struct Services(BTreeMap<Text, BTreeSet<Text>>);

impl Services {
    fn add(&mut self, (namespace, name): &Key) {
        match self.0.get_mut(namespace) {
            Some(names) => drop(names.insert(name.clone())),
            None => drop(self.0.insert(namespace.clone(), BTreeSet::from([name.clone()]))),
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.iter().flat_map(|(namespace, names)| names.iter().map(move |name| (namespace.clone(), name.clone())))
    }

    fn contains(&self, (namespace, name): (&str, &str)) -> bool {
        self.0.get(namespace).is_some_and(|names| names.contains(name))
    }

    /// Each, as namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(namespace, names)| names.iter().map(move |name| (namespace.as_str(), name.as_str())))
    }
}

impl Changed {
    /// What differs; `slices` and `users` are brought up to date on the way.
    pub fn between(before: &Objects, now: &Objects, slices: &mut Slices, users: &mut Users) -> Self {
        let mut changed = Self::default();
        for (kind, key) in keys(&before.http_routes, &now.http_routes).map(|key| (RouteKind::HTTPRoute, key)) {
            changed.routes.insert((kind, key.clone()));
        }
        for (kind, key) in keys(&before.grpc_routes, &now.grpc_routes).map(|key| (RouteKind::GRPCRoute, key)) {
            changed.routes.insert((kind, key.clone()));
        }
        for key in keys(&before.served_ingresses, &now.served_ingresses) {
            changed.routes.insert((RouteKind::Ingress, key.clone()));
        }
        changed.routes.extend(keys(&before.transport_routes, &now.transport_routes).cloned());
        for name in &changed.routes {
            users.take(name, find(before, name), find(now, name));
        }
        keys(&before.services, &now.services).for_each(|key| changed.services.add(key));
        keys(&before.x_services, &now.x_services).for_each(|key| changed.services.add(key));
        keys(&before.traits, &now.traits).for_each(|key| changed.services.add(key));
        keys(&before.aliases, &now.aliases).for_each(|key| changed.services.add(key));
        for item in before.endpoint_slices.diff(&now.endpoint_slices) {
            let (old, new) = match item {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            let of_old = old.and_then(|slice| slices.remove(slice));
            let of_new = new.and_then(|slice| slices.add(slice));
            of_old.iter().chain(&of_new).for_each(|service| changed.endpoints.add(service));
        }
        let existence = |key: &&Key| before.gateways.contains_key(*key) != now.gateways.contains_key(*key);
        changed.gateways.extend(keys(&before.gateways, &now.gateways).filter(existence).cloned());
        changed.sets.extend(keys(&before.listener_sets, &now.listener_sets).cloned());
        changed.namespaces.extend(keys(&before.namespaces, &now.namespaces).map(|(_, name)| name.clone()));
        changed.grants = !before.reference_grants.ptr_eq(&now.reference_grants);
        // the built-in Gateway comes or goes with the first one that somebody wrote
        changed.everything = before.gateways.is_empty() != now.gateways.is_empty();
        changed
    }

    /// Whether something is new of a Service, or of what applies to it.
    pub fn has_service(&self, (namespace, service): &Key) -> bool {
        self.services.contains((namespace, service))
    }

    /// Takes in that other policies apply to these Services.
    pub fn policies<'k>(&mut self, services: impl Iterator<Item = &'k Key>) {
        services.for_each(|key| self.services.add(key));
    }

    /// Takes in what routes see of the Gateways in another way.
    pub fn gateways(&mut self, moved: Moved, builtin: Option<&Key>) {
        self.gateways.extend(moved.gateways);
        self.sets.extend(moved.sets);
        self.everything |= builtin.is_some_and(|key| self.gateways.contains(key));
    }

    /// Takes in the aliases that lead to a Service of which something is new.
    pub fn aliases(&mut self, before: &OrdMap<Key, Vec<AliasArm>>, now: &OrdMap<Key, Vec<AliasArm>>) {
        if self.services.0.is_empty() {
            return;
        }
        let leads = |((namespace, _), arms): &(&Key, &Vec<AliasArm>)| {
            arms.iter().any(|arm| self.services.contains((namespace, &arm.service)))
        };
        let leading: Vec<Key> = before.iter().chain(now.iter()).filter(leads).map(|(key, _)| key.clone()).collect();
        leading.iter().for_each(|key| self.services.add(key));
    }

    /// The routes that may have become others, in order; those that are gone without an object.
    pub fn routes<'o>(&self, now: &'o Objects, by_use: &Users) -> BTreeMap<RouteName, Option<Route<'o>>> {
        let mut names = self.routes.clone();
        if self.everything || self.grants || !(self.gateways.is_empty() && self.namespaces.is_empty()) {
            let concerned = all(now).filter(|route| self.concerns(*route));
            names.extend(concerned.map(|route| (route.kind(), route.meta().key())));
        } else {
            for key in self.services.keys() {
                names.extend(users(&by_use.services, &key).cloned());
            }
            names.extend(self.sets.iter().flat_map(|key| users(&by_use.sets, key)).cloned());
            // Ingresses are on all listeners that take them
            let ingresses = now.served_ingresses.keys().filter(|_| !self.sets.is_empty());
            names.extend(ingresses.map(|key| (RouteKind::Ingress, key.clone())));
        }
        let found = names.into_iter().map(|name| {
            let route = find(now, &name);
            (name, route)
        });
        found.collect()
    }

    /// Whether something that the route looks at is new.
    fn concerns(&self, route: Route<'_>) -> bool {
        let own = &route.meta().namespace;
        let sees = || {
            let changed = |parent: &ParentRef| {
                (parent.is_gateway() && self.gateways.contains(&parent.key(own)))
                    || (parent.is_listener_set() && self.sets.contains(&parent.key(own)))
            };
            // which parents these have is decided by what Gateways there are
            let any = route.kind() == RouteKind::Ingress || *route.default_gateways() != DefaultScope::None;
            !(self.gateways.is_empty() && self.sets.is_empty()) && (any || route.parents().iter().any(changed))
        };
        let names = |(namespace, name): (&str, Cow<'_, str>)| {
            (self.grants && namespace != own.as_str()) || self.services.contains((namespace, &name))
        };
        self.everything || self.namespaces.contains(own) || sees() || route.services().any(names)
    }

    /// The Services whose Backends or endpoints may have become others.
    pub fn backends(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.iter().chain(self.endpoints.iter())
    }
}

fn find<'o>(objects: &'o Objects, (kind, key): &RouteName) -> Option<Route<'o>> {
    match *kind {
        RouteKind::HTTPRoute => objects.http_routes.get(key).map(|route| Route::Http(route)),
        RouteKind::GRPCRoute => objects.grpc_routes.get(key).map(|route| Route::Grpc(route)),
        RouteKind::TLSRoute | RouteKind::TCPRoute | RouteKind::UDPRoute => {
            objects.transport_routes.get(&(*kind, key.clone())).map(|route| Route::Transport(*kind, route))
        }
        RouteKind::Ingress => objects.served_ingresses.get(key).map(|ingress| Route::Ingress(ingress, 0)),
        RouteKind::Gateway | RouteKind::ListenerSet => None,
    }
}

fn all(objects: &Objects) -> impl Iterator<Item = Route<'_>> {
    let http = objects.http_routes.values().map(|route| Route::Http(route));
    let grpc = objects.grpc_routes.values().map(|route| Route::Grpc(route));
    let ingresses = objects.served_ingresses.values().map(|ingress| Route::Ingress(ingress, 0));
    let transport = objects.transport_routes.iter().map(|(name, route)| Route::Transport(name.0, route));
    http.chain(grpc).chain(ingresses).chain(transport)
}

/// The keys at which two maps differ.
fn keys<'k, K: Ord, V: PartialEq>(before: &'k OrdMap<K, V>, now: &'k OrdMap<K, V>) -> impl Iterator<Item = &'k K> {
    before.diff(now).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Update { new: (key, _), .. } | DiffItem::Remove(key, _) => key,
    })
}
