//! The Gateways that we serve: their listeners, what routes see of them, and their status. Knows nothing of rules.

use crate::{
    Key, Objects, Settings,
    conditions::{Condition, ConditionType, GatewayStatus, Reason},
    conflicts::find_conflicts,
    kinds::{AllowedRoutes, DefaultScope, From, Gateway, RouteGroupKind},
    listeners::{GatewayView, ListenerView, listeners},
    lookup::Lookup,
    parameters,
};
use headgate_config::{HostPattern, ListenerName};
use std::collections::BTreeMap;

/// Our Gateways, oldest first.
pub(crate) struct Gateways<'a> {
    pub views: Vec<GatewayView<'a>>,
    by_name: BTreeMap<Key, usize>,
    /// By ListenerSet: its Gateway, and its index among the sets of that.
    sets: BTreeMap<Key, (usize, usize)>,
    builtin: Option<usize>,
}

impl<'a> Gateways<'a> {
    /// Finds them, and which of their listeners serve.
    pub fn new(lookup: &Lookup<'a>, settings: &'a Settings) -> Self {
        let gateways = our_gateways(lookup.objects, settings);
        let mut views: Vec<GatewayView<'a>> = gateways.into_iter().map(|gateway| listeners(lookup, gateway)).collect();
        find_conflicts(&mut views, settings.shared_ports);
        let by_name = views.iter().enumerate().map(|(index, view)| (view.gateway.meta.key(), index)).collect();
        let sets = views.iter().enumerate().flat_map(|(gateway, view)| {
            view.sets.iter().enumerate().map(move |(index, set)| (set.set.meta.key(), (gateway, index)))
        });
        let sets = sets.collect();
        let builtin = (lookup.objects.gateways.is_empty() && !views.is_empty()).then_some(0);
        Self { views, by_name, sets, builtin }
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

    /// What routes see of each.
    pub fn seen(&self) -> BTreeMap<Key, Seen> {
        self.views.iter().map(|view| (view.gateway.meta.key(), Seen::of(view))).collect()
    }
}

/// All of a Gateway that decides what becomes of a route that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Decides its place among Gateways.
    created: i64,
    default_scope: DefaultScope,
    listeners: Vec<SeenListener>,
    /// The sets that name it, and whether each may attach.
    sets: Vec<(Key, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SeenListener {
    name: ListenerName,
    port: u16,
    allowed: AllowedRoutes,
    hostname: HostPattern,
    kinds: Vec<RouteGroupKind>,
    serves: bool,
}

impl Seen {
    fn of(view: &GatewayView<'_>) -> Self {
        let listener = |listener: &ListenerView<'_>| SeenListener {
            name: listener.name.clone(),
            port: listener.spec.port,
            allowed: listener.spec.allowed_routes.clone(),
            hostname: listener.hostname.clone(),
            kinds: listener.supported_kinds.clone(),
            serves: listener.serves(),
        };
        Self {
            created: view.gateway.meta.created,
            default_scope: view.gateway.default_scope.clone(),
            listeners: view.listeners.iter().map(listener).collect(),
            sets: view.sets.iter().map(|set| (set.set.meta.key(), set.findings.is_empty())).collect(),
        }
    }

    /// The ListenerSets that name the Gateway.
    pub fn sets(&self) -> impl Iterator<Item = &Key> {
        self.sets.iter().map(|(key, _)| key)
    }
}

/// The Gateways that we serve, oldest first.
fn our_gateways<'a>(objects: &'a Objects, settings: &'a Settings) -> Vec<&'a Gateway> {
    if objects.gateways.is_empty() {
        return settings.builtin_gateway.iter().collect();
    }
    let is_ours = |gateway: &&Gateway| match Objects::get(&objects.gateway_classes, "", &gateway.class) {
        Some(class) => {
            class.controller == settings.controller_name
                && parameters::are_usable(objects, class.parameters.as_ref(), "")
        }
        None => settings.adopt_orphans,
    };
    let mut ours: Vec<&Gateway> = objects.gateways.values().map(AsRef::as_ref).filter(is_ours).collect();
    ours.sort_by_key(|gateway| (gateway.meta.created, gateway.meta.key()));
    ours
}

/// Status of a Gateway from its listeners and the numbers of routes attached to them.
pub(crate) fn gateway_status(view: &GatewayView<'_>, attached: &[u32]) -> GatewayStatus {
    let generation = view.gateway.meta.generation;
    let listeners: Vec<_> =
        view.own().iter().zip(attached).map(|(listener, routes)| listener.status(*routes, generation)).collect();
    let serving = view.listeners.iter().filter(|listener| listener.serves()).count();
    let invalid: Vec<&str> =
        view.own()
            .iter()
            .filter(|listener| {
                listener.findings.iter().any(|finding| {
                    !matches!(finding.kind, ConditionType::ResolvedRefs | ConditionType::PartiallyInvalid)
                })
            })
            .map(|listener| listener.spec.name.as_str())
            .collect();
    let mut accepted = Condition::of(ConditionType::Accepted, Reason::Accepted, &view.findings, generation);
    if accepted.status && !invalid.is_empty() {
        let message = format!("listeners that are not valid: {}; see their conditions", invalid.join(", "));
        accepted = Condition::wrong(ConditionType::Accepted, Reason::ListenersNotValid, message, generation);
        accepted.status = invalid.len() < view.own().len();
    }
    let programmed = if accepted.status && serving > 0 {
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
    let attached_sets = view.sets.iter().filter(|set| set.is_attached(view)).count();
    let may_attach = view.gateway.allowed_listeners.from != From::None;
    let attached_listener_sets = may_attach.then(|| u32::try_from(attached_sets).unwrap_or(u32::MAX));
    GatewayStatus { conditions, listeners, attached_listener_sets }
}
