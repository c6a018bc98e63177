//! Gathers what `status` prints: objects, the Lease, and what controllers say of themselves. Never a judgement of its own but what is missing.

use crate::{
    health::{self, Health},
    reach::{AdminPod, Reach, ground},
};
use headgate_cluster::{kinds::Kind, look::Looked, pods::Unsaid};
use headgate_controller::{
    cluster::Ground,
    report::{Report, Sight},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// How it stands.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The controllers.
    pub controllers: Vec<Controller>,
    #[serde(flatten)]
    pub report: Report,
    /// What is wrong beyond objects.
    pub problems: Vec<String>,
    /// What could not be read, so that nothing is known of it.
    pub unknown: Vec<String>,
    /// What else could not be asked: less is known than could be.
    pub notes: Vec<String>,
}

/// A controller.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    /// Namespace of its Pod.
    pub namespace: String,
    /// Name of its Pod.
    pub name: String,
    /// Whether the Pod is ready.
    pub ready: bool,
    /// Whether it leads, by the Lease.
    pub leads: bool,
    /// Its version; its image where it could not be asked.
    pub version: String,
    /// What it says of itself; nothing where it could not be asked.
    pub health: Option<Health>,
}

impl Status {
    /// Whether all that is known is well.
    pub fn is_fine(&self) -> bool {
        self.problems.is_empty() && self.report.is_fine()
    }
}

/// Kinds of which something is told.
fn is_told_of(kind: &Kind) -> bool {
    (kind.is_told && !kind.is_asked_for) || matches!(kind.kind, "Deployment" | "Pod")
}

/// Looks at the cluster.
pub async fn gather(reach: &Reach, namespace: Option<&str>) -> Status {
    let mut status = Status::default();
    let pods = reach.controllers().await.unwrap_or_else(|why| {
        status.notes.push(format!("controllers cannot be looked for: {why}"));
        Vec::new()
    });
    let (looked, ground) = (reach.look(namespace, is_told_of).await, ground(&pods));
    let sight = sight(&looked, &ground, namespace);
    status.report = Report::of(&sight);
    status.unknown = unread(&looked);
    status.ask_controllers(reach, &pods).await;
    status.judge(sight.controller_name);
    status.tell_versions();
    status
}

/// What a look showed, as `Report` takes it.
pub fn sight<'a>(looked: &'a Looked, ground: &'a Ground, namespace: Option<&'a str>) -> Sight<'a> {
    Sight {
        objects: &looked.objects,
        controller_name: &ground.settings.controller_name,
        usual_class: ground.functions.as_ref().map_or("", |functions| &functions.class),
        namespace,
    }
}

/// One line for all kinds that this person may not list, and one for each that failed otherwise.
pub fn unread(looked: &Looked) -> Vec<String> {
    let (forbidden, failed): (Vec<_>, Vec<_>) = looked.unread.iter().partition(|unread| unread.is_forbidden);
    let mut lines: Vec<String> = Vec::new();
    if !forbidden.is_empty() {
        let kinds: Vec<String> = forbidden.iter().map(|unread| unread.resource()).collect();
        lines.push(format!("not allowed to list {}; docs/cluster.md has the rights of an operator", kinds.join(", ")));
    }
    lines.extend(failed.iter().map(|unread| format!("{} cannot be listed: {}", unread.resource(), unread.why)));
    lines
}

impl Status {
    async fn ask_controllers(&mut self, reach: &Reach, pods: &[AdminPod]) {
        let mut leaders = BTreeMap::new();
        for pod in pods {
            if !leaders.contains_key(&pod.namespace) {
                let leader = reach.leader(&pod.namespace).await;
                leaders.insert(pod.namespace.clone(), leader);
            }
        }
        for (namespace, leader) in &leaders {
            match leader {
                Ok(Some(_)) => {}
                Ok(None) => self.problems.push(format!("no controller leads in {namespace}: statuses are not written")),
                Err(why) => self.notes.push(format!("who leads in {namespace} cannot be read: {why}")),
            }
        }
        let ready: Vec<AdminPod> = pods.iter().filter(|pod| pod.ready).cloned().collect();
        let mut asked = ready.iter().zip(reach.ask_each::<Health>(&ready, health::PAGE).await).collect::<Vec<_>>();
        for pod in pods {
            let at = asked.iter().position(|(ready, _)| *ready == pod);
            let health = match at.map(|at| asked.swap_remove(at).1) {
                Some(Ok(health)) => Some(health),
                Some(Err(why)) => {
                    self.note(match why {
                        Unsaid::Forbidden(why) => format!("controllers cannot be asked: {why}"),
                        Unsaid::Unreachable(why) => format!("controller {} cannot be asked: {why}", pod.name),
                    });
                    None
                }
                None => None,
            };
            let leads = matches!(leaders.get(&pod.namespace), Some(Ok(Some(leader))) if *leader == pod.name);
            let version = health.as_ref().map_or_else(|| pod.image.clone(), |health| health.program.clone());
            let (namespace, name, ready) = (pod.namespace.clone(), pod.name.clone(), pod.ready);
            self.controllers.push(Controller { namespace, name, ready, leads, version, health });
        }
    }

    /// Once, however often it is so.
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// What is missing, and what controllers complain of.
    fn judge(&mut self, controller_name: &str) {
        let can_tell = |part: &str, list: &[String]| !list.iter().any(|line| line.contains(part));
        if self.report.classes.is_empty() && can_tell("gatewayclasses", &self.unknown) {
            self.problems.push(format!(
                "no GatewayClass has the controllerName {controller_name}: is Headgate installed, or under another name?"
            ));
        }
        if !self.controllers.iter().any(|controller| controller.ready)
            && can_tell("controllers cannot be looked for", &self.notes)
        {
            self.problems.push("no controller is ready: nothing that changes is served; see their Pods".into());
        }
        for controller in self.controllers.iter().filter(|controller| !controller.ready) {
            self.problems.push(format!("controller {} is not ready; see its log", controller.name));
        }
        let complaints: Vec<String> = self.controllers.iter().flat_map(complaints).collect();
        self.problems.extend(complaints);
    }

    /// Into the Pods of Gateways: what the controllers say that they serve.
    fn tell_versions(&mut self) {
        let mut told: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for follow in self.controllers.iter().filter_map(|one| one.health.as_ref()).flat_map(|health| &health.gateways)
        {
            for (pod, version) in &follow.pods {
                told.insert((follow.gateway.clone(), pod.clone()), (*version, follow.version));
            }
        }
        for gateway in &mut self.report.gateways {
            let name = format!("{}/{}", gateway.namespace, gateway.name);
            for pod in &mut gateway.pods {
                if let Some((version, newest)) = told.get(&(name.clone(), pod.name.clone())) {
                    (pod.version, pod.newest) = (Some(*version), Some(*newest));
                }
            }
        }
    }
}

fn complaints(controller: &Controller) -> Vec<String> {
    let Some(health) = &controller.health else { return Vec::new() };
    let failing = health.watches.iter().filter(|watch| watch.state == "failing");
    let watches = failing.map(|watch| {
        let since = watch.failing_seconds.unwrap_or_default();
        format!("controller {} cannot watch {} since {since} s: {}", controller.name, watch.kind, watch.why)
    });
    let unwritten = health.unwritten.iter().map(|one| format!("{} cannot be written: {}", one.object, one.why));
    watches.chain(unwritten).collect()
}
