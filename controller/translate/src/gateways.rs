//! The Gateways that we serve: their listeners, what routes see of them, and their status. Knows nothing of rules.

use crate::{
    Key, Objects, Settings,
    backends::Backends,
    changed::Changed,
    conditions::{Condition, ConditionType, GatewayStatus, Reason},
    conflicts::{self, Standing},
    kinds::{DefaultScope, From, Gateway, ListenerSet},
    listener_sets::{SetView, refusal},
    listeners::{Beginning, GatewayView, ListenerView, Owner},
    lookup::Lookup,
    parameters,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Our Gateways, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    pub views: Vec<GatewayView>,
    by_name: BTreeMap<Key, usize>,
    /// By ListenerSet: its Gateway, and its index among the sets of that.
    sets: HashMap<Key, (usize, usize)>,
    /// The sets as they are without conflicts.
    plain: HashMap<Key, Arc<SetView>>,
    builtin: Option<usize>,
    /// Whether a listener of them has filters.
    pub have_gates: bool,
    /// The Services that those name.
    gate_services: BTreeSet<Key>,
}

/// The Gateways and ListenerSets that routes see in another way.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub gateways: BTreeSet<Key>,
    pub sets: BTreeSet<Key>,
}

impl Gateways {
    /// Whether they could come out in another way.
    pub fn depend_on_difference(&self, before: &Objects, now: &Objects, changed: &Changed) -> bool {
        Self::all_depend_on_difference(before, now)
            || !before.listener_sets.ptr_eq(&now.listener_sets)
            || self.have_other_gates(before, now, changed)
    }

    /// Whether something differs of what filters of listeners name.
    fn have_other_gates(&self, before: &Objects, now: &Objects, changed: &Changed) -> bool {
        let mut named = self.gate_services.iter();
        self.have_gates && (!before.x_backends.ptr_eq(&now.x_backends) || named.any(|key| changed.has_service(key)))
    }

    /// Whether something differs that any of them may look at.
    fn all_depend_on_difference(before: &Objects, now: &Objects) -> bool {
        let same = before.gateways.ptr_eq(&now.gateways)
            && before.gateway_classes.ptr_eq(&now.gateway_classes)
            && before.parameters.ptr_eq(&now.parameters)
            && before.secrets.ptr_eq(&now.secrets)
            && before.unusable_secrets.ptr_eq(&now.unusable_secrets)
            && before.has_same_authorities(now)
            && before.reference_grants.ptr_eq(&now.reference_grants)
            && before.namespaces.ptr_eq(&now.namespaces);
        !same
    }

    /// Finds them, and which of their listeners serve. What these were made of is `before`: a ListenerSet that did not change since is
    /// not looked at again.
    pub fn next(&self, before: &Objects, changed: &Changed, backends: Backends<'_, '_>, settings: &Settings) -> Self {
        let lookup = backends.lookup();
        let objects = lookup.objects;
        let all_anew = Self::all_depend_on_difference(before, objects);
        let gates_anew = self.have_other_gates(before, objects, changed);
        let is_anew = |set: &SetView| all_anew || (gates_anew && set.listeners.iter().any(ListenerView::has_gate));
        let known = |set: &Arc<ListenerSet>| {
            let known = self.plain.get(&set.meta.key()).filter(|known| Arc::ptr_eq(&known.set, set));
            known.filter(|known| !is_anew(known)).cloned()
        };
        let mut next = Self::default();
        let mut sets = sets_by_gateway(objects);
        let mut older = Standing::default();
        for gateway in our_gateways(objects, settings) {
            let key = gateway.meta.key();
            let beginning = Beginning::new(backends, gateway);
            let mut own = beginning.listeners(&Owner::Gateway(Arc::clone(gateway)));
            let of_gateway = sets.remove(&key).unwrap_or_default();
            let view =
                |set: &Arc<ListenerSet>| known(set).unwrap_or_else(|| Arc::new(set_view(&beginning, lookup, set)));
            let mut of_gateway: Vec<Arc<SetView>> = of_gateway.into_iter().map(view).collect();
            for (at, view) in of_gateway.iter().enumerate() {
                next.sets.insert(view.set.meta.key(), (next.views.len(), at));
                next.plain.insert(view.set.meta.key(), Arc::clone(view));
            }
            conflicts::within(&mut own);
            conflicts::of_sets(&own, &mut of_gateway);
            if settings.shared_ports {
                older.fell(&mut own, &mut of_gateway);
            }
            let view = beginning.with(own, of_gateway);
            if settings.shared_ports {
                view.listeners().filter(|listener| listener.is_told()).for_each(|listener| older.add(listener));
            }
            for listener in view.listeners().filter(|listener| listener.has_gate()) {
                next.have_gates = true;
                next.gate_services.extend(listener.gate_services());
            }
            next.by_name.insert(key, next.views.len());
            next.views.push(view);
        }
        next.builtin = (objects.gateways.is_empty() && !next.views.is_empty()).then_some(0);
        next
    }

    /// The index of a Gateway of ours.
    pub fn find(&self, key: &Key) -> Option<usize> {
        self.by_name.get(key).copied()
    }

    /// The index of the Gateway of ours that a ListenerSet names, and of the set among those of the Gateway.
    pub fn find_set(&self, key: &Key) -> Option<(usize, usize)> {
        self.sets.get(key).copied()
    }

    /// The index of the built-in Gateway, if it serves.
    pub fn builtin(&self) -> Option<usize> {
        self.builtin
    }

    /// A Gateway of ours.
    pub fn view(&self, key: &Key) -> Option<&GatewayView> {
        self.find(key).map(|at| &self.views[at])
    }

    /// A ListenerSet that names one, and that one.
    pub fn set(&self, key: &Key) -> Option<(&GatewayView, &Arc<SetView>)> {
        self.find_set(key).map(|(gateway, at)| (&self.views[gateway], &self.views[gateway].sets[at]))
    }

    /// The sets of all of them.
    pub fn set_keys(&self) -> impl Iterator<Item = &Key> {
        self.sets.keys()
    }

    /// What routes see in another way than they saw these; the place of a Gateway among all is decided by its age.
    pub fn moved(&self, next: &Self) -> Moved {
        let mut moved = Moved::default();
        for key in self.by_name.keys().chain(next.by_name.keys()) {
            let same = self.view(key).zip(next.view(key)).is_some_and(|(old, new)| is_seen_alike(old, new));
            if !same && moved.gateways.insert(key.clone()) {
                let sets = self.view(key).into_iter().chain(next.view(key)).flat_map(|view| &view.sets);
                moved.sets.extend(sets.map(|set| set.set.meta.key()));
            }
        }
        for key in self.sets.keys().chain(next.sets.keys()) {
            let same = self.set(key).zip(next.set(key)).is_some_and(|((was_of, old), (is_of, new))| {
                was_of.gateway.meta.key() == is_of.gateway.meta.key() && (Arc::ptr_eq(old, new) || old.looks_like(new))
            });
            if !same {
                moved.sets.insert(key.clone());
            }
        }
        moved
    }
}

/// Whether a route that names the Gateway sees the same of both.
fn is_seen_alike(old: &GatewayView, new: &GatewayView) -> bool {
    let seen = |view: &GatewayView| (view.gateway.meta.created, view.gateway.default_scope.clone());
    seen(old) == seen(new)
        && old.own.len() == new.own.len()
        && old.own.iter().zip(&new.own).all(|(old, new)| old.looks_like(new))
}

/// The ListenerSets by the Gateway that they name, in the order of precedence: the oldest first, then by namespace and name.
fn sets_by_gateway(objects: &Objects) -> HashMap<Key, Vec<&Arc<ListenerSet>>> {
    let mut sets = HashMap::<_, Vec<&Arc<ListenerSet>>>::new();
    for set in objects.listener_sets.values().filter(|set| set.parent.is_gateway()) {
        sets.entry(set.parent.key(&set.meta.namespace)).or_default().push(set);
    }
    // they come by namespace and name
    sets.values_mut().for_each(|sets| sets.sort_by_key(|set| set.meta.created));
    sets
}

fn set_view(beginning: &Beginning<'_, '_>, lookup: &Lookup<'_>, set: &Arc<ListenerSet>) -> SetView {
    let findings = Vec::from_iter(refusal(lookup, &beginning.gateway, beginning.is_refused(), set));
    let owner = Owner::Set(Arc::clone(set));
    let listeners = if findings.is_empty() { beginning.listeners(&owner) } else { Vec::new() };
    SetView { set: Arc::clone(set), listeners, findings }
}

/// The Gateways that we serve, oldest first.
fn our_gateways<'a>(objects: &'a Objects, settings: &'a Settings) -> Vec<&'a Arc<Gateway>> {
    if objects.gateways.is_empty() {
        return settings.builtin_gateway.iter().collect();
    }
    let is_ours = |gateway: &&Arc<Gateway>| match Objects::get(&objects.gateway_classes, "", &gateway.class) {
        Some(class) => {
            class.controller == settings.controller_name
                && parameters::are_usable(objects, class.parameters.as_ref(), "")
        }
        None => settings.adopt_orphans,
    };
    let mut ours: Vec<&Arc<Gateway>> = objects.gateways.values().filter(is_ours).collect();
    ours.sort_by_key(|gateway| (gateway.meta.created, gateway.meta.key()));
    ours
}

/// Status of a Gateway from its listeners and the numbers of routes attached to them.
pub(crate) fn gateway_status(view: &GatewayView, attached: impl Fn(&ListenerView) -> u32) -> GatewayStatus {
    let generation = view.gateway.meta.generation;
    let listeners: Vec<_> = view.own.iter().map(|listener| listener.status(attached(listener), generation)).collect();
    let is_serving = view.listeners().any(ListenerView::serves);
    let invalid: Vec<&str> =
        view.own
            .iter()
            .filter(|listener| {
                listener.findings.iter().any(|finding| {
                    !matches!(finding.kind, ConditionType::ResolvedRefs | ConditionType::PartiallyInvalid)
                })
            })
            .map(|listener| listener.spec().name.as_str())
            .collect();
    let mut accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &view.findings, generation);
    if accepted.status && !invalid.is_empty() {
        let message = format!("listeners that are not valid: {}; see their conditions", invalid.join(", "));
        accepted = Condition::wrong(ConditionType::Accepted, Reason::ListenersNotValid, message, generation);
        accepted.status = invalid.len() < view.own.len();
    }
    let programmed = if accepted.status && is_serving {
        Condition::fine(ConditionType::Programmed, Reason::Programmed, generation)
    } else {
        let message = "no listener serves; see the conditions of the listeners";
        Condition::wrong(ConditionType::Programmed, Reason::Invalid, message, generation)
    };
    let mut conditions = vec![accepted, programmed];
    if view.gateway.backend_certificate.is_some() {
        conditions.push(Condition::of(ConditionType::ResolvedRefs, Reason::ResolvedRefs, &view.findings, generation));
    }
    conditions.extend(Condition::partially(&view.findings, generation));
    let insecure = Condition::of(
        ConditionType::InsecureFrontendValidationMode,
        Reason::ConfigurationChanged,
        &view.findings,
        generation,
    );
    if !insecure.message.is_empty() {
        conditions.push(insecure);
    }
    if view.gateway.default_scope == DefaultScope::All {
        let mut default = Condition::fine(ConditionType::DefaultGateway, Reason::DefaultGateway, generation);
        default.message = "Gateway has default scope All".to_owned();
        conditions.push(default);
    }
    let attached_sets = view.sets.iter().filter(|set| set.is_attached()).count();
    let may_attach = view.gateway.allowed_listeners.from != From::None;
    let attached_listener_sets = may_attach.then(|| u32::try_from(attached_sets).unwrap_or(u32::MAX));
    GatewayStatus { conditions, listeners, attached_listener_sets }
}
