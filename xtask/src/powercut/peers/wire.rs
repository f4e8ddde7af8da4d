//! A connection of text lines, which is what all of these brokers speak.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No answer takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(super) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(super) fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            Ok(stream)
        });
        stream.map(|stream| Self(BufReader::new(stream))).map_err(|error| error.to_string())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.get_mut().write_all(bytes).map_err(|error| error.to_string())
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => Err("the connection was closed".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// So many bytes and the line's end behind them.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; count + 2];
        self.0.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        bytes.truncate(count);
        Ok(bytes)
    }
}

/// Sends by `send` until the time is over or there is no answer any more, and counts the answers
/// that came in time.
///
/// WHY: a sync that is under way while the file system is shut down can succeed without having
/// done anything (ext4, when the journal it would wait for is gone). When the power really goes,
/// nobody sees that answer.
pub(super) fn until_gone(
    until: std::time::Instant,
    mut send: impl FnMut() -> Result<(), String>,
) -> Result<u64, String> {
    let mut acknowledged = 0;
    while std::time::Instant::now() < until {
        match send() {
            Ok(()) => acknowledged += u64::from(std::time::Instant::now() < until),
            Err(why) if acknowledged == 0 => return Err(why),
            Err(_) => break,
        }
    }
    Ok(acknowledged)
}
