//! Connections over TLS.

use std::os::unix::fs::PermissionsExt;

use tidegate_conformance::services::find_program;
use tidegate_conformance::services::postgres::{PrivatePostgres, give_to_user};
use tidegate_core::{ErrorKind, NewTask, QueueName, QueueSpec, ReceiveOptions, SessionOptions};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_known_authority_is_spoken_to_and_another_refused_by_name() {
    if find_program("postgres").is_none() || find_program("initdb").is_none() {
        assert!(std::env::var_os("CI").is_none(), "PostgreSQL is required here");
        eprintln!("not configured: there is no PostgreSQL");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    give_to_user(dir.path()).unwrap();
    let certificate = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (pem, key) = (dir.path().join(format!("{name}.pem")), dir.path().join("key.pem"));
        std::fs::write(&pem, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        give_to_user(&pem).unwrap();
        give_to_user(&key).unwrap();
        pem.display().to_string()
    };
    let (stranger, own) = (certificate("stranger"), certificate("own"));
    let key = dir.path().join("key.pem").display().to_string();
    let settings = [
        ("ssl", "on"),
        ("ssl_cert_file", own.as_str()),
        ("ssl_key_file", key.as_str()),
        ("fsync", "off"),
    ];
    let server = PrivatePostgres::start_in(dir.path(), &settings).await.unwrap();

    let url = |mode: &str, ca: &str| {
        let url = server.url().replace("127.0.0.1", "localhost");
        format!("{url}?sslmode={mode}&sslrootcert={ca}")
    };
    let broker = tidegate_postgres::connect(&url("verify-full", &own)).await.unwrap();
    let mail = QueueName::new("mail").unwrap();
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
    assert_eq!(receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().len(), 1);

    let (client, connection) = tidegate_postgres::tokio_postgres::connect(
        &server.url(),
        tidegate_postgres::tokio_postgres::NoTls,
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                  WHERE application_name = 'tidegate tidegate' AND NOT ssl";
    assert_eq!(client.query_one(plain, &[]).await.unwrap().get::<_, i64>(0), 0);

    // The statements of a connection with TLS are prepared as well.
    let count = "CREATE OR REPLACE FUNCTION tidegate.stats(p_queue bigint)
        RETURNS TABLE (ready bigint, scheduled bigint, leased bigint, dead bigint, oldest bigint, paused boolean)
        LANGUAGE sql AS $$ SELECT count(*), 0::bigint, 0::bigint, 0::bigint, NULL::bigint, false
                             FROM pg_prepared_statements $$";
    client.batch_execute(count).await.unwrap();
    assert!(broker.inspect().unwrap().stats(&mail).await.unwrap().ready > 0);

    for mode in ["verify-full", "require"] {
        let refused = tidegate_postgres::connect(&url(mode, &stranger)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        let text = refused.to_string();
        assert!(text.contains("not trusted") && text.contains("`sslrootcert`"), "{text}");
    }
}
