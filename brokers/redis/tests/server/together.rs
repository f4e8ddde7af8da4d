//! Calls that come at the same time.

use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::{
    Broker, Capacity, ErrorKind, Lease, NewTask, Ordering, QueueSpec, ReceiveOptions,
    SessionOptions, Settled, State, Unique, Verdict,
};
use tidegate_redis::Config;

use super::{GUARD, MIB, broker, client, named, plain, scripts, server, warm};

#[tokio::test]
async fn sends_that_come_while_others_are_under_way_go_together_and_each_has_its_own_answer() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker
        .declare(&QueueSpec { capacity: Capacity::Bounded(60), ..QueueSpec::new(mail.clone()) })
        .await
        .unwrap();
    broker
        .enqueue_one(&mail, NewTask::new("k", "x").dedup("twice", Unique::UntilDone))
        .await
        .unwrap();
    let mut connection = client(&server).await;
    let before = scripts(&mut connection).await;
    let send = |number: usize| {
        let task = NewTask::new("k", "x");
        // The 10th is there already, and then only 59 of the others fit.
        let task = if number == 10 { task.dedup("twice", Unique::UntilDone) } else { task };
        broker.enqueue_one(&mail, task)
    };
    let answers = futures_util::future::join_all((0..64).map(send)).await;
    // They all come before the first call is made, or while it is under way.
    assert!(scripts(&mut connection).await - before <= 2);
    let of = |wanted: fn(&tidegate_core::Result<tidegate_core::Enqueued>) -> bool| {
        answers.iter().filter(|answer| wanted(answer)).count()
    };
    assert!(answers[10].as_ref().unwrap().deduplicated);
    assert_eq!(of(|answer| answer.as_ref().is_ok_and(|sent| !sent.deduplicated)), 59);
    assert_eq!(
        of(|answer| answer.as_ref().is_err_and(|full| full.kind() == ErrorKind::QueueFull)),
        4
    );
}

#[tokio::test]
async fn who_waits_behind_a_send_that_is_dropped_is_served_all_the_same() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "warm")).await.unwrap();
    let send = || Box::pin(broker.enqueue_one(&mail, NewTask::new("k", "x")));
    let mut sends: Vec<_> = (0..9).map(|_| send()).collect();
    for under_way in &mut sends {
        assert!(futures_util::future::poll_immediate(under_way).await.is_none());
    }
    let behind = sends.pop().unwrap();
    drop(sends);
    tokio::time::timeout(GUARD, behind).await.expect("nobody took it along").unwrap();
    let ready = broker.inspect().unwrap().stats(&mail).await.unwrap().ready;
    assert_eq!(ready, 2, "what was dropped before it was sent is not sent");
}

/// Lets all that is ready run, until a call that needs nothing of the server would be on its way.
async fn on_the_way() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Makes sends while the server says nothing, lets each come to where it waits, and gives all of them up. Returns
/// how many tasks were on their way then.
async fn on_their_way(server: &PrivateRedis, broker: &Broker, calls: &[Vec<NewTask>]) -> usize {
    let mail = named("mail");
    server.freeze().unwrap();
    let mut sends: Vec<_> =
        calls.iter().map(|tasks| Box::pin(broker.enqueue(&mail, tasks))).collect();
    for send in &mut sends {
        assert!(futures_util::future::poll_immediate(send).await.is_none());
        on_the_way().await;
    }
    drop(sends);
    on_the_way().await;
    server.unfreeze().unwrap();
    broker.inspect().unwrap().stats(&mail).await.unwrap().ready as usize
}

#[tokio::test]
async fn small_sends_wait_for_the_one_that_is_under_way() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    warm(&broker).await;
    let small: Vec<Vec<NewTask>> = (0..12).map(|_| plain(5, 1)).collect();
    assert_eq!(on_their_way(&server, &broker, &small).await, 5, "one call of one sender");
}

#[tokio::test]
async fn many_tasks_wait_for_no_call_that_is_under_way() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    warm(&broker).await;
    let large: Vec<Vec<NewTask>> = (0..3).map(|_| plain(64, 1)).collect();
    assert_eq!(on_their_way(&server, &broker, &large).await, 3 * 64, "each is on its way");
}

#[tokio::test]
async fn large_payloads_go_by_themselves_and_in_parts() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = warm(&broker).await;
    let mut connection = client(&server).await;
    let before = scripts(&mut connection).await;
    let large = plain(1, 600_000);
    let sends = (0..3).map(|_| broker.enqueue(&mail, &large));
    for sent in futures_util::future::join_all(sends).await {
        assert!(sent.unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(scripts(&mut connection).await - before, 3, "two of them are more than a megabyte");
    let before = scripts(&mut connection).await;
    let sent = broker.enqueue(&mail, &plain(5, 16 * MIB)).await.unwrap();
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(scripts(&mut connection).await - before, 2, "four of them are 64 megabytes");
}

#[tokio::test]
async fn who_waits_behind_a_send_whose_runtime_ends_is_served_all_the_same() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = warm(&broker).await;
    let (other, queue) = (broker.clone(), mail.clone());
    let (has_begun, begun) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel();
    let first = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = plain(1, 1);
        let send = other.enqueue(&queue, &tasks);
        let sent = runtime.block_on(futures_util::future::poll_immediate(send));
        assert!(sent.is_none());
        has_begun.send(()).unwrap();
        let () = ends.recv().unwrap();
    });
    begun.await.unwrap();
    let mut behind = Box::pin(broker.enqueue_one(&mail, NewTask::new("k", "x")));
    assert!(futures_util::future::poll_immediate(&mut behind).await.is_none());
    end.send(()).unwrap();
    first.await.unwrap();
    tokio::time::timeout(GUARD, behind).await.expect("nobody took it along").unwrap();
}

#[tokio::test]
async fn nobody_waits_for_a_runtime_that_has_ended() {
    let Some(server) = server().await else { return };
    let url = server.url();
    let connect_and_end = move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let config = Config::new(&url).unwrap();
            let broker = tidegate_redis::connect(config).await.unwrap();
            let mail = warm(&broker).await;
            (broker, mail)
        })
    };
    let (broker, mail) = tokio::task::spawn_blocking(connect_and_end).await.unwrap();
    let sent = broker.enqueue_one(&mail, NewTask::new("k", "x"));
    let sent = tokio::time::timeout(GUARD, sent).await.expect("it waits for ever");
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn receives_that_come_together_share_what_there_is() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    let tasks: Vec<_> = (0..10).map(|_| NewTask::new("k", "x")).collect();
    broker.enqueue(&mail, &tasks).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let mut connection = client(&server).await;
    let before = scripts(&mut connection).await;
    let options = ReceiveOptions::up_to(3);
    let answers = futures_util::future::join_all((0..8).map(|_| receiver.receive(&options))).await;
    // Four had nothing in the first call, and looked again together.
    assert_eq!(scripts(&mut connection).await - before, 2);
    let answers: Vec<Vec<Lease>> = answers.into_iter().map(Result::unwrap).collect();
    let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(counts, [3, 3, 3, 1, 0, 0, 0, 0]);
    let leases: Vec<Lease> = answers.into_iter().flatten().collect();
    let (had, sent): (Vec<_>, Vec<_>) =
        (leases.iter().map(|it| it.task.id).collect(), tasks.iter().map(|it| it.id).collect());
    assert_eq!(had, sent);
    let verdicts: Vec<_> = leases.into_iter().map(|it| (it.token, Verdict::Complete)).collect();
    let settled = receiver.settle(&verdicts).await.unwrap();
    assert!(settled.iter().all(|it| *it == Settled::Done { state: State::Done }), "{settled:?}");
    let again = receiver.settle(&verdicts).await.unwrap();
    assert!(again.iter().all(|it| *it == Settled::AlreadyDone), "{again:?}");
}

#[tokio::test]
async fn receives_that_come_together_do_not_share_a_key() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    let spec = QueueSpec { ordering: Ordering::Key, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let tasks: Vec<_> = (0..4).map(|_| NewTask::new("k", "x").ordering_key("key")).collect();
    broker.enqueue(&mail, &tasks).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    for per_key in [1, 2] {
        let options = ReceiveOptions::up_to(2).per_key(per_key);
        let (one, other) = tokio::join!(receiver.receive(&options), receiver.receive(&options));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.len() + other.len(), per_key, "the key is held twice");
        for lease in one.iter().chain(&other) {
            let _ = receiver.complete(lease).await.unwrap();
        }
    }
}
