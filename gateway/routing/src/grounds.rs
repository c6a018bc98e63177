//! On which listeners and hosts a rule stands, and why it stands nowhere where it does not. Pure; knows no other rule.

use crate::{Problem, listeners::Listeners, texts};
use foldhash::fast::RandomState;
use headgate_config::{ByName, Host, HostPattern, Listener, ListenerName, Rule, RuleName};
use imbl::OrdMap;
use std::{collections::HashSet, sync::Arc};

/// The listeners of one version, by name and as they serve.
#[derive(Clone, Copy)]
pub(crate) struct Grounds<'t> {
    pub(crate) by_name: &'t OrdMap<ByName<Listener>, Arc<Listener>>,
    pub(crate) serving: &'t Listeners,
}

/// A host of an attachment of a rule, where a listener serves it.
pub(crate) struct Place<'r> {
    /// What the listener is known by, and the kind of host: what the index keeps apart.
    pub(crate) owner: u32,
    pub(crate) host: &'r Host,
    /// Whether the host is all that listener and route both match.
    pub(crate) is_wide: bool,
}

impl Place<'_> {
    /// By which the index finds it.
    pub(crate) fn hash(&self, hasher: &RandomState) -> u64 {
        texts::hash(hasher, self.owner, self.text())
    }

    /// The text of the host as the route declares it.
    pub(crate) fn text(&self) -> &[u8] {
        match &self.host.declared {
            HostPattern::Any => b"",
            HostPattern::Exact(name) => name.as_str().as_bytes(),
            HostPattern::Wildcard(suffix) => suffix.as_str().as_bytes(),
        }
    }
}

/// A kind of host under a listener that is known by `tag`.
pub(crate) mod owner {
    use headgate_config::HostPattern;

    /// The kinds.
    const KINDS: u32 = 3;
    /// No tag is greater.
    pub(crate) const TAG_MAX: u32 = u32::MAX / KINDS - 1;

    pub(crate) fn of(tag: u32, declared: &HostPattern) -> u32 {
        match declared {
            HostPattern::Exact(_) => exact(tag),
            HostPattern::Wildcard(_) => wildcard(tag),
            HostPattern::Any => any(tag),
        }
    }

    pub(crate) const fn exact(tag: u32) -> u32 {
        KINDS * tag
    }

    pub(crate) const fn wildcard(tag: u32) -> u32 {
        KINDS * tag + 1
    }

    pub(crate) const fn any(tag: u32) -> u32 {
        KINDS * tag + 2
    }
}

impl<'t> Grounds<'t> {
    /// The number of the listener that serves what is attached to this name.
    pub(crate) fn number(&self, name: &ListenerName) -> Option<u32> {
        self.serving.serving(self.by_name.get(name)?)
    }

    /// That listener, and what the index knows it by.
    fn find(&self, name: &ListenerName) -> Option<(u32, &'t Arc<Listener>)> {
        let number = self.number(name)?;
        Some((self.serving.tag(number), self.serving.get(number)))
    }

    /// Where a rule stands.
    pub(crate) fn places<'r>(&self, rule: &'r Rule) -> impl Iterator<Item = Place<'r>> + use<'r, 't> {
        let grounds = *self;
        rule.attachments
            .iter()
            .filter_map(move |attachment| {
                let (tag, listener) = grounds.find(&attachment.listener)?;
                let fits = listener.protocol.is_http() == rule.name.kind.is_http();
                let place = move |host: &'r Host| Place {
                    owner: owner::of(tag, &host.declared),
                    host,
                    is_wide: listener.hostname.intersect(&host.declared).as_ref() == Some(&host.pattern),
                };
                fits.then(|| attachment.hosts.iter().map(place))
            })
            .flatten()
    }

    /// How many matches it has where it stands.
    pub(crate) fn count(&self, rule: &Rule) -> usize {
        self.places(rule).count() * rule.matches.len()
    }

    /// Why it does not stand where it says.
    pub(crate) fn problems(&self, rule: &Rule) -> Vec<Problem> {
        let problem = |name: &ListenerName| match self.find(name) {
            None => Some(unknown(&rule.name, name)),
            Some((_, known)) if known.protocol.is_http() != rule.name.kind.is_http() => Some(unfit(&rule.name, known)),
            Some(_) => None,
        };
        rule.attachments.iter().filter_map(|attachment| problem(&attachment.listener)).collect()
    }

    /// The listeners that are not what they were to the rules that name them.
    pub(crate) fn moved_from(&self, before: &Grounds<'t>) -> HashSet<&'t ListenerName> {
        let seen = |grounds: &Grounds<'t>, name| {
            grounds.find(name).map(|(tag, known)| (tag, known.protocol.is_http(), &known.hostname))
        };
        let names = before.by_name.values().map(|listener| &listener.name);
        names.filter(|name| seen(before, name) != seen(self, name)).collect()
    }
}

fn unfit(rule: &RuleName, listener: &Listener) -> Problem {
    let (kind, protocol) = (rule.kind.as_str(), listener.protocol.as_str());
    Problem {
        rule: Some(rule.clone()),
        listener: Some(listener.name.clone()),
        field: "spec.parentRefs".to_owned(),
        message: format!("a {kind} cannot serve what listener {} speaks, {protocol}: name another", listener.name),
    }
}

fn unknown(rule: &RuleName, listener: &ListenerName) -> Problem {
    Problem {
        rule: Some(rule.clone()),
        listener: Some(listener.clone()),
        field: "spec.parentRefs".to_owned(),
        message: format!("no listener {listener} serves: name one that exists and has no conflict"),
    }
}
