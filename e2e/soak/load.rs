//! Who asks, how often: a share of the load for each client, and half of what they got without pauses. It says when, never what.

use crate::{
    clients::{Client, Way},
    ledger::{End, Lane},
    world::{Place, World},
};
use fastrand::Rng;
use futures_util::FutureExt;
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How often a client asks.
#[derive(Clone, Copy)]
enum Pace {
    /// Its share of the load.
    Share,
    /// So long from one exchange to the next, on average.
    Each(Duration),
}

/// What all clients share.
pub struct Load {
    world: Arc<World>,
    seed: u64,
    ended: AtomicBool,
    /// From one exchange to the next of those that share the load; 0 is without a pause.
    share_us: AtomicU64,
}

const fn ms(ms: u64) -> Pace {
    Pace::Each(Duration::from_millis(ms))
}

/// Lanes, their clients, how many of them and how often each asks.
fn crew() -> Vec<(Lane, Client, Pace)> {
    let mut crew = Vec::new();
    let mut add = |lane, count: usize, pace, client: fn() -> Client| {
        crew.extend((0..count).map(|_| (lane, client(), pace)));
    };
    add(Lane::Kept, 6, Pace::Share, || Client::Kept(Way::Plain, None));
    add(Lane::Fresh, 2, Pace::Share, || Client::Fresh);
    add(Lane::Secure, 1, Pace::Share, || Client::Kept(Way::Tls, None));
    add(Lane::Secure, 1, Pace::Share, || Client::Http2(Way::Tls, None));
    add(Lane::Http2, 2, Pace::Share, || Client::Http2(Way::Plain, None));
    add(Lane::Large, 1, ms(3_000), || Client::Kept(Way::Plain, None));
    add(Lane::Slow, 4, ms(500), || Client::Slow);
    add(Lane::Socket, 3, ms(200), || Client::Socket);
    add(Lane::Grpc, 2, ms(50), || Client::Grpc(None));
    add(Lane::Toxic, 4, ms(50), || Client::Kept(Way::Plain, None));
    add(Lane::Toxic, 2, ms(100), || Client::Fresh);
    add(Lane::Toxic, 3, ms(100), || Client::Http2(Way::Plain, None));
    add(Lane::Victim, 4, ms(200), || Client::Fresh);
    add(Lane::Leaving, 4, ms(100), || Client::Leaving);
    crew
}

impl Load {
    /// Starts all clients, without pauses where they share the load.
    pub fn start(world: Arc<World>, seed: u64) -> (Arc<Self>, JoinSet<()>) {
        let load = Arc::new(Self { world, seed, ended: AtomicBool::new(false), share_us: AtomicU64::new(0) });
        let mut clients = JoinSet::new();
        for (number, (lane, client, pace)) in crew().into_iter().enumerate() {
            clients.spawn(load.clone().ask(number as u64, lane, client, pace));
        }
        (load, clients)
    }

    /// Counts for so long what clients get without pauses, and lets them ask half as often, or as often as is wanted; exchanges a second.
    pub async fn settle(&self, time: Duration, wanted: Option<u64>) -> f64 {
        let sharing = [Lane::Kept, Lane::Fresh, Lane::Secure, Lane::Http2];
        let asked = || -> u64 {
            let lanes = self.world.ledger.lanes();
            sharing.iter().filter_map(|lane| lanes.get(lane)).map(|counts| counts.asked).sum()
        };
        let (before, begun) = (asked(), Instant::now());
        tokio::time::sleep(time).await;
        let half = (asked() - before) as f64 / begun.elapsed().as_secs_f64() / 2.0;
        let rate = wanted.map_or(half, |rate| rate as f64);
        let count = crew().iter().filter(|(_, _, pace)| matches!(pace, Pace::Share)).count();
        self.share_us.store((count as f64 / rate.max(1.0) * 1e6) as u64, Relaxed);
        rate
    }

    /// Lets no client begin anything any more.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    async fn ask(self: Arc<Self>, number: u64, lane: Lane, mut client: Client, pace: Pace) {
        let mut dice = Rng::with_seed(self.seed.wrapping_mul(1_000).wrapping_add(number));
        while !self.ended.load(Relaxed) {
            let begun = Instant::now();
            exchange(&self.world, lane, &mut client, &mut dice).await;
            let period = match pace {
                Pace::Share => Duration::from_micros(self.share_us.load(Relaxed)),
                Pace::Each(period) => period,
            };
            let pause = period.mul_f64(0.5 + dice.f64()).saturating_sub(begun.elapsed());
            if pause.is_zero() { tokio::task::yield_now().await } else { tokio::time::sleep(pause).await }
        }
    }
}

/// One exchange, booked; a panic is an end too.
async fn exchange(world: &World, lane: Lane, client: &mut Client, dice: &mut Rng) {
    let (place, ledger): (&Place, _) = (&world.place, &world.ledger);
    let exchange = AssertUnwindSafe(client.exchange(place, lane, dice, ledger)).catch_unwind();
    ledger.note(lane, exchange.await.unwrap_or_else(|panic| End::Wrong(text(&*panic))));
}

/// So many exchanges at once, each on a connection of its own.
pub async fn burst(world: Arc<World>, lane: Lane, count: usize, seed: u64) {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let world = world.clone();
        clients.spawn(async move {
            let mut dice = Rng::with_seed(seed.wrapping_add(number as u64));
            exchange(&world, lane, &mut Client::Fresh, &mut dice).await;
        });
    }
    clients.join_all().await;
}

/// What a panic says.
pub fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "a panic".into())
}
