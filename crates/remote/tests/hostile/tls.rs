//! Who begins to speak TLS and does not go on, and who speaks none.

use tidegate_core::ManualClock;
use tidegate_remote::listen::{Tcp, Tls};
use tidegate_remote::proto::ListQueuesRequest;
use tidegate_remote::proto::broker_client::BrokerClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::frames::{PREFACE, Raw, settings};
use crate::stand::{PATIENCE, SEATS, Stand, broker, impatient};

/// The beginning of a handshake: a record of 512 bytes that says hello, of which little comes.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_cut_and_keeps_nobody_waiting() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls { certificates: pem.clone().into_bytes(), key: key.into_bytes() };
    let tcp = Tcp { tls: Some(tls), ..Tcp::open("127.0.0.1:0".parse().unwrap()) };
    let clock = ManualClock::new();
    let stand = Stand::on(tcp, broker(&clock).await, clock, impatient()).await;
    let good = async || {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pem));
        let endpoint = Endpoint::from_shared(format!("https://{}", stand.address)).unwrap();
        let endpoint = endpoint.tls_config(config.domain_name("localhost")).unwrap();
        let client = endpoint.connect().await.map(BrokerClient::new);
        match client {
            Ok(mut client) => client.list_queues(ListQueuesRequest {}).await.is_ok(),
            Err(_) => false,
        }
    };
    let plain = [PREFACE, &settings(&[])].concat();
    for beginning in [&[][..], HALF_A_HELLO, &plain] {
        let mut bad = Vec::new();
        for _ in 1..SEATS {
            let mut raw = Raw::over(stand.tcp().await);
            raw.send(beginning).await.unwrap();
            bad.push(raw);
        }
        // WHY: on a busy machine it may be too slow for an impatient server, and comes again.
        let served = async { while !good().await {} };
        tokio::time::timeout(PATIENCE, served).await.expect("a good client is served");
        for mut raw in bad {
            // An alert may come first, which is no frame.
            let mut said = Vec::new();
            let end = tokio::io::AsyncReadExt::read_to_end(&mut raw.io, &mut said);
            tokio::time::timeout(PATIENCE, end).await.unwrap().ok();
        }
    }
    stand.ends_unharmed().await;
}
