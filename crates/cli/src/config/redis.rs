//! What `redis_queue` says, in the URL of a Redis broker.

use super::value::Value;

/// The block's keys that are set, and its URL.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RedisQueue {
    /// The broker where nothing else names one.
    pub(crate) url: Option<String>,
    /// The other keys: what they are called in a URL, and their values.
    options: Vec<(&'static str, String)>,
}

impl RedisQueue {
    pub(super) fn take(&mut self, key: &str, value: &Value) {
        match (key, value) {
            ("redis_queue.url", Value::Text(url)) => self.url = Some(url.clone()),
            ("redis_queue.stream_max_len", Value::Count(most)) => {
                self.options.push(("stream_max_len", most.to_string()));
            }
            ("redis_queue.block_timeout_ms", Value::Count(ms)) => {
                self.options.push(("block_timeout_ms", ms.to_string()));
            }
            ("redis_queue.serialization", Value::Text(name)) => {
                self.options.push(("serialization", name.clone()));
            }
            _ => {}
        }
    }

    /// A broker's URL with what the block says and the URL does not. One of another broker stays as it is.
    pub(crate) fn applied_to(&self, url: &str) -> String {
        if !matches!(
            url.split(':').next(),
            Some("redis" | "rediss" | "redis-cluster" | "rediss-cluster")
        ) {
            return url.to_owned();
        }
        let mut whole = url.to_owned();
        for (name, value) in &self.options {
            let query = url.split_once('?').map_or("", |(_, query)| query);
            if query.split('&').any(|pair| pair.split('=').next() == Some(*name)) {
                continue;
            }
            whole.push(if whole.contains('?') { '&' } else { '?' });
            whole.push_str(&format!("{name}={value}"));
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_redis_broker_has_what_the_block_says_and_its_own_goes_first() {
        let mut block = RedisQueue::default();
        block.take("redis_queue.stream_max_len", &Value::Count(50_000));
        block.take("redis_queue.serialization", &Value::Text("json".into()));
        let applied = |url| block.applied_to(url);
        assert_eq!(applied("redis://h"), "redis://h?stream_max_len=50000&serialization=json");
        assert_eq!(
            applied("redis-cluster://h,i?stream_max_len=9"),
            "redis-cluster://h,i?stream_max_len=9&serialization=json"
        );
        assert_eq!(
            applied("rediss://h/1?serialization=msgpack"),
            "rediss://h/1?serialization=msgpack&stream_max_len=50000"
        );
        assert_eq!(applied("embedded:./q"), "embedded:./q");
    }
}
