//! What modules have done beside the loop: by engines that post, and by the disk.

use super::*;
use crate::disk::{Busy, Disk, DiskAct, DiskError};
use crate::poster::{PostError, Poster};

/// A rig whose module `a`, at its start, hands out its poster.
fn posting() -> (Rig, Poster) {
    let (sender, poster) = channel();
    let a = module("a").does(move |call, io| {
        if let Call::Handle(Input::Start(_)) = call {
            sender.send(io.poster()).unwrap();
        }
    });
    let rig = Rig::new(vec![module("b"), a]);
    (rig, poster.recv().unwrap())
}

fn done(tag: u64, text: &'static str) -> Input {
    Input::Done { tag, bytes: text.into() }
}

#[test]
fn posts_are_heard_by_their_module_in_order_and_make_a_step_due() {
    let (mut rig, poster) = posting();
    assert_eq!(rig.stack.next_wake(), None);
    poster.try_post(2, "x".into()).unwrap();
    poster.clone().try_post(1, "y".into()).unwrap();
    assert_eq!(rig.stack.next_wake(), Some(Time::ZERO));
    assert_eq!(inputs(rig.step([])), [("a", done(2, "x")), ("a", done(1, "y"))]);
    assert_eq!(rig.stack.next_wake(), None);
}

#[test]
fn an_engine_hears_that_its_node_is_gone() {
    let (rig, poster) = posting();
    drop(rig);
    assert_eq!(poster.try_post(0, "x".into()), Err(PostError::Gone("x".into())));
}

/// A rig of one module, which asks this of the disk when it is nudged.
fn asking(ask: impl Fn(&mut Disk<'_>) -> Result<(), Busy> + Send + 'static) -> Rig {
    let a = module("a").does(move |call, io| {
        if let Call::Handle(Input::Datagram { .. }) = call
            && ask(&mut io.disk()).is_err()
        {
            io.count("busy");
        }
    });
    Rig::new(vec![module("b"), a])
}

fn answer(result: Result<Bytes, DiskError>) -> Arrival {
    Arrival::Disk { module: "a", tag: 7, result }
}

#[test]
fn the_disk_is_asked_by_name_and_answers_who_asked() {
    let mut rig = asking(|disk| {
        disk.append(3, "x".into(), 7)?;
        disk.sync(3, 7)?;
        disk.read(3, 5, 9, 7)
    });
    rig.step([nudge()]);
    let work = |act| ("a", DiskWork { file: 3, act, tag: 7 });
    let read = DiskAct::Read { offset: 5, bytes_max: 9 };
    assert_eq!(
        rig.driver.asked,
        [work(DiskAct::Append("x".into())), work(DiskAct::Sync), work(read)]
    );
    let error = DiskError::Failed("it is gone".to_owned());
    let heard = rig.step([answer(Ok("y".into())), answer(Err(error.clone()))]);
    let failed = Input::DiskFailed { tag: 7, error };
    assert_eq!(inputs(heard), [("a", done(7, "y")), ("a", failed)]);
}

#[test]
fn what_is_asked_of_the_disk_is_bounded_until_it_is_done() {
    let mut rig = asking(|disk| disk.read(0, 0, Disk::BYTES_MAX, 7));
    rig.step([nudge(), nudge()]);
    assert_eq!((rig.driver.asked.len(), rig.stack.counts().get("busy")), (1, 1));
    rig.step([answer(Ok(Bytes::new())), nudge()]);
    assert_eq!((rig.driver.asked.len(), rig.stack.counts().get("busy")), (2, 1));
}
