//! What modules have done beside the loop: by engines that post, and by the disk.

use super::*;
use crate::disk::{Disk, DiskAct, DiskBusy, DiskError};
use crate::poster::{PostError, Poster};

/// A rig whose module `a` hands out its poster at its start, and takes at most so many a step.
fn posting(posts_max: usize) -> (Rig, Poster, Receiver<Bytes>) {
    let ((sender, poster), (took, taken)) = (channel(), channel());
    let a = module("a").does(move |call, io| match call {
        Call::Handle(Input::Start(_)) => sender.send(io.poster()).unwrap(),
        Call::Handle(Input::Stop) => io.stopped(),
        Call::Handle(_) => {}
        Call::Finish => {
            let posts = std::iter::from_fn(|| io.next_post()).take(posts_max);
            posts.for_each(|post| took.send(post).unwrap());
        }
    });
    let rig = Rig::new(vec![module("b"), a]);
    (rig, poster.recv().unwrap(), taken)
}

#[test]
fn posts_are_told_to_their_module_at_the_edge_and_make_a_step_due() {
    let (mut rig, poster, taken) = posting(1);
    assert_eq!(rig.stack.next_wake(), None);
    poster.try_post("x".into()).unwrap();
    poster.clone().try_post("y".into()).unwrap();
    assert_eq!(rig.stack.next_wake(), Some(Time::ZERO));
    assert_eq!(inputs(rig.step([])), [("a", Input::Posted)]);
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), ["x"]);
    assert_eq!(rig.stack.next_wake(), None, "what is left waits for its module");
    rig.step([nudge()]);
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), ["y"]);
}

#[test]
fn a_module_that_takes_no_posts_slows_its_engine() {
    let (mut rig, poster, taken) = posting(0);
    poster.try_post(vec![0; Poster::BYTES_MAX].into()).unwrap();
    rig.step([nudge()]);
    assert_eq!(poster.try_post("x".into()), Err(PostError::Full("x".into())));
    assert_eq!(taken.try_iter().count(), 0);
}

#[test]
fn an_engine_hears_that_its_module_has_stopped_or_its_node_is_gone() {
    let gone = Err(PostError::Gone("x".into()));
    let (mut rig, poster, _taken) = posting(1);
    rig.stack.stop();
    rig.step([]);
    assert!(!rig.stack.is_stopped(), "`b` has not said good-bye");
    assert_eq!(poster.try_post("x".into()), gone);
    let (rig, poster, _taken) = posting(1);
    drop(rig);
    assert_eq!(poster.try_post("x".into()), gone);
}

/// A rig of one module, which asks this of the disk when it is nudged.
fn asking(ask: impl Fn(&mut Disk<'_>) -> Result<(), DiskBusy> + Send + 'static) -> Rig {
    let a = module("a").does(move |call, io| {
        if let Call::Handle(Input::Datagram { .. }) = call
            && ask(&mut io.disk()).is_err()
        {
            io.count("busy");
        }
    });
    Rig::new(vec![module("b"), a])
}

const TAG: Tag = Tag(7);

fn answer(result: Result<Bytes, DiskError>) -> Arrival {
    Arrival::Disk { module: "a", tag: TAG, result }
}

#[test]
fn the_disk_is_asked_by_name_and_answers_who_asked() {
    let mut rig = asking(|disk| {
        disk.append(3, "x".into(), TAG)?;
        disk.sync(3, TAG)?;
        disk.read(3, 5, 9, TAG)
    });
    rig.step([nudge()]);
    let work = |act| ("a", DiskWork { file: 3, act, tag: TAG });
    let read = DiskAct::Read { offset: 5, bytes_max: 9 };
    assert_eq!(
        rig.driver.asked,
        [work(DiskAct::Append("x".into())), work(DiskAct::Sync), work(read)]
    );
    let results = [Ok("y".into()), Err(DiskError::Failed("it is gone".to_owned()))];
    let heard = rig.step(results.clone().map(answer));
    assert_eq!(inputs(heard), results.map(|result| ("a", Input::Done { tag: TAG, result })));
}

#[test]
fn what_is_asked_of_the_disk_is_bounded_until_it_is_done() {
    let mut rig = asking(|disk| disk.read(0, 0, Disk::BYTES_MAX, TAG));
    rig.step([nudge(), nudge()]);
    assert_eq!((rig.driver.asked.len(), rig.stack.counts().get("busy")), (1, 1));
    rig.step([answer(Ok(Bytes::new())), nudge()]);
    assert_eq!((rig.driver.asked.len(), rig.stack.counts().get("busy")), (2, 1));
}

#[test]
#[should_panic(expected = "a read of 8388609 bytes, 8388608 at most")]
fn a_read_is_no_longer_than_what_may_wait() {
    asking(|disk| disk.read(0, 0, Disk::BYTES_MAX + 1, TAG)).step([nudge()]);
}
