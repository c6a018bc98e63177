//! Which Ingresses are ours, on which Gateway each is served, and what is told of those that are not served as written. Never a route that `derive` did not make.

use super::{Derivation, IngressRoute, Scheme, derive, listeners::covers};
use crate::{
    INGRESS_CONTROLLER_NAME, Key, Objects, Settings,
    kinds::{Ingress, IngressTls, ObjectMeta, Protocol},
    schema::{FieldPath, Problem},
};
use imbl::OrdMap;
use std::{collections::BTreeMap, sync::Arc};

/// The class that is ours in a directory, where nobody writes an IngressClass.
const OUR_CLASS: &str = "headgate";

/// What becomes of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedIngress {
    /// Its metadata, without labels and annotations.
    pub meta: ObjectMeta,
    /// Its routes; none of one that is not ours.
    pub routes: Vec<IngressRoute>,
    /// The Gateway that serves it, all of ours where none is named.
    pub gateway: Option<Key>,
    /// What is wrong with it, wherever it is served.
    pub problems: Vec<Problem>,
    tls: Vec<IngressTls>,
}

/// What becomes of all Ingresses; as it was `before` where nothing that decides it has changed.
pub fn serve(objects: &Objects, before: &Objects, settings: &Settings) -> OrdMap<Key, Arc<ServedIngress>> {
    let is_same = objects.ingresses.ptr_eq(&before.ingresses)
        && objects.ingress_classes.ptr_eq(&before.ingress_classes)
        // the numbers of named ports, and what ports speak
        && (objects.services.ptr_eq(&before.services) || objects.ingresses.is_empty());
    if is_same {
        return before.served_ingresses.clone();
    }
    let mut served = before.served_ingresses.clone();
    let made = all(objects, settings);
    let gone: Vec<Key> = served.keys().filter(|key| !made.contains_key(*key)).cloned().collect();
    gone.iter().for_each(|key| drop(served.remove(key)));
    for (key, one) in made {
        if served.get(&key).is_none_or(|known| **known != one) {
            served.insert(key, Arc::new(one));
        }
    }
    served
}

fn all(objects: &Objects, settings: &Settings) -> BTreeMap<Key, ServedIngress> {
    let mut made = BTreeMap::new();
    for (key, ingress) in &objects.ingresses {
        let owner = owner(ingress, objects, settings);
        let (gateway, problem) = match owner {
            Owner::Ours(gateway) => (gateway, None),
            Owner::Others(None) => continue,
            Owner::Others(problem) => (None, problem),
        };
        let served = ServedIngress {
            meta: ObjectMeta { generation: ingress.meta.generation, ..ingress.meta.clone() }.slim(),
            routes: Vec::new(),
            gateway,
            problems: problem.into_iter().collect(),
            tls: ingress.tls.clone(),
        };
        made.insert(key.clone(), served);
    }
    let is_ours = |ingress: &Ingress| matches!(owner(ingress, objects, settings), Owner::Ours(_));
    let Derivation { routes, problems } = derive(objects, is_ours);
    for route in routes {
        if let Some(served) = made.get_mut(&route.ingress) {
            served.routes.push(route);
        }
    }
    for told in problems {
        if let Some(served) = made.get_mut(&(told.object.namespace, told.object.name)) {
            served.problems.push(told.problem);
        }
    }
    made
}

/// Who serves an Ingress.
enum Owner {
    /// We do, on this Gateway, or on all.
    Ours(Option<Key>),
    /// Somebody else, or nobody, which is told.
    Others(Option<Problem>),
}

/// In a cluster an IngressClass of ours says on which Gateway: an Ingress that comes out on every Gateway would come out on those that
/// are meant for others. A directory is one machine of one person, who need not write a class.
fn owner(ingress: &Ingress, objects: &Objects, settings: &Settings) -> Owner {
    let at = FieldPath::of("spec.ingressClassName");
    let Some(name) = &ingress.class else {
        return if settings.adopt_orphans { Owner::Ours(None) } else { Owner::Others(None) };
    };
    match Objects::get(&objects.ingress_classes, "", name) {
        Some(class) if class.controller != INGRESS_CONTROLLER_NAME => {
            let message = format!("class {name} is of {}, so this is not served", class.controller);
            Owner::Others(settings.adopt_orphans.then(|| not_ours(at, message)))
        }
        Some(class) if class.gateway.is_none() && !settings.adopt_orphans => {
            let message = format!("IngressClass {name} names no Gateway in its parameters, so this is not served");
            let remedy = "write parameters: with apiGroup, kind Gateway, scope Namespace, namespace and name";
            Owner::Others(Some(Problem::warning(at, message, remedy)))
        }
        Some(class) => Owner::Ours(class.gateway.clone()),
        None if settings.adopt_orphans && name.as_str() == OUR_CLASS => Owner::Ours(None),
        None => {
            let message = format!("class {name} is not ours, so this is not served");
            Owner::Others(settings.adopt_orphans.then(|| not_ours(at, message)))
        }
    }
}

fn not_ours(at: FieldPath, message: String) -> Problem {
    Problem::warning(at, message, "leave it out or write headgate; `headgate migrate` prints it as Gateway API")
}

impl ServedIngress {
    /// What is wrong with where a route of it is served: nowhere, or a host of `tls` without TLS. `protocols` are those of its listeners.
    pub fn served_badly<'p>(
        &self,
        part: &IngressRoute,
        protocols: impl Iterator<Item = &'p Protocol>,
        refused: Option<&str>,
    ) -> Option<Problem> {
        let (mut any, mut secure) = (false, false);
        for protocol in protocols {
            (any, secure) = (true, secure || *protocol == Protocol::Https);
        }
        let host = part.route.hostnames.first().map(String::as_str);
        let wants_tls = part.scheme != Scheme::Http && self.tls.iter().any(|tls| covers(tls, host));
        if wants_tls && !secure {
            let message =
                format!("no listener with TLS takes {}: it is not served with TLS", host.unwrap_or("any host"));
            let remedy = "write a Gateway with a listener of protocol HTTPS for it; `headgate migrate` prints one";
            return Some(Problem::warning(FieldPath::of("spec.tls"), message, remedy));
        }
        if any || part.scheme == Scheme::Http {
            return None;
        }
        let message = match (&self.gateway, refused) {
            (_, Some(why)) => format!("is served nowhere: {why}"),
            (Some((namespace, name)), None) => format!("is served nowhere: Gateway {namespace}/{name} is none of ours"),
            (None, None) => "is served nowhere: there is no Gateway".to_owned(),
        };
        Some(Problem::warning(
            FieldPath::of("spec"),
            message,
            "look at the listeners of the Gateway and their allowedRoutes",
        ))
    }
}
