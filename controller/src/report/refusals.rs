//! What is refused, not ready or not looked at yet, as conditions say it. Never a reason that no object gives.

use super::{Ours, Sight, functions::is_fine, kubernetes};
use crate::sources::cluster::ClusterObject;
use headgate_config::Text;
use headgate_functions::kinds::FUNCTION_GROUP;
use headgate_translate::{
    conditions::ConditionType,
    kinds::{Object, ObjectRef, ParentRef},
    schema::Severity,
};
use serde::Serialize;
use serde_json::Value;

/// Something that is not as an object wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// `Kind namespace/name`.
    pub object: String,
    /// Namespace of the object, empty for kinds that have none.
    pub namespace: String,
    /// By whom or where in it: `Gateway namespace/name`, `listener https`; empty for the object as a whole.
    pub at: String,
    /// The condition, such as `ResolvedRefs`; empty where nothing is said of the object at all.
    pub condition: String,
    /// Its reason.
    pub reason: String,
    /// What is so, and what to do about it.
    pub message: String,
}

/// All of them, in the order of the objects.
pub(super) fn all(sight: &Sight<'_>, ours: &Ours) -> Vec<Refusal> {
    let mut found = Vec::new();
    for object in sight.all().filter(|object| is_asked(sight, object)) {
        let status = object.status.unfold();
        let mut of = Of { object, status: &status, found: &mut found };
        match (&*object.name.group, &*object.name.kind) {
            (FUNCTION_GROUP, "Function") => of.function(),
            (_, "GatewayClass") if ours.is_class(object) => of.whole(""),
            (_, "Gateway") if ours.is_gateway(&object.name.namespace, &object.name.name) => of.gateway(),
            (_, "ListenerSet") => {
                if let Some(Object::ListenerSet(set)) = kubernetes(object)
                    && is_ours(ours, &set.parent, object)
                {
                    of.gateway();
                }
            }
            _ => {
                of.entries("parents", "parentRef", sight.controller_name);
                of.entries("ancestors", "ancestorRef", sight.controller_name);
                of.unseen_parents(ours, sight.controller_name);
            }
        }
        of.unreadable();
    }
    found
}

/// Of a class it is asked wherever one looks.
fn is_asked(sight: &Sight<'_>, object: &ClusterObject) -> bool {
    let namespace = &object.name.namespace;
    namespace.is_empty() || sight.namespace.is_none_or(|asked| asked == namespace)
}

fn is_ours(ours: &Ours, parent: &ParentRef, object: &ClusterObject) -> bool {
    parent.kind == "Gateway"
        && ours.is_gateway(parent.namespace.as_deref().unwrap_or(&object.name.namespace), &parent.name)
}

struct Of<'a> {
    object: &'a ClusterObject,
    status: &'a Value,
    found: &'a mut Vec<Refusal>,
}

impl Of<'_> {
    fn add(&mut self, at: &str, condition: &str, reason: &str, message: &str) {
        self.found.push(Refusal {
            object: self.object.name.to_string(),
            namespace: self.object.name.namespace.to_string(),
            at: at.to_owned(),
            condition: condition.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }

    /// The conditions of the object itself; that there are none is told too.
    fn whole(&mut self, at: &str) {
        let conditions = &self.status["conditions"];
        // the definitions of Gateway API themselves say `Unknown` of a new object
        let is_told = |condition: &Value| {
            ConditionType::parse(text(&condition["type"])).is_some() && condition["status"] != "Unknown"
        };
        if !conditions.as_array().is_some_and(|list| list.iter().any(is_told)) {
            self.unsaid(at);
            return;
        }
        self.conditions(conditions, at);
    }

    /// What its route is refused for is told of the route.
    fn function(&mut self) {
        let serving = &self.status["serving"];
        let (state, reason) = (text(&serving["state"]), text(&serving["reason"]));
        if state.is_empty() {
            self.unsaid("");
        } else if !is_fine(state, reason) {
            self.add("", state, reason, text(&serving["message"]));
        }
    }

    /// Its conditions, and those of its listeners, unless these only repeat that nothing is programmed yet.
    fn gateway(&mut self) {
        let before = self.found.len();
        self.whole("");
        let unprogrammed = self.found[before..].iter().any(|refusal| refusal.condition == "Programmed");
        for listener in self.status["listeners"].as_array().into_iter().flatten() {
            let at = format!("listener {}", text(&listener["name"]));
            let from = self.found.len();
            self.conditions(&listener["conditions"], &at);
            let others = self.found.len() - from > 1;
            let mut index = 0;
            self.found.retain(|refusal| {
                index += 1;
                index <= from || refusal.condition != "Programmed" || !(unprogrammed || others)
            });
        }
    }

    /// Entries of ours in a list of a status.
    fn entries(&mut self, list: &str, reference: &str, controller: &str) {
        let entries = self.status[list].as_array();
        for entry in entries.into_iter().flatten().filter(|entry| entry["controllerName"] == controller) {
            let at = named(&entry[reference], &self.object.name.namespace);
            self.conditions(&entry["conditions"], &at);
        }
    }

    /// A route that names a Gateway of ours of which nobody said anything.
    fn unseen_parents(&mut self, ours: &Ours, controller: &str) {
        let parents = match kubernetes(self.object) {
            Some(Object::HTTPRoute(route)) => &route.parents,
            Some(Object::GRPCRoute(route)) => &route.parents,
            Some(Object::TLSRoute(route) | Object::TCPRoute(route) | Object::UDPRoute(route)) => &route.parents,
            _ => return,
        };
        let object = self.object;
        let said: Vec<String> = self.status["parents"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| entry["controllerName"] == controller)
            .map(|entry| named(&entry["parentRef"], &object.name.namespace))
            .collect();
        for parent in parents.iter().filter(|parent| is_ours(ours, parent, object)) {
            let at = described(parent, &object.name.namespace);
            if !said.contains(&at) {
                self.unsaid(&at);
            }
        }
    }

    fn unsaid(&mut self, at: &str) {
        self.add(at, "", "NotLookedAt", "no controller has said anything of it yet; see whether one leads");
    }

    fn conditions(&mut self, conditions: &Value, at: &str) {
        for condition in conditions.as_array().into_iter().flatten() {
            let kind = text(&condition["type"]);
            let Some(known) = ConditionType::parse(kind) else { continue };
            let wanted = if known.names_fault() { "False" } else { "True" };
            let (status, reason) = (text(&condition["status"]), text(&condition["reason"]));
            // a choice of the person who wrote it, and an older version that serves
            let is_choice = known == ConditionType::InsecureFrontendValidationMode;
            let falls_back = reason == "UnsupportedValue";
            let generation = condition["observedGeneration"].as_i64().unwrap_or(self.object.generation);
            if (status != wanted && !is_choice) || falls_back {
                self.add(at, kind, reason, text(&condition["message"]));
            } else if generation < self.object.generation {
                let message = format!(
                    "said of generation {generation}, and the object is at {}; see whether a controller leads",
                    self.object.generation
                );
                self.add(at, kind, "Outdated", &message);
            }
        }
    }

    /// One that cannot be read, and of which no condition says so.
    fn unreadable(&mut self) {
        let name = self.object.name.to_string();
        let mut errors = self.object.problems.iter().filter(|problem| problem.severity == Severity::Error);
        if let Some(first) = errors.next()
            && !self.found.iter().any(|refusal| refusal.object == name && refusal.reason == "UnsupportedValue")
        {
            self.add("", "", "Unreadable", &first.to_string());
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A reference of a status: `Gateway namespace/name`, with its listener.
fn named(reference: &Value, namespace: &str) -> String {
    let or = |key: &str, default: &str| reference[key].as_str().unwrap_or(default).to_owned();
    let parent = ParentRef {
        kind: or("kind", "Gateway").into(),
        namespace: Some(or("namespace", namespace).into()),
        name: or("name", "").into(),
        section: reference["sectionName"].as_str().map(Text::from),
        port: reference["port"].as_u64().and_then(|port| u16::try_from(port).ok()),
        ..ParentRef::default()
    };
    described(&parent, namespace)
}

fn described(parent: &ParentRef, namespace: &str) -> String {
    let namespace = parent.namespace.as_deref().unwrap_or(namespace);
    let object = ObjectRef::new("", &parent.kind, namespace, &parent.name);
    let section = parent.section.as_ref().map(|section| format!(", listener {section}")).unwrap_or_default();
    let port = parent.port.map(|port| format!(", port {port}")).unwrap_or_default();
    format!("{object}{section}{port}")
}
