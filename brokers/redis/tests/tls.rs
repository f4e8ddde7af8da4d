//! Connections over TLS.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use tidegate_conformance::services::free_port;
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::{ErrorKind, NewTask, QueueName, QueueSpec, ReceiveOptions, SessionOptions};
use tidegate_redis::Config;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_known_authority_is_spoken_to_and_another_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (pem, key) = (dir.path().join(format!("{name}.pem")), dir.path().join("key.pem"));
        std::fs::write(&pem, made.cert.pem()).unwrap();
        std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
        pem.display().to_string()
    };
    let (stranger, own) = (certificate("stranger"), certificate("own"));
    let key = dir.path().join("key.pem").display().to_string();
    let Some((server, port)) = server(dir.path(), &own, &key).await else { return };

    let url = |ca: &str| format!("rediss://localhost:{port}?ca={ca}");
    let broker = tidegate_redis::connect(Config::new(&url(&own)).unwrap()).await.unwrap();
    let mail = QueueName::new("mail").unwrap();
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
    assert_eq!(receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().len(), 1);

    let refused = tidegate_redis::connect(Config::new(&url(&stranger)).unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let text = refused.to_string();
    assert!(text.contains("not trusted") && text.contains("`ca=FILE`"), "{text}");
    drop(server);
}

/// A server that speaks TLS on a second port; `None`, said aloud, where there is none and that is no failure.
async fn server(dir: &Path, certificate: &str, key: &str) -> Option<(PrivateRedis, u16)> {
    if tidegate_conformance::services::find_program("redis-server").is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("skipped: there is no redis-server");
        return None;
    }
    let port = free_port().unwrap();
    let port_text = port.to_string();
    let settings = [
        ("tls-port", port_text.as_str()),
        ("tls-cert-file", certificate),
        ("tls-key-file", key),
        ("tls-ca-cert-file", certificate),
        ("tls-auth-clients", "no"),
    ];
    Some((PrivateRedis::start_in(dir, &settings).await.unwrap(), port))
}
