//! What `plan` decides, step by step as a person would tell it, and what always holds on seeded random walks.

use headgate_functions::{
    Exit, OLD_KEPT, Observed, Plan, Revision, Seen, State, Step, Template,
    kinds::{Decoded, Function, Object, decode},
    plan,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn function(spec: Value) -> Function {
    let value = json!({
        "apiVersion": "core.openfunction.io/v1beta2",
        "kind": "Function",
        "metadata": {"name": "hello", "namespace": "shop"},
        "spec": spec,
    });
    match decode(&value) {
        Ok(Decoded::Known(Object::Function(function), _)) => *function,
        other => panic!("{other:?}"),
    }
}

/// Version `v1` runs image `v1`, and so on.
fn version(version: &str) -> Function {
    function(json!({"version": version, "image": version, "serving": {}}))
}

/// A function, its records and the clock.
struct Story {
    revisions: Vec<Revision>,
    observed: Observed,
    now_ms: u64,
}

impl Story {
    fn new() -> Self {
        Self { revisions: Vec::new(), observed: Observed::default(), now_ms: 1_000_000 }
    }

    fn plan(&mut self, function: &Function) -> Plan {
        let plan = plan(function, &self.revisions, &self.observed, self.now_ms);
        self.revisions.clone_from(&plan.revisions);
        plan
    }

    fn later(&mut self, ms: u64) -> &mut Self {
        self.now_ms += ms;
        self
    }

    fn see(&mut self, revision: &str, seen: Seen) -> &mut Self {
        self.observed.0.insert(revision.to_owned(), seen);
        self
    }

    /// The revision of a version.
    fn named(&self, version: &str) -> String {
        let found = self.revisions.iter().find(|revision| revision.template.version == version);
        found.unwrap_or_else(|| panic!("no revision of {version}")).name.clone()
    }

    /// Makes a version live: it is started, becomes ready, and is planned once more.
    fn live(&mut self, v: &str) -> Plan {
        self.plan(&version(v));
        let name = self.named(v);
        self.see(&name, ready());
        self.plan(&version(v));
        self.later(1);
        self.plan(&version(v))
    }
}

fn ready() -> Seen {
    Seen { running: 1, ready: 1, ..Seen::default() }
}

fn failed(times: u32, at_ms: u64) -> Seen {
    let exit = Exit { at_ms, reason: "exit status 1: no such module".into() };
    Seen { failed_starts: times, last_exit: Some(exit), ..Seen::default() }
}

fn waiting(seen: Seen) -> Seen {
    Seen { queued: 1, ..seen }
}

#[test]
fn the_first_revision_serves_at_once_and_starts_on_demand_only() {
    let mut story = Story::new();
    let plan = story.plan(&version("v1"));
    let name = story.named("v1");
    assert_eq!(plan.created, std::slice::from_ref(&name));
    assert_eq!(plan.weights, [(name.clone(), 100)]);
    assert_eq!((plan.targets[&name].state, plan.targets[&name].replicas.min), (State::Cold, 0));
    assert_eq!(plan.targets[&name].replicas.max, 10);
    assert_eq!(plan.status.state, "Running");
    assert_eq!(plan.aliases["hello"], [(name.clone(), 100)]);
    assert_eq!(plan.aliases["hello-v1"], [(name.clone(), 100)]);

    story.see(&name, waiting(Seen::default()));
    let plan = story.plan(&version("v1"));
    assert_eq!((plan.targets[&name].state, plan.targets[&name].replicas.min), (State::Waking, 1));
    story.see(&name, waiting(ready()));
    assert_eq!(story.plan(&version("v1")).targets[&name].state, State::Warm);
    assert!(story.revisions[0].proven);
}

#[test]
fn min_replicas_start_without_demand() {
    let kept = function(json!({"image": "x", "serving": {"scaleOptions": {"minReplicas": 2, "maxReplicas": 3}}}));
    let mut story = Story::new();
    let plan = story.plan(&kept);
    let target = plan.targets.values().next().expect("one");
    assert_eq!((target.state, target.replicas.min, target.replicas.max), (State::Waking, 2, 3));
    let name = story.revisions[0].name.clone();
    story.see(&name, ready());
    story.plan(&kept);
    let plan = story.later(10_000_000).plan(&kept);
    assert_eq!(plan.targets[&name].state, State::Warm, "never idle");
}

#[test]
fn an_edit_is_proved_first_then_cut_over_and_the_old_one_drains_and_closes() {
    let mut story = Story::new();
    story.live("v1");
    let old = story.named("v1");
    story.see(&old, Seen { in_flight: 3, ..ready() });
    let plan = story.plan(&version("v2"));
    let new = story.named("v2");
    assert_eq!(plan.weights, [(old.clone(), 100)], "nothing goes to what is not proven");
    assert_eq!((plan.targets[&new].state, plan.targets[&new].replicas.min), (State::Proving, 1));
    assert_eq!(plan.targets[&new].replicas.max, 1);
    assert_eq!((plan.status.state.as_str(), plan.status.proving.as_deref()), ("Starting", Some(new.as_str())));
    assert_eq!(plan.aliases["hello"], [(old.clone(), 100)]);

    story.see(&new, ready());
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.weights, [(new.clone(), 100)]);
    assert!(plan.steps.contains(&Step::CutOver { from: Some(old.clone()), to: new.clone(), rollback: false }));
    assert_eq!(plan.targets[&old].state, State::Warm, "it still works on three requests");

    story.see(&old, ready());
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.targets[&old].state, State::Idle);
    story.now_ms = plan.next_deadline_ms.expect("the end of idling");
    let plan = story.plan(&version("v2"));
    assert_eq!((plan.targets[&old].state, plan.targets[&old].replicas.max), (State::Closing { stopping: false }, 1));

    story.see(&old, Seen { closing_acknowledged: true, in_flight: 1, ..ready() });
    assert_eq!(story.plan(&version("v2")).targets[&old].replicas.max, 1, "one request is in flight");
    story.see(&old, Seen { closing_acknowledged: true, ..ready() });
    assert_eq!(story.plan(&version("v2")).targets[&old].replicas.max, 0);
    story.see(&old, Seen::default());
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.targets[&old].state, State::Cold);
    assert_eq!(plan.aliases["hello-v1"], [(old, 100)], "a route may still lead to it");
}

#[test]
fn a_request_reopens_what_closes_unless_the_stop_was_ordered() {
    let closing = |acknowledged| {
        let mut story = Story::new();
        story.live("v1");
        let name = story.named("v1");
        let plan = story.later(60_000).plan(&version("v1"));
        assert_eq!(plan.targets[&name].state, State::Closing { stopping: false });
        story.see(&name, Seen { closing_acknowledged: acknowledged, ..ready() });
        story.plan(&version("v1"));
        story.see(&name, Seen { closing_acknowledged: acknowledged, ..waiting(ready()) });
        let state = story.plan(&version("v1")).targets[&name].state;
        (story, name, state)
    };
    assert_eq!(closing(false).2, State::Warm);
    let (mut story, name, state) = closing(true);
    assert_eq!(state, State::Closing { stopping: true });
    story.see(&name, waiting(Seen::default()));
    assert_eq!(story.plan(&version("v1")).targets[&name].state, State::Waking);
}

#[test]
fn a_failed_proof_leaves_the_old_one_serving_and_says_why() {
    let mut story = Story::new();
    story.live("v1");
    let old = story.named("v1");
    story.plan(&version("v2"));
    let new = story.named("v2");
    let now_ms = story.now_ms;
    story.see(&new, failed(3, now_ms));
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.weights, [(old.clone(), 100)]);
    assert_eq!((plan.targets[&new].state, plan.targets[&new].replicas.max), (State::Broken, 0));
    assert_eq!((plan.status.state.as_str(), plan.status.reason.as_str()), ("Failed", "ProofFailed"));
    for part in [new.as_str(), old.as_str(), "3 times", "exit status 1: no such module"] {
        assert!(plan.status.message.contains(part), "{}", plan.status.message);
    }
    assert_eq!(plan.next_deadline_ms, Some(now_ms + 1_000));
    story.later(1_000);
    assert_eq!(story.plan(&version("v2")).targets[&new].state, State::Proving, "it tries again");

    story.plan(&version("v1"));
    let plan = story.plan(&version("v1"));
    assert_eq!(plan.status.state, "Running");
    assert!(story.revisions.iter().all(|revision| revision.name != new), "what was never proven is not kept");
}

#[test]
fn callers_of_a_crashing_function_are_answered_after_the_third_exit_and_it_is_tried_again_on_demand() {
    let mut story = Story::new();
    story.plan(&version("v1"));
    let name = story.named("v1");
    let now_ms = story.now_ms;
    for times in [1, 2] {
        story.see(&name, waiting(failed(times, now_ms)));
        let plan = story.plan(&version("v1"));
        assert_eq!(plan.targets[&name].state, State::Waking, "callers wait");
        assert!(plan.targets[&name].start_not_before_ms > now_ms, "but not without a pause");
    }
    story.see(&name, failed(3, now_ms));
    let plan = story.plan(&version("v1"));
    let activation = json!(plan.targets[&name].activation);
    assert_eq!(activation, json!({"broken": {"reason": "exit status 1: no such module"}}));
    assert_eq!(plan.status.reason, "StartFailed");
    let after = plan.next_deadline_ms.expect("the next try");
    assert_eq!(after, now_ms + 1_000);
    story.now_ms = after;
    assert_eq!(story.plan(&version("v1")).targets[&name].state, State::Cold, "nobody asks");
    story.see(&name, waiting(failed(3, now_ms)));
    assert_eq!(story.plan(&version("v1")).targets[&name].state, State::Waking);
    let now_ms = story.now_ms;
    story.see(&name, failed(9, now_ms));
    assert_eq!(story.plan(&version("v1")).next_deadline_ms, Some(now_ms + 30_000), "the pause has a limit");
    story.see(&name, ready());
    assert_eq!(story.plan(&version("v1")).status.state, "Running", "a mended file works");
}

#[test]
fn nothing_is_protected_before_something_was_proven() {
    let mut story = Story::new();
    story.plan(&version("v1"));
    let now_ms = story.now_ms;
    let broken = story.named("v1");
    story.see(&broken, failed(3, now_ms));
    story.plan(&version("v1"));
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.weights, [(story.named("v2"), 100)], "the mended one serves at once");
    assert_eq!(plan.removed, [broken]);
}

#[test]
fn the_old_template_again_is_the_same_revision_and_serves_at_once() {
    let mut story = Story::new();
    story.live("v1");
    let first = story.named("v1");
    story.live("v2");
    story.see(&first, Seen::default());
    story.plan(&version("v2"));
    let plan = story.plan(&version("v1"));
    assert_eq!(plan.created, Vec::<String>::new());
    assert_eq!(plan.weights, [(first.clone(), 100)]);
    assert_eq!(plan.targets[&first].state, State::Cold, "no start is needed first");
    let from = Some(story.named("v2"));
    assert!(plan.steps.contains(&Step::CutOver { from, to: first, rollback: true }), "{:?}", plan.steps);
}

#[test]
fn three_old_revisions_are_kept_at_zero() {
    let mut story = Story::new();
    for v in ["v1", "v2", "v3", "v4", "v5", "v6"] {
        story.live(v);
        for old in story.revisions.clone() {
            if old.template.version != v {
                story.see(&old.name, Seen::default());
            }
        }
        story.plan(&version(v));
    }
    let kept: Vec<&str> = story.revisions.iter().map(|revision| revision.template.version.as_str()).collect();
    assert_eq!(kept, ["v3", "v4", "v5", "v6"]);
}

#[test]
fn what_is_dropped_drains_before_it_is_gone() {
    let mut story = Story::new();
    for v in ["v1", "v2", "v3", "v4"] {
        story.live(v);
    }
    let first = story.named("v1");
    story.see(&first, Seen { in_flight: 1, ..ready() });
    let plan = story.live("v5");
    assert_eq!(plan.targets[&first].state, State::Closing { stopping: false });
    assert!(plan.removed.is_empty() && !plan.aliases.contains_key("hello-v1"));
    story.see(&first, Seen { closing_acknowledged: true, ..ready() });
    assert_eq!(story.plan(&version("v5")).targets[&first].replicas.max, 0);
    story.see(&first, Seen::default());
    assert_eq!(story.plan(&version("v5")).removed, [first]);
}

#[test]
fn routes_scale_and_settings_are_no_part_of_a_revision() {
    let base = json!({"version": "v1", "image": "x", "serving": {"params": {"A": "1"}}});
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = base.clone();
        change(&mut spec);
        Template::of(&function(spec))
    };
    let template = Template::of(&function(base.clone()));
    let same: &[&dyn Fn(&mut Value)] = &[
        &|spec| spec["serving"]["triggers"] = json!({"http": {"route": {"hostnames": ["a.ofn.io"]}}}),
        &|spec| spec["serving"]["triggers"] = json!({"http": {"port": 8080, "engine": "keda"}}),
        &|spec| spec["serving"]["scaleOptions"] = json!({"minReplicas": 1, "maxReplicas": 3}),
        &|spec| spec["serving"]["annotations"] = json!({"autoscaling.knative.dev/window": "10s"}),
        &|spec| {
            spec["serving"]["template"] =
                json!({"containers": [{"name": "function", "imagePullPolicy": "IfNotPresent"}]})
        },
        &|spec| spec["serving"]["template"] = json!({"restartPolicy": "Always", "nodeSelector": {}}),
    ];
    for change in same {
        assert_eq!(with(*change), template);
    }
    let other: &[&dyn Fn(&mut Value)] = &[
        &|spec| spec["version"] = json!("v2"),
        &|spec| spec["image"] = json!("y"),
        &|spec| spec["serving"]["params"]["A"] = json!("2"),
        &|spec| spec["serving"]["triggers"] = json!({"http": {"port": 9000}}),
        &|spec| spec["serving"]["annotations"] = json!({"autoscaling.knative.dev/container-concurrency": "1"}),
        &|spec| spec["serving"]["annotations"] = json!({"dapr.io/app-protocol": "http"}),
        &|spec| spec["serving"]["outputs"] = json!([{"dapr": {"name": "out", "type": "bindings.mqtt"}}]),
        &|spec| spec["serving"]["template"] = json!({"containers": [{"name": "function", "command": ["node"]}]}),
        &|spec| {
            spec["serving"]["template"] =
                json!({"containers": [{"name": "function", "resources": {"limits": {"cpu": "1"}}}]})
        },
    ];
    for change in other {
        assert_ne!(with(*change), template);
    }
}

#[test]
fn records_survive_as_json() {
    let mut story = Story::new();
    story.live("v1");
    story.plan(&version("v2"));
    let text = serde_json::to_string(&story.revisions).expect("text keys");
    let read: Vec<Revision> = serde_json::from_str(&text).expect("what was written");
    assert_eq!(read, story.revisions);
    story.observed = Observed::default();
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.weights, [(story.named("v1"), 100)], "after a restart the proven one serves");
    assert!(plan.created.is_empty());
}

#[test]
fn functions_without_http_run_nothing() {
    let mut story = Story::new();
    story.live("v1");
    let name = story.named("v1");
    let asynchronous =
        function(json!({"image": "x", "serving": {"triggers": {"dapr": [{"name": "cron", "type": "bindings.cron"}]}}}));
    let plan = story.plan(&asynchronous);
    assert!(plan.weights.is_empty() && plan.aliases.is_empty());
    assert_eq!(plan.targets[&name].state, State::Closing { stopping: false }, "what ran drains");
    assert_eq!((plan.status.state.as_str(), plan.status.reason.as_str()), ("Skipped", "AsyncOnly"));
    let built = function(json!({"image": "x", "build": {"builder": "b", "srcRepo": {"url": "u"}}}));
    assert_eq!(story.plan(&built).status.reason, "BuildOnly");
}

#[test]
fn a_function_that_is_gone_drains_and_stops() {
    let mut story = Story::new();
    story.live("v1");
    let name = story.named("v1");
    story.see(&name, Seen { in_flight: 1, ..ready() });
    let mut last = |seen: Seen| {
        story.see(&name, seen);
        let plan = headgate_functions::retire("hello", &story.revisions, &story.observed, story.now_ms);
        story.revisions.clone_from(&plan.revisions);
        (plan.targets.get(&name).map(|target| target.replicas.max), plan.weights.len(), plan.removed.len())
    };
    assert_eq!(last(Seen { in_flight: 1, ..ready() }), (Some(1), 0, 0), "it works on a request");
    assert_eq!(last(Seen { closing_acknowledged: true, ..ready() }), (Some(0), 0, 0));
    assert_eq!(last(Seen::default()), (None, 0, 1));
}

#[test]
fn a_function_that_was_not_called_by_http_meanwhile_starts_anew() {
    let asynchronous = function(json!({"image": "x", "serving": {"triggers": {"dapr": [{"name": "cron"}]}}}));
    let mut story = Story::new();
    story.live("v1");
    story.plan(&asynchronous);
    let plan = story.plan(&version("v2"));
    assert_eq!(plan.weights, [(story.named("v2"), 100)], "what drains gets nothing");
    let plan = story.plan(&version("v1"));
    assert_eq!(plan.weights, [(story.named("v1"), 100)]);
}

#[test]
fn names_are_short_stable_and_fit_a_service() {
    let template = Template::of(&version("v1")).expect("called by HTTP");
    let name = headgate_functions::revision_name("hello", &template, &[]);
    assert_eq!(name, headgate_functions::revision_name("hello", &template, &[]));
    let other = headgate_functions::revision_name("hello", &template, &[&name]);
    assert_ne!(name, other, "a name that is taken is not used again");
    let long = headgate_functions::revision_name(&"f".repeat(63), &template, &[]);
    assert_eq!(long.len(), 63);
    for name in [name, other, long] {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
    }
    let alias = headgate_functions::version_alias;
    assert_eq!(alias("hello", "v1.0.0").as_deref(), Some("hello-v1-0-0"));
    assert_eq!(alias("hello", "V2").as_deref(), Some("hello-v2"));
    assert_eq!(alias("hello", "..."), None);
}

/// A machine that does what plans say, with crashes and callers by dice.
struct World<'a> {
    versions: &'a [Function],
    dice: fastrand::Rng,
    story: Story,
    /// Images that crash at start.
    bad: Vec<String>,
    wanted: Function,
    names: BTreeMap<String, String>,
}

impl<'a> World<'a> {
    /// Seven templates, each with three hostnames.
    fn versions() -> Vec<Function> {
        let each = |n: usize| {
            let (v, host) = (format!("v{}", n / 3), format!("h{}.ofn.io", n % 3));
            function(json!({
                "version": v, "image": v,
                "serving": {"triggers": {"http": {"route": {"hostnames": [host]}}}},
            }))
        };
        (0..21).map(each).collect()
    }

    fn new(seed: u64, versions: &'a [Function]) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let bad = (0..7).filter(|_| dice.u8(..4) == 0).map(|n| format!("v{n}")).collect();
        Self { versions, dice, story: Story::new(), bad, wanted: versions[0].clone(), names: BTreeMap::new() }
    }

    fn turn(&mut self) {
        match self.dice.u8(..12) {
            0 => self.edit(),
            1 => self.story.now_ms += self.dice.u64(..90_000),
            2 => self.story.now_ms += 200,
            3..=5 => self.call(),
            6 => self.finish_calls(),
            _ => self.act(),
        }
        self.plan();
    }

    fn edit(&mut self) {
        self.wanted = self.dice.choice(self.versions).expect("some").clone();
    }

    /// A request comes for what the route leads to, now and then for an old revision.
    fn call(&mut self) {
        let live: Vec<String> = self.story.revisions.iter().filter(|r| !r.dropped).map(|r| r.name.clone()).collect();
        let serving =
            self.story.revisions.iter().find(|revision| revision.serving).map(|revision| revision.name.clone());
        let name = if self.dice.u8(..5) == 0 { self.dice.choice(live) } else { serving };
        if let Some(name) = name {
            self.story.observed.0.entry(name).or_default().queued += 1;
        }
    }

    fn finish_calls(&mut self) {
        for seen in self.story.observed.0.values_mut() {
            seen.in_flight = self.dice.u32(..=seen.in_flight);
        }
    }

    /// Runtimes and gateways do what the last plan said.
    fn act(&mut self) {
        let plan = plan(&self.wanted, &self.story.revisions, &self.story.observed, self.story.now_ms);
        for (name, target) in &plan.targets {
            let seen = self.story.observed.0.entry(name.clone()).or_default();
            let template = &plan.revisions.iter().find(|revision| revision.name == *name).expect("a record").template;
            let may_start = self.story.now_ms >= target.start_not_before_ms;
            if seen.running > target.replicas.max {
                assert!(seen.in_flight == 0, "{name} is stopped with {} in flight", seen.in_flight);
                *seen = Seen { queued: seen.queued, ..Seen::default() };
            } else if seen.running < target.replicas.min && may_start {
                seen.running += 1;
            } else if seen.ready < seen.running && self.bad.contains(&template.image) {
                seen.running -= 1;
                seen.failed_starts += 1;
                seen.last_exit = Some(Exit { at_ms: self.story.now_ms, reason: "exit status 1".into() });
            } else if seen.ready < seen.running {
                seen.ready += 1;
                seen.failed_starts = 0;
            }
            match target.state {
                State::Closing { .. } => seen.closing_acknowledged |= self.dice.bool(),
                State::Broken => seen.queued = 0,
                _ => seen.closing_acknowledged = false,
            }
            if seen.ready > 0 && !matches!(target.state, State::Closing { .. }) {
                seen.in_flight += std::mem::take(&mut seen.queued);
            }
        }
    }

    fn plan(&mut self) -> Plan {
        let before = self.story.revisions.clone();
        let plan = self.story.plan(&self.wanted);
        // an acknowledgement is of one closing
        for (name, seen) in &mut self.story.observed.0 {
            let closing = plan.targets.get(name).is_some_and(|target| matches!(target.state, State::Closing { .. }));
            let was_closing = before.iter().any(|r| r.name == *name && matches!(r.state, State::Closing { .. }));
            seen.closing_acknowledged &= closing && was_closing;
        }
        self.check(&before, &plan);
        self.story.observed.0.retain(|name, _| plan.revisions.iter().any(|revision| revision.name == *name));
        plan
    }

    fn check(&mut self, before: &[Revision], plan: &Plan) {
        let record = |name: &str| plan.revisions.iter().find(|revision| revision.name == name);
        assert_eq!(plan.weights.iter().map(|(_, weight)| weight).sum::<u32>(), 100, "the weights are whole");
        for (name, _) in &plan.weights {
            let weighted = record(name).expect("a weighted revision has a record");
            let none_proven = plan.revisions.iter().all(|revision| !revision.proven || revision.dropped);
            assert!(weighted.proven || none_proven, "{name} has weight and is not proven");
            assert!(!weighted.dropped);
        }
        let template = Template::of(&self.wanted).expect("called by HTTP");
        let old = |r: &&Revision| !r.dropped && !r.serving && r.template != template;
        assert!(plan.revisions.iter().filter(old).count() <= OLD_KEPT, "at most {OLD_KEPT} old ones");
        for revision in &plan.revisions {
            let known = self.names.entry(revision.template.version.clone()).or_insert_with(|| revision.name.clone());
            assert_eq!(*known, revision.name, "a template has one name for ever");
        }
        for name in &plan.removed {
            assert_eq!(self.story.observed.0.get(name).map_or(0, |seen| seen.running), 0, "{name} is gone and runs");
        }
        for was in before.iter().filter(|was| was.state == State::Closing { stopping: true }) {
            let runs = self.story.observed.0.get(&was.name).is_some_and(|seen| seen.running > 0);
            let now = record(&was.name).map(|revision| revision.state);
            assert!(!runs || now == Some(was.state), "{} came back from an ordered stop: {now:?}", was.name);
        }
        if let Some(deadline) = plan.next_deadline_ms {
            assert!(deadline > self.story.now_ms, "a deadline that has passed was not acted upon");
        }
        let again = headgate_functions::plan(&self.wanted, &plan.revisions, &self.story.observed, self.story.now_ms);
        assert!(again.created.is_empty() && again.removed.is_empty());
        assert_eq!(again.weights, plan.weights, "nothing changes where nothing happened");
        assert_eq!(again.revisions, plan.revisions, "nothing changes where nothing happened");
    }

    /// With nobody calling and everybody doing his part, everything comes to rest.
    fn rest(&mut self) {
        for seen in self.story.observed.0.values_mut() {
            seen.queued = 0;
            seen.in_flight = 0;
        }
        for _ in 0..400 {
            self.act();
            let plan = self.plan();
            if plan.revisions.iter().all(|revision| revision.state == State::Cold) {
                return;
            }
            self.story.now_ms = plan.next_deadline_ms.unwrap_or(self.story.now_ms + 50);
        }
        let busy: Vec<_> = self.story.revisions.iter().filter(|r| r.state != State::Cold).collect();
        let bad = self.bad.contains(&self.wanted.image);
        assert!(busy.is_empty() || bad, "{:?}", busy.iter().map(|r| (&r.name, r.state)).collect::<Vec<_>>());
    }
}

#[test]
fn random_walks_keep_what_always_holds() {
    let versions = World::versions();
    for seed in 0..400 {
        let walk = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, &versions);
            world.plan();
            (0..80).for_each(|_| world.turn());
            world.rest();
        });
        assert!(walk.is_ok(), "seed {seed}");
    }
}
