//! What a Pod says of itself, as far as scaling and status need it. Read from JSON, whole or not; never judged by its age: there is no clock here.

use serde_json::Value;
use std::net::IpAddr;

/// The annotation of a Pod that is about to be stopped: every gateway leaves it before the number of replicas is lowered.
pub const CLOSING_ANNOTATION: &str = "headgate.dev/closing";

/// A Pod as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its address, once it has one.
    pub ip: Option<IpAddr>,
    /// The kubelet says that it is ready.
    pub ready: bool,
    /// It was deleted, or has run to its end: nothing new goes there.
    pub terminating: bool,
    /// It carries [`CLOSING_ANNOTATION`].
    pub closing: bool,
    /// How often a container of it ended without being asked to.
    pub exits: u32,
    /// Why the last one ended.
    pub last_exit: Option<String>,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
}

/// What keeps a Pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Kubernetes' own word: `ImagePullBackOff`, `Unschedulable`.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// It does not run as it is written: whoever waits is told at once. Otherwise it may yet come by itself.
    pub is_fatal: bool,
}

impl Trouble {
    /// Reason and message in one line.
    pub fn line(&self) -> String {
        if self.message.is_empty() { self.reason.clone() } else { format!("{}: {}", self.reason, self.message) }
    }
}

/// Reasons for waiting with which a container does not start as it is written.
const FATAL: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];
/// A message of a registry or a program may be long; what people read is not.
const MESSAGE_CHARS_MAX: usize = 300;

impl PodSeen {
    /// What a Pod says; `None` for a value without a name.
    pub fn of(pod: &Value) -> Option<Self> {
        let name = pod["metadata"]["name"].as_str()?.to_owned();
        let status = &pod["status"];
        let ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        let containers = || list(status, "initContainerStatuses").chain(list(status, "containerStatuses"));
        Some(Self {
            name,
            ip: status["podIP"].as_str().and_then(|text| text.parse().ok()),
            ready: condition(status, "Ready").is_some_and(|ready| ready["status"] == "True"),
            terminating: ended || !pod["metadata"]["deletionTimestamp"].is_null(),
            closing: !pod["metadata"]["annotations"][CLOSING_ANNOTATION].is_null(),
            exits: containers().map(exits).sum(),
            last_exit: containers().filter_map(last_exit).last(),
            trouble: containers().find_map(trouble).or_else(|| unschedulable(status)),
        })
    }

    /// Whether it can get requests, now or soon.
    pub fn is_live(&self) -> bool {
        !self.terminating
    }
}

fn list<'a>(status: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    status[key].as_array().into_iter().flatten()
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    list(status, "conditions").find(|condition| condition["type"] == kind)
}

/// Restarts, and the end that no restart has followed yet. An init container that ended well has done its work.
fn exits(container: &Value) -> u32 {
    let restarts = container["restartCount"].as_u64().unwrap_or(0);
    let state = &container["state"];
    let ended = &state["terminated"];
    let lies = state["waiting"]["reason"] == "CrashLoopBackOff" || (!ended.is_null() && ended["exitCode"] != 0);
    u32::try_from(restarts).unwrap_or(u32::MAX).saturating_add(u32::from(lies))
}

fn last_exit(container: &Value) -> Option<String> {
    let ended = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
    let ended = ended.into_iter().find(|ended| !ended.is_null() && ended["exitCode"] != 0)?;
    let how = match (ended["signal"].as_i64().filter(|signal| *signal != 0), ended["reason"].as_str()) {
        (_, Some("OOMKilled")) => "was killed for using more memory than its limit".to_owned(),
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, _) => format!("exited with code {}", ended["exitCode"]),
    };
    // the last line of the log, where the container asks for it by terminationMessagePolicy
    let words = ended["message"].as_str().and_then(|text| text.trim().lines().last()).map(short);
    Some(match words {
        Some(words) if !words.is_empty() => format!("{how}: {words}"),
        _ => how,
    })
}

fn trouble(container: &Value) -> Option<Trouble> {
    let waiting = &container["state"]["waiting"];
    let reason = waiting["reason"].as_str().filter(|reason| FATAL.contains(reason))?;
    let message = short(waiting["message"].as_str().unwrap_or_default());
    let message = match container["image"].as_str() {
        Some(image) if reason.contains("Image") && !message.contains(image) => {
            format!("{image}: {message}").trim_end_matches(": ").to_owned()
        }
        _ => message,
    };
    Some(Trouble { reason: reason.to_owned(), message, is_fatal: true })
}

fn unschedulable(status: &Value) -> Option<Trouble> {
    let scheduled = condition(status, "PodScheduled").filter(|condition| condition["status"] == "False")?;
    let reason = scheduled["reason"].as_str().filter(|reason| *reason == "Unschedulable")?;
    let message = short(scheduled["message"].as_str().unwrap_or_default());
    Some(Trouble { reason: reason.to_owned(), message, is_fatal: false })
}

/// One line, not too long.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> PodSeen {
        PodSeen::of(&json!({"metadata": {"name": "hello-x"}, "status": status})).expect("it has a name")
    }

    fn waiting(reason: &str, restarts: u32) -> Value {
        json!({"containerStatuses": [{"name": "function", "image": "x:1", "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": "no\nsuch thing"}},
            "lastState": {"terminated": {"exitCode": 3, "message": "log\nError: no module\n"}}}]})
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_named() {
        for reason in FATAL {
            let trouble = pod(waiting(reason, 0)).trouble.expect(reason);
            assert!(trouble.is_fatal && trouble.line().starts_with(reason), "{trouble:?}");
            assert!(trouble.message.ends_with("no such thing"), "one line: {trouble:?}");
            assert_eq!(trouble.message.starts_with("x:1: "), reason.contains("Image"), "{trouble:?}");
        }
        let text = "0/1 nodes are available: 1 Insufficient memory.";
        let pending = pod(json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": text}]}));
        let trouble = pending.trouble.expect("it is not scheduled");
        assert!(!trouble.is_fatal, "a node may yet come");
        assert_eq!(trouble.line(), format!("Unschedulable: {text}"));
        assert_eq!(pod(waiting("ContainerCreating", 0)).trouble, None, "every Pod goes through this");
    }

    #[test]
    fn exits_are_counted_with_the_one_that_waits_for_its_restart() {
        let running = json!({"containerStatuses": [{"restartCount": 1, "state": {"running": {}}}]});
        assert_eq!(pod(running).exits, 1);
        let seen = pod(waiting("CrashLoopBackOff", 1));
        assert_eq!((seen.exits, seen.last_exit.as_deref()), (2, Some("exited with code 3: Error: no module")));
        assert_eq!(seen.trouble, None, "it is the exits that count");
        let init = json!({"initContainerStatuses": [{"restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]});
        assert_eq!(pod(init).exits, 0);
        let killed = json!({"containerStatuses": [{"restartCount": 0, "state": {"terminated": {"exitCode": 137,
            "reason": "OOMKilled", "signal": 9}}}]});
        assert!(pod(killed).last_exit.is_some_and(|exit| exit.contains("more memory")));
    }

    #[test]
    fn ready_ending_and_closing_are_read() {
        let seen = PodSeen::of(&json!({
            "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {CLOSING_ANNOTATION: "true"}},
            "status": {"podIP": "10.244.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .expect("it has a name");
        assert_eq!((seen.ip, seen.ready), ("10.244.0.7".parse().ok(), true));
        assert!(seen.terminating && seen.closing && !seen.is_live());
        assert!(pod(json!({"phase": "Failed"})).terminating, "evicted");
        assert_eq!(PodSeen::of(&json!({"kind": "Pod"})), None);
    }
}
