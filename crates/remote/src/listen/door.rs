//! The loop that lets connections in, as many as there are seats.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep};

use super::Phase;
use super::connection::{Connection, Patience};
use super::threads::Place;
use crate::service::Room;

/// How often connections that were closed for want of seats are told in the log, and how long nothing
/// is accepted after the operating system refused to.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket that connections come from.
pub(super) trait Listen: Send + Sync + 'static {
    /// A connection that belongs to no thread yet.
    type Arrived: Send + 'static;
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection; none if one came that is not let in. Dropping it loses none.
    fn accept(&self) -> impl Future<Output = io::Result<Option<Self::Arrived>>> + Send;

    /// Gives a connection to the runtime of the caller, where it stays.
    fn take_in(arrived: Self::Arrived) -> io::Result<Self::Io>;
}

/// What a connection needs to be let in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Those of the whole server.
    pub(super) seats: Arc<Semaphore>,
    pub(super) connections_max: usize,
    /// What the requests of a connection may take that are not answered, and how long a part of one waits.
    pub(super) room: (usize, Duration),
    pub(super) patience: Patience,
    pub(super) phase: watch::Receiver<Phase>,
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Guest<A> {
    arrived: A,
    seat: OwnedSemaphorePermit,
}

/// The door of one socket.
pub(super) struct Doorkeeper<L> {
    listener: L,
    door: Door,
    turned_away: TurnedAway,
}

impl<L: Listen> Doorkeeper<L> {
    pub(super) fn new(listener: L, door: Door) -> Self {
        let turned_away = TurnedAway { count: 0, tell: None, most: door.connections_max };
        Self { listener, door, turned_away }
    }

    /// The next connection that is let in. Dropping it loses none.
    pub(super) async fn next(&mut self) -> Guest<L::Arrived> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.turned_away.is_due() => {
                    self.turned_away.tell();
                    continue;
                }
            };
            match accepted {
                Ok(Some(arrived)) => match self.door.seats.clone().try_acquire_owned() {
                    Ok(seat) => return Guest { arrived, seat },
                    Err(_) => self.turned_away.add(),
                },
                Ok(None) => {}
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted; trying again in 1 s");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Door {
    /// The guest's connection, on the runtime of the caller; its time begins now.
    pub(super) fn connection<L: Listen>(
        &self,
        guest: Guest<L::Arrived>,
        place: Place,
    ) -> io::Result<Connection<L::Io>> {
        let (bytes, part_within) = self.room;
        let room = Room::of(bytes, part_within);
        let io = L::take_in(guest.arrived)?;
        Ok(Connection::new(io, (guest.seat, place), room, self.patience, self.phase.clone()))
    }
}

/// Whether it is about the connection that came, not about the socket it came from.
fn is_of_the_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected)
}

/// Connections that were closed for want of seats and not told yet.
struct TurnedAway {
    count: u64,
    tell: Option<Pin<Box<Sleep>>>,
    most: usize,
}

impl TurnedAway {
    fn add(&mut self) {
        self.count += 1;
        self.tell.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
    }

    async fn is_due(&mut self) {
        match &mut self.tell {
            Some(tell) => tell.await,
            None => std::future::pending().await,
        }
    }

    fn tell(&mut self) {
        let (count, most) = (self.count, self.most);
        tracing::warn!(
            "{count} connections were closed at once: {most} are open, the most there may be"
        );
        (self.count, self.tell) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::listen::threads::Threads;

    /// By the clock that stands still, so that a hang is a failure at once.
    async fn soon<T>(something: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(3_600), something).await.unwrap()
    }

    /// Hands out the ends it was given, then waits for ever.
    struct Ends(Mutex<Vec<io::Result<Option<DuplexStream>>>>);

    impl Listen for Ends {
        type Arrived = DuplexStream;
        type Io = DuplexStream;

        async fn accept(&self) -> io::Result<Option<DuplexStream>> {
            let next = self.0.lock().unwrap().pop();
            match next {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }

        fn take_in(arrived: DuplexStream) -> io::Result<DuplexStream> {
            Ok(arrived)
        }
    }

    /// The next connection, on this thread.
    async fn next(keeper: &mut Doorkeeper<Ends>) -> Connection<DuplexStream> {
        let threads = Threads::new(None).unwrap();
        let guest = keeper.next().await;
        keeper.door.connection::<Ends>(guest, threads.first().place()).unwrap()
    }

    fn door(seats: usize) -> (Door, watch::Sender<Phase>) {
        let (sender, phase) = watch::channel(Phase::Open);
        let door = Door {
            seats: Arc::new(Semaphore::new(seats)),
            connections_max: seats,
            room: (0, Duration::ZERO),
            patience: Patience {
                first_call_within: Duration::from_secs(10),
                taken_within: Duration::from_secs(50),
            },
            phase,
        };
        (door, sender)
    }

    fn ends(count: usize) -> (Vec<DuplexStream>, Ends) {
        let (theirs, ours): (Vec<_>, Vec<_>) = (0..count).map(|_| duplex(64)).unzip();
        (theirs, Ends(Mutex::new(ours.into_iter().rev().map(|end| Ok(Some(end))).collect())))
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_seats_a_connection_is_closed_at_once() {
        let (door, _phase) = door(2);
        let seats = door.seats.clone();
        let (mut theirs, ends) = ends(3);
        let mut keeper = Doorkeeper::new(ends, door);
        let first = next(&mut keeper).await;
        let _second = next(&mut keeper).await;
        assert!(next(&mut keeper).now_or_never().is_none());
        assert_eq!(soon(theirs[2].read(&mut [0])).await.unwrap(), 0);
        drop(first);
        assert_eq!(seats.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_system_refuses_is_tried_again() {
        let (door, _phase) = door(2);
        let (_theirs, ends) = ends(1);
        ends.0.lock().unwrap().push(Err(io::Error::other("too many open files")));
        ends.0.lock().unwrap().push(Ok(None));
        ends.0.lock().unwrap().push(Err(ErrorKind::ConnectionReset.into()));
        let mut keeper = Doorkeeper::new(ends, door);
        soon(next(&mut keeper)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_call_ends_and_so_do_all_when_they_are_cut() {
        let (door, phase) = door(2);
        let (_theirs, ends) = ends(2);
        let mut keeper = Doorkeeper::new(ends, door);
        let mut silent = next(&mut keeper).await;
        let ended = soon(silent.read(&mut [0])).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionAborted);
        let mut cut = next(&mut keeper).await;
        let mut buf = [0];
        let mut read = Box::pin(cut.read(&mut buf));
        assert!((&mut read).now_or_never().is_none());
        phase.send_replace(Phase::Closing);
        assert!((&mut read).now_or_never().is_none());
        phase.send_replace(Phase::Cut);
        assert_eq!(soon(read).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_ends_its_connection_and_a_slow_one_does_not() {
        let (mut door, _phase) = door(1);
        door.patience.first_call_within = Duration::MAX;
        let (mut theirs, ends) = ends(1);
        let mut keeper = Doorkeeper::new(ends, door);
        let mut connection = next(&mut keeper).await;
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(40)).await;
                theirs[0].read_exact(&mut [0; 64]).await.unwrap();
            }
        };
        // What the pipe holds, and ten times that.
        let (written, ()) = tokio::join!(connection.write_all(&[7; 11 * 64]), slow);
        written.unwrap();
        let ended = soon(connection.write_all(&[7])).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::TimedOut);
    }
}
