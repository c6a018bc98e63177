//! One conversation of a gateway with its controller, to its end. Never lets a controller that is slow or gone hold up what serves.

use crate::{
    connect::{Open, choose},
    counting::Counting,
    follow::{Following, Serve},
    hear::Heard,
    held::{Backends, Held, Whole},
    pace::Pace,
    store::Store,
    wire::{self, Down, DownSay, Up, UpSay},
};
use headgate_config::{Demand, Endpoints};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tonic::Code;

/// Changes of this long are kept with one write.
const SAVE: Duration = Duration::from_millis(500);
/// Writing takes at most one part of so many of the time.
const SAVE_SHARE: u32 = 20;

/// A gateway: what it holds, and where that goes.
pub struct Follower<'s, S> {
    serve: &'s S,
    held: Held,
    store: Option<Store>,
    /// When what changed is to be kept.
    save_at: Option<Instant>,
    /// How long the last write took.
    saving: Duration,
}

/// Why a conversation is over.
pub enum Ended {
    /// There is a stream to a controller that leads.
    Better(Box<Open>),
    /// For people.
    Because(String),
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

/// A search for a better controller, beside the conversation.
type Looking<'f> = Pin<Box<dyn Future<Output = Result<Open, String>> + Send + 'f>>;

/// One stream: what is said on it, and when what is due.
struct Line {
    up: mpsc::Sender<Up>,
    pace: Pace,
    leading: bool,
    heard: Instant,
    beat: Instant,
    lookup: Instant,
    counting: Counting,
}

impl<'s, S: Serve> Follower<'s, S> {
    /// One that serves what is stored, if there is something.
    pub async fn restored(serve: &'s S, store: Option<Store>) -> Self {
        let mut follower = Self { serve, held: Held::default(), store, save_at: None, saving: Duration::ZERO };
        let loaded = match &follower.store {
            Some(store) => store.load().await,
            None => None,
        };
        if let Some((held, whole)) = loaded {
            let rules = whole.snapshot.rules.len();
            tracing::info!(rules, "serving the routes of the last run until a controller is there");
            let before = follower.held.backends();
            follower.held = held;
            follower.tell_endpoints(&before);
            serve.restore(whole.snapshot).await;
            follower.tell_endpoints(&before);
        }
        follower
    }

    /// Follows one controller until its stream ends or there is a better one.
    pub async fn converse(&mut self, open: Open, following: &Following) -> Ended {
        let Open { up, mut down, hello, place } = open;
        let wire::DownHello { controller, program, leading, .. } = hello;
        tracing::info!(controller, program, leading, %place, "following");
        self.held.begin();
        let mut line = Line::new(up, following.pace, leading);
        if let Err(why) = line.say(UpSay::Holding(self.held.holding())).await {
            return why.into();
        }
        let mut looking: Option<Looking<'_>> = None;
        loop {
            if looking.is_none() && line.is_lookup_due(Instant::now()) {
                looking = Some(Box::pin(choose(following, Some(&place))));
            }
            let wake = self.save_at.map_or(line.wake(looking.is_some()), |at| at.min(line.wake(looking.is_some())));
            tokio::select! {
                message = down.message() => match message {
                    Ok(Some(Down { say })) => {
                        if let Err(why) = self.hear(say, &mut line).await {
                            return why.into();
                        }
                    }
                    Ok(None) => return "the controller ended it".to_owned().into(),
                    Err(status) => {
                        if status.code() == Code::NotFound {
                            self.serve.orphaned();
                        }
                        return format!("{}: {}", status.code(), status.message()).into();
                    }
                },
                found = found(&mut looking) => {
                    looking = None;
                    line.lookup = Instant::now() + line.pace.lookup;
                    if let Ok(better) = found {
                        return Ended::Better(Box::new(better));
                    }
                }
                () = self.serve.stirred() => line.counting.stir(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            if let Err(why) = self.tick(&mut line).await {
                return why.into();
            }
        }
    }

    /// Does what is due.
    async fn tick(&mut self, line: &mut Line) -> Result<(), String> {
        let now = Instant::now();
        if now >= line.heard + line.pace.silence {
            return Err(format!("the controller was silent for {} s", line.pace.silence.as_secs_f32()));
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.keep().await;
        }
        if now >= line.counting.due() {
            self.count(line, now)?;
        }
        if now >= line.beat {
            line.beat = now + line.pace.beat;
            line.say(UpSay::Beat(wire::Beat {})).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, say: Option<DownSay>, line: &mut Line) -> Result<(), String> {
        line.heard = Instant::now();
        match self.held.hear(say)? {
            Heard::Nothing => {}
            Heard::Version { number, before, whole } => {
                let problems = self.take(number, &before, whole).await;
                // what came meanwhile has waited for us
                line.heard = Instant::now();
                line.say(UpSay::Ack(wire::Ack { version: number, problems })).await?;
            }
            Heard::Endpoints { sequence, taken, problems } => {
                self.take_endpoints(&taken, &problems);
                line.say(UpSay::EndpointsAck(wire::EndpointsAck { sequence })).await?;
            }
            Heard::Role(leading) => line.take_role(leading),
        }
        Ok(())
    }

    /// Tells the endpoints of backends that were not named `before`. Once before their routes are live, so that no port opens to a
    /// backend without any: one that is named again may be forgotten by now, and its endpoints are not told by themselves. And once
    /// after, for what came before its backend was known may not have been kept.
    fn tell_endpoints(&self, before: &Backends) {
        self.held.endpoints_named_since(before).for_each(|endpoints| self.serve.endpoints(endpoints));
    }

    /// Makes a version live, and says what is wrong in it.
    async fn take(&mut self, version: u64, before: &Backends, whole: Whole) -> Vec<String> {
        self.tell_endpoints(before);
        let rules = whole.snapshot.rules.len();
        let mut problems = whole.problems;
        problems.extend(self.serve.publish(whole.snapshot, whole.certificates).await);
        self.tell_endpoints(before);
        tracing::info!(version, rules, problems = problems.len(), "routes are live");
        self.changed();
        problems
    }

    fn take_endpoints(&mut self, taken: &[Arc<Endpoints>], problems: &[String]) {
        taken.iter().for_each(|endpoints| self.serve.endpoints(endpoints));
        problems.iter().for_each(|problem| tracing::warn!(problem, "endpoints"));
        if !taken.is_empty() {
            self.changed();
        }
    }

    /// Tells counts, unless the controller is behind: it then gets newer ones.
    fn count(&self, line: &mut Line, now: Instant) -> Result<(), String> {
        let room = match line.up.try_reserve() {
            Ok(room) => room,
            Err(mpsc::error::TrySendError::Full(())) => {
                line.counting = Counting::after(now);
                return Ok(());
            }
            Err(mpsc::error::TrySendError::Closed(())) => return Err("the stream is closed".into()),
        };
        let whole = line.counting.is_whole(now);
        let news = line.counting.count(now, self.serve.demand(whole), whole);
        if whole || !news.is_empty() {
            let write = |one: &Demand| serde_json::to_vec(one).map(bytes::Bytes::from).ok();
            room.send(UpSay::Demand(wire::DemandList { list: news.iter().filter_map(write).collect(), whole }).into());
        }
        Ok(())
    }

    fn changed(&mut self) {
        self.save_at.get_or_insert_with(|| Instant::now() + SAVE.max(self.saving * SAVE_SHARE));
    }

    /// Keeps what changed, if something did.
    pub async fn keep(&mut self) {
        if self.save_at.take().is_none() {
            return;
        }
        let since = Instant::now();
        if let Some(store) = &mut self.store {
            store.save(&mut self.held).await;
        }
        self.saving = since.elapsed();
    }
}

impl Line {
    fn new(up: mpsc::Sender<Up>, pace: Pace, leading: bool) -> Self {
        let now = Instant::now();
        let (beat, lookup) = (now + pace.beat, now + pace.lookup);
        Self { up, pace, leading, heard: now, beat, lookup, counting: Counting::new(now) }
    }

    /// Says a word; a controller that takes none for so long is gone.
    async fn say(&self, say: UpSay) -> Result<(), String> {
        let sent = tokio::time::timeout(self.pace.silence, self.up.send(say.into())).await;
        let sent = sent.map_err(|_| "the controller reads nothing any more".to_owned())?;
        sent.map_err(|_| "the stream is closed".to_owned())
    }

    /// One that leads no more has lost to another, which can be found at once.
    fn take_role(&mut self, leading: bool) {
        self.leading = leading;
        self.lookup = Instant::now();
    }

    fn is_lookup_due(&self, now: Instant) -> bool {
        !self.leading && self.lookup <= now
    }

    fn wake(&self, looking: bool) -> Instant {
        let lookup = (!self.leading && !looking).then_some(self.lookup);
        let due = [Some(self.heard + self.pace.silence), Some(self.beat), lookup];
        due.into_iter().flatten().fold(self.counting.due(), Instant::min)
    }
}

async fn found(looking: &mut Option<Looking<'_>>) -> Result<Open, String> {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}
