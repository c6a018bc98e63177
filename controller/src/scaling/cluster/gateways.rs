//! What every gateway Pod counts, and which of them are heard. A Pod that runs and is not heard is taken for one that sends.

use super::Counts;
use headgate_config::{Demand, GatewayName};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How long the last counts of a gateway that is not heard stand.
pub const DEMAND_TTL: Duration = Duration::from_secs(10);
/// How long another controller may take to tell its gateways what stands in a Pod's annotation. A gateway that follows another
/// controller acknowledges nothing here; what it counts after this time does.
pub const SETTLE: Duration = Duration::from_secs(1);

/// A Pod of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Of which.
    pub gateway: GatewayName,
    /// Its name; a Pod made anew has another.
    pub pod: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (Pod {})", self.gateway, self.pod)
    }
}

/// All gateway Pods.
#[derive(Debug, Default)]
pub(super) struct Gateways(BTreeMap<Member, Heard>);

#[derive(Debug)]
struct Heard {
    /// A watch shows it.
    runs: bool,
    connected: bool,
    /// When something came of it last, or since when it is expected.
    at: Instant,
    /// It counted on the stream that is open.
    has_counted: bool,
    /// Nothing came of it for too long.
    is_silent: bool,
    /// That was said.
    is_told: bool,
    counts: BTreeMap<String, Counted>,
    /// When it counted all targets last.
    whole: Stamp,
    /// By target: the newest version that it applied.
    applied: BTreeMap<String, (u64, Stamp)>,
    /// Messages of it so far.
    messages: u64,
}

/// When a message came, and after which others: what was counted before a list was applied says nothing of that list.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    at: Instant,
    message: u64,
}

#[derive(Debug)]
struct Counted {
    stamp: Stamp,
    demand: Demand,
}

impl Heard {
    fn new(now: Instant) -> Self {
        Self {
            runs: false,
            connected: false,
            at: now,
            has_counted: false,
            is_silent: false,
            is_told: false,
            counts: BTreeMap::new(),
            whole: Stamp { at: now, message: 0 },
            applied: BTreeMap::new(),
            messages: 0,
        }
    }

    fn stamp(&mut self, now: Instant) -> Stamp {
        self.messages += 1;
        self.at = now;
        Stamp { at: now, message: self.messages }
    }

    fn is_heard(&self) -> bool {
        self.connected && self.has_counted && !self.is_silent
    }
}

/// What a closing Pod waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving<'a> {
    pub target: &'a str,
    pub ip: Option<IpAddr>,
    /// The version of the first state that does not list it.
    pub version: u64,
    /// When its annotation was seen.
    pub marked_at: Option<Instant>,
    /// Its time to drain is over.
    pub is_overdue: bool,
}

impl Gateways {
    pub fn run(&mut self, now: Instant, running: BTreeSet<Member>) {
        for (member, heard) in &mut self.0 {
            heard.runs = running.contains(member);
        }
        for member in running {
            self.0.entry(member).or_insert_with(|| Heard::new(now)).runs = true;
        }
        // one that a watch has not shown yet keeps its counts until they are too old
        self.0.retain(|_, heard| heard.runs || heard.connected || heard.at + DEMAND_TTL > now);
    }

    pub fn connect(&mut self, now: Instant, member: Member) {
        let heard = self.0.entry(member).or_insert_with(|| Heard::new(now));
        (heard.connected, heard.has_counted, heard.at) = (true, false, now);
        heard.applied.clear();
    }

    pub fn disconnect(&mut self, now: Instant, member: &Member) {
        if let Some(heard) = self.0.get_mut(member) {
            (heard.connected, heard.has_counted, heard.at) = (false, false, now);
        }
    }

    /// Notes what a Pod counts, and gives the targets that it is about with the requests that came since.
    pub fn count(&mut self, now: Instant, member: &Member, demand: Vec<Demand>, whole: bool) -> BTreeMap<String, u64> {
        let heard = self.0.entry(member.clone()).or_insert_with(|| Heard::new(now));
        let is_news = !heard.is_heard();
        let stamp = heard.stamp(now);
        (heard.connected, heard.has_counted) = (true, true);
        let mut touched: BTreeMap<String, u64> = BTreeMap::new();
        if whole {
            heard.whole = stamp;
            let named: BTreeSet<&String> = demand.iter().map(|one| &one.target).collect();
            for (target, counted) in heard.counts.iter_mut().filter(|(target, _)| !named.contains(target)) {
                let arrivals = counted.demand.arrivals;
                *counted = Counted { stamp, demand: Demand { arrivals, ..Demand::default() } };
                touched.insert(target.clone(), 0);
            }
        }
        if is_news {
            touched.extend(heard.counts.keys().map(|target| (target.clone(), 0)));
        }
        for one in demand {
            let before = heard.counts.get(&one.target).map_or(0, |counted| counted.demand.arrivals);
            // a gateway that began anew counts from 0
            let arrivals = one.arrivals.checked_sub(before).unwrap_or(one.arrivals);
            touched.insert(one.target.clone(), arrivals);
            heard.counts.insert(one.target.clone(), Counted { stamp, demand: one });
        }
        touched
    }

    pub fn applied(&mut self, now: Instant, member: &Member, target: &str, version: u64) {
        if let Some(heard) = self.0.get_mut(member) {
            let stamp = heard.stamp(now);
            heard.applied.insert(target.to_owned(), (version, stamp));
        }
    }

    /// Whether some Pods have just been silent for too long.
    pub fn fall_silent(&mut self, now: Instant) -> bool {
        self.0.retain(|_, heard| heard.runs || heard.connected || heard.at + DEMAND_TTL > now);
        let over = self.0.iter_mut().filter(|(_, heard)| !heard.is_silent && heard.at + DEMAND_TTL <= now);
        over.map(|(_, heard)| heard.is_silent = true).count() > 0
    }

    /// The silent Pods of which that was not said yet; from now on it was.
    pub fn tell_silent(&mut self) -> Vec<Member> {
        let untold = self.0.iter_mut().filter(|(_, heard)| heard.is_silent && !heard.is_told);
        untold
            .map(|(member, heard)| {
                heard.is_told = true;
                member.clone()
            })
            .collect()
    }

    /// Whether a Pod that was silent has spoken, and whether its silence was told.
    pub fn unsilence(&mut self, member: &Member) -> (bool, bool) {
        let Some(heard) = self.0.get_mut(member) else { return (false, false) };
        (std::mem::take(&mut heard.is_silent), std::mem::take(&mut heard.is_told))
    }

    /// When a Pod will have been silent for too long.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.values().filter(|heard| !heard.is_silent).map(|heard| heard.at + DEMAND_TTL).min()
    }

    /// Whether there are silent Pods of which that was not said.
    pub fn has_untold(&self) -> bool {
        self.0.values().any(|heard| heard.is_silent && !heard.is_told)
    }

    /// What the Pods that are heard count for a target.
    fn heard(&self, target: &str) -> impl Iterator<Item = &Demand> {
        let counted = self.0.values().filter(|heard| heard.is_heard()).filter_map(|heard| heard.counts.get(target));
        counted.map(|counted| &counted.demand)
    }

    /// Whether requests wait for a target at a Pod that is heard: what one counted that has gone elsewhere is no reason to start anything.
    pub fn waits(&self, target: &str) -> bool {
        self.heard(target).any(|demand| demand.leased || demand.in_flight + demand.queued > 0)
    }

    /// What all Pods count for a target, those included that are not heard for less than their time.
    pub fn counts(&self, now: Instant, target: &str) -> Counts {
        let fresh = self.0.values().filter(|heard| heard.is_heard() || heard.at + DEMAND_TTL > now);
        let mut sum = Counts::default();
        for demand in fresh.filter_map(|heard| heard.counts.get(target)).map(|counted| &counted.demand) {
            let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let owed = u64::from(demand.leased && demand.in_flight + demand.queued == 0);
            sum.in_flight = sum.in_flight.saturating_add(number(demand.in_flight));
            sum.queued = sum.queued.saturating_add(number(demand.queued + owed));
        }
        sum
    }

    /// Whether a gateway has found a Pod ready.
    pub fn finds_ready(&self, target: &str, ip: IpAddr) -> bool {
        self.heard(target).flat_map(|demand| &demand.endpoints).any(|one| one.address.ip() == ip && one.ready)
    }

    /// Requests in flight on a Pod.
    pub fn in_flight(&self, target: &str, ip: IpAddr) -> u64 {
        let counted = self.0.values().filter_map(|heard| heard.counts.get(target));
        let there = counted.flat_map(|counted| &counted.demand.endpoints).filter(|one| one.address.ip() == ip);
        there.map(|one| one.in_flight).sum()
    }

    /// The Gateways of which a Pod lists endpoints of a target.
    pub fn users<'s>(&'s self, target: &'s str) -> impl Iterator<Item = &'s GatewayName> {
        let lists =
            move |heard: &Heard| heard.counts.get(target).is_some_and(|counted| !counted.demand.endpoints.is_empty());
        self.0.iter().filter(move |(_, heard)| lists(heard)).map(|(member, _)| &member.gateway)
    }

    /// Whether every Pod of these Gateways is heard: without that nothing is stopped.
    pub fn are_heard(&self, of: &BTreeSet<GatewayName>) -> bool {
        self.0.iter().all(|(member, heard)| !of.contains(&member.gateway) || heard.is_heard())
    }

    /// Whether no Pod of these Gateways lists anything of a target or waits for it.
    pub fn list_nothing(&self, target: &str, of: &BTreeSet<GatewayName>) -> bool {
        let empty = |demand: &Demand| demand.endpoints.is_empty() && demand.in_flight == 0;
        let mut all = self.0.iter().filter(|(member, _)| of.contains(&member.gateway));
        all.all(|(_, heard)| heard.counts.get(target).is_none_or(|counted| empty(&counted.demand)))
    }

    /// Whether every Pod of these Gateways has left a Pod of a target: it sends nothing there any more, and nothing is in flight.
    pub fn have_left(&self, leaving: &Leaving<'_>, of: &BTreeSet<GatewayName>) -> bool {
        self.0.iter().all(|(member, heard)| !of.contains(&member.gateway) || heard.has_left(leaving))
    }
}

impl Heard {
    fn has_left(&self, leaving: &Leaving<'_>) -> bool {
        if !self.is_heard() {
            return false;
        }
        let counted = self.counts.get(leaving.target);
        let stamp = counted.map_or(self.whole, |counted| counted.stamp);
        let applied = self.applied.get(leaving.target);
        let applied =
            applied.is_some_and(|(version, applied)| *version >= leaving.version && applied.message < stamp.message);
        let settled = leaving.marked_at.is_some_and(|marked_at| marked_at + SETTLE <= stamp.at);
        if !applied && !settled {
            return false;
        }
        let endpoints = counted.into_iter().flat_map(|counted| &counted.demand.endpoints);
        let mut there = endpoints.filter(|one| Some(one.address.ip()) == leaving.ip);
        // what is still in flight there may end with it once its time is over
        there.all(|count| leaving.is_overdue && count.in_flight > 0)
    }
}
