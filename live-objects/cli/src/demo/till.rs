//! A till of the shop: one node, which is a process of its own.
//!
//! It does the orders that it is told to do, plays its load into an aggregate, describes itself in
//! a catalog, sends and hears price notices, is found in a directory, and tells the conductor what
//! it sees.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use live_objects::{Attributes, Command, MembersEvent, NodeId, ObjectType, Port, Spec};
use logo::ReadError;
use logo::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use super::orders::Order;
use super::shop::Shop;
use super::talk::{Say, Standing, Tell};
use crate::process::{listen, say};

/// What a CD went for.
#[derive(Clone, Copy, PartialEq, Debug, Live, Serialize, Deserialize)]
struct Notice {
    order: u32,
    cents: u64,
}

/// A till, as others find it.
#[derive(Clone, PartialEq, Debug, Live, Serialize, Deserialize)]
struct Card {
    process: u32,
}

/// The objects of a till.
struct Till {
    shop: Arc<Replicated<Shop>>,
    notices: Topic<Notice, BestEffort>,
    load: Aggregate<Average>,
    tills: Directory<Card>,
    /// Where it says what it is, for `logo query`.
    catalog: Port,
    members: Members,
    done: UnboundedSender<u32>,
    notices_sent: u64,
    notices_heard: u64,
    view: u64,
}

/// Runs a till until it is told to stop, or nobody is there to tell it.
pub(super) async fn run(folder: &Path, number: usize) -> Result<(), Box<dyn Error>> {
    let mut told = listen();
    let node = Node::local_at(folder, Vec::new()).await?;
    let place = node.enter("shop")?;
    let (done, mut dones) = unbounded_channel();
    let mut till = Till {
        members: place.open("members").await?,
        shop: Arc::new(place.open("stock").await?),
        notices: place.open("prices").await?,
        load: place.open("load").await?,
        tills: place.open("tills").await?,
        catalog: node.open_port(Spec::new(CATALOG.parse()?, ObjectType::catalog())).await?,
        done,
        notices_sent: 0,
        notices_heard: 0,
        view: 0,
    };
    till.tills.publish(&format!("till-{number}"), &Card { process: std::process::id() }).await?;
    say(&Say::Ready { node: name_of(node.member().node) });
    let (mut watch, mut ticks) = (till.shop.watch(), interval(PERIOD));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lines = Vec::new();
    till.note_view();
    loop {
        tokio::select! {
            tell = told.recv() => match tell {
                Some(Tell::Stop) | None => break,
                Some(tell) => till.on(tell).await?,
            },
            _ = dones.recv_many(&mut lines, DONE_MAX) => {
                say(&Say::Done { lines: std::mem::take(&mut lines) });
            }
            changed = watch.changed() => {
                changed.map_err(|closure| format!("the shop is closed: {closure:?}"))?;
                till.note_view();
            }
            Some(event) = till.members.next() => note_members(&event),
            Some(event) = till.notices.next() => {
                till.notices_heard += u64::from(matches!(event, TopicEvent::Message { .. }));
            }
            _ = ticks.tick() => till.tick(),
        }
    }
    node.stop().await;
    Ok(())
}

impl Till {
    async fn on(&mut self, tell: Tell) -> Result<(), Box<dyn Error>> {
        match tell {
            Tell::Orders(orders) => {
                for order in orders {
                    self.start(order);
                }
            }
            Tell::Load(percent) => {
                self.load.set(percent)?;
                let own = Attributes::default().with("role", "till")?.with("load", percent)?;
                // Nobody who does not ask misses it.
                let _ = self.catalog.try_send(Command::Describe(own));
                say(&Say::LoadSet { at_ms: now_ms() });
            }
            Tell::FindTills => {
                let found = self.tills.list("till-").await?;
                say(&Say::Tills { names: found.into_iter().map(|listing| listing.key).collect() });
            }
            Tell::Count => say(&Say::Counted(self.standing()?)),
            Tell::Stop => unreachable!("the loop ends"),
        }
        Ok(())
    }

    /// Begins an order. It is done when all tills hold it.
    fn start(&mut self, order: Order) {
        if order.line.is_multiple_of(NOTICE_EVERY) && order.cds > 0 {
            let cents = order.cents / u64::from(order.cds);
            let notice = Notice { order: order.line, cents };
            self.notices_sent += u64::from(self.notices.try_send(&notice).is_ok());
        }
        let (shop, done) = (self.shop.clone(), self.done.clone());
        tokio::spawn(async move {
            // If this till is cut off, the order is dealt again.
            if shop.update(&order).await.is_ok() {
                let _ = done.send(order.line);
            }
        });
    }

    fn tick(&self) {
        if let Some(Estimate { value: Some(average), members, .. }) = self.load.get() {
            say(&Say::Estimate { at_ms: now_ms(), average, members });
        }
        say(&Say::Notices { sent: self.notices_sent, heard: self.notices_heard });
    }

    fn note_view(&mut self) {
        let Some(view) = self.shop.view() else { return };
        if std::mem::replace(&mut self.view, view.epoch.number) != view.epoch.number {
            say(&Say::View { number: view.epoch.number, members: view.members.len() });
        }
    }

    fn standing(&self) -> Result<Standing, ReadError> {
        let hash = self.shop.hash();
        let read = self.shop.read(|shop| {
            let (orders, cost_cents) = shop.orders();
            Standing {
                orders,
                cost_cents,
                takings_cents: shop.takings_cents(),
                stock: shop.stock(),
                hash,
                best_customers: shop.best_customers(3),
            }
        })?;
        Ok(read.value)
    }
}

fn note_members(event: &MembersEvent) {
    match event {
        MembersEvent::Roster(members) => {
            members.iter().for_each(|member| say(&Say::Up { node: name_of(member.node) }));
        }
        MembersEvent::Up(member) => say(&Say::Up { node: name_of(member.node) }),
        MembersEvent::Down(member, _) => {
            say(&Say::Down { node: name_of(member.node), at_ms: now_ms() });
        }
        _ => {}
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn name_of(node: NodeId) -> String {
    node.to_string()
}

/// The catalog in which tills describe themselves.
const CATALOG: &str = "/demo/tills";
/// Gossip's period: how often what is known is said.
const PERIOD: Duration = Duration::from_millis(200);
/// Every so many orders a price is noticed.
const NOTICE_EVERY: u32 = 50;
const DONE_MAX: usize = 4_096;
