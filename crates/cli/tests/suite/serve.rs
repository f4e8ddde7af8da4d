use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command};
use std::time::Duration;

use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::shell::{Answer, Shell, names};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
/// Long enough that nothing but a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that is ready. It is killed when the test is over.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// The first line on stdout.
    line: String,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { child, stdout, stderr, line }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn next_on_stderr(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    /// Waits for the end.
    fn end(mut self) -> Answer {
        let (mut stdout, mut stderr) = (self.line.clone(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Answer { code: self.child.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving(shell: &Shell, arguments: &[&str]) -> Serving {
    let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--sqs", "127.0.0.1:0"];
    all.extend(arguments);
    Serving::start(shell.command(&all))
}

/// What the ready file says.
fn ready(shell: &Shell) -> Value {
    let text = std::fs::read_to_string(shell.path().join("ready.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn address(ready: &Value) -> String {
    ready.pointer("/listen/0/address").unwrap().as_str().unwrap().to_owned()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(PATIENCE, test).await.unwrap() };
    runtime.block_on(test)
}

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn broker() -> HealthCheckRequest {
    HealthCheckRequest { service: "tidegate.v1.Broker".into() }
}

async fn health(channel: Channel) -> i32 {
    HealthClient::new(channel).check(broker()).await.unwrap().into_inner().status
}

#[test]
fn a_server_says_where_it_is_and_answers_there_until_it_is_told_to_end() {
    let shell = Shell::new();
    let mut server = serving(&shell, &["--ready-file", "ready.json"]);
    let ready = ready(&shell);
    assert_eq!(names(&ready), ["access_keys", "listen", "pid", "serving", "sqs", "tls", "tokens"]);
    assert_eq!(ready["pid"], server.child.id());
    let address = address(&ready);
    let told = format!(
        "serving embedded:./tidegate-data on {address}, without TLS, without tokens: \
         tidegate://{address}\n"
    );
    assert_eq!(server.line, told);
    let sqs = ready["sqs"][0]["url"].as_str().unwrap();
    let mut line = String::new();
    server.stdout.read_line(&mut line).unwrap();
    assert_eq!(line, format!("SQS on {sqs}, any credentials are accepted\n"));
    run(async { assert_eq!(health(channel(&address).await).await, SERVING) });
    // Other commands use the data beside it, or the server itself.
    shell.run(&["send", "q", "x"]).ok();
    let url = format!("tidegate://{address}");
    let listed = shell.json(&["--broker", &url, "queue", "list"]);
    assert_eq!(listed[0]["name"], "q");
    server.signal("TERM");
    let ended = server.end().ok();
    assert!(ended.stderr.contains("ending; a second signal ends at once"), "{ended:?}");
    assert!(!shell.path().join("ready.json").exists());
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["ready"], 1);
}

/// What SQS answers to a form.
fn sqs(address: &str, form: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = form.len();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, (head + form).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn sqs_is_spoken_beside_it_over_the_same_queues() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "serialization:\n  max_message_bytes: 4KB\n");
    let more = ["--ready-file", "ready.json", "--account-id", "111122223333"];
    let server = serving(&shell, &more);
    let address = ready(&shell)["sqs"][0]["address"].as_str().unwrap().to_owned();
    let made = sqs(&address, "Action=CreateQueue&QueueName=mail");
    let url = format!("http://{address}/111122223333/mail");
    assert!(made.contains(&format!("<QueueUrl>{url}</QueueUrl>")), "{made}");
    let sent = sqs(&address, &format!("Action=SendMessage&QueueUrl={url}&MessageBody=hello"));
    assert!(sent.contains("<MD5OfMessageBody>5d41402abc4b2a76b9719d911017c592<"), "{sent}");
    let long = "x".repeat(4_097);
    let long = sqs(&address, &format!("Action=SendMessage&QueueUrl={url}&MessageBody={long}"));
    assert!(long.contains("Message must be shorter than 4096 bytes."), "{long}");
    assert_eq!(shell.json(&["queue", "show", "mail"])["stats"]["ready"], 1);
    let asked = sqs(&address, "Action=GetCallerIdentity&Version=2011-06-15");
    assert!(asked.contains("<Account>111122223333</Account>"), "{asked}");
    server.signal("TERM");
    server.end().ok();
}

#[test]
fn sqs_that_others_reach_is_refused_and_can_be_left_out() {
    let shell = Shell::new();
    let open = ["serve", "--listen", "127.0.0.1:0", "--sqs", "0.0.0.0:0"];
    shell.run(&open).fails(2, &["0.0.0.0:0", "any credentials are accepted", "--no-sqs"]);
    assert_eq!(std::fs::read_dir(shell.path()).unwrap().count(), 0);
    let none = ["serve", "--listen", "127.0.0.1:0", "--no-sqs", "--ready-file", "ready.json"];
    let server = Serving::start(shell.command(&none));
    assert_eq!(ready(&shell)["sqs"], json!([]));
    server.signal("TERM");
    server.end().ok();
    let both = ["serve", "--no-sqs", "--sqs", "127.0.0.1:0"];
    shell.run(&both).fails(2, &["--no-sqs"]);
    for wrong in [["--account-id", "1"], ["--region", "EU"]] {
        shell.run(&[&["serve"], &wrong[..]].concat()).fails(2, &[wrong[0]]);
    }
}

#[test]
fn access_keys_let_in_who_signs_and_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let shell = Shell::new();
    let made = shell.json(&["serve", "access-key", "mailer"]);
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 40);
    shell.write("keys.yaml", made["entry"].as_str().unwrap());
    let mode = |mode| {
        let path = shell.path().join("keys.yaml");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let keys = ["serve", "--listen", "127.0.0.1:0", "--access-keys", "keys.yaml"];
    shell.run(&keys).fails(2, &["others on this machine can read", "chmod 600 keys.yaml"]);
    mode(0o600);
    // What others reach needs no --insecure then.
    let far = ["--sqs", "0.0.0.0:0", "--access-keys", "keys.yaml", "--ready-file", "ready.json"];
    let mut command = vec!["serve", "--listen", "127.0.0.1:0"];
    command.extend(far);
    let mut server = Serving::start(shell.command(&command));
    let told = ready(&shell);
    assert_eq!(told["access_keys"], 1);
    assert!(server.next_on_stderr().contains("warning: messages can be read on their way"));
    let address = told["sqs"][0]["address"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
    let asked = sqs(&address, "Action=ListQueues");
    assert!(asked.starts_with("HTTP/1.1 403 "), "{asked}");
    assert!(asked.contains("<Code>MissingAuthenticationToken</Code>"), "{asked}");
    server.signal("TERM");
    let ended = server.end().ok();
    assert!(!format!("{ended:?}").contains(secret), "{ended:?}");
}

#[test]
fn several_addresses_and_json() {
    let shell = Shell::new();
    let mut server = serving(&shell, &["--listen", "[::1]:0", "--broker", "memory:", "--json"]);
    let mut text = server.line.clone();
    let account = loop {
        match serde_json::from_str::<Value>(&text) {
            Ok(account) => break account,
            Err(_) => assert_ne!(server.stdout.read_line(&mut text).unwrap(), 0, "{text}"),
        }
    };
    assert_eq!((&account["tls"], &account["tokens"]), (&json!(false), &json!(null)));
    assert_eq!(account["serving"], "memory");
    let places = account["listen"].as_array().unwrap();
    assert_eq!(places.len(), 2);
    for place in places {
        let address = place["address"].as_str().unwrap();
        assert_eq!(place["url"], format!("tidegate://{address}"));
        run(async { assert_eq!(health(channel(address).await).await, SERVING) });
    }
    server.signal("INT");
    server.end().ok();
}

/// A client that watches keeps its connection; its health changes, and then it is closed.
#[test]
fn who_is_connected_hears_of_the_end() {
    let shell = Shell::new();
    let server = serving(&shell, &["--ready-file", "ready.json"]);
    let address = address(&ready(&shell));
    run(async {
        let mut client = HealthClient::new(channel(&address).await);
        let mut watched = client.watch(broker()).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status, SERVING);
        server.signal("TERM");
        assert_eq!(watched.message().await.unwrap().unwrap().status, NOT_SERVING);
        assert!(!matches!(watched.message().await, Ok(Some(_))));
    });
    server.end().ok();
}

#[test]
fn what_others_reach_without_tokens_is_refused_and_nothing_is_made() {
    let shell = Shell::new();
    let open = ["serve", "--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"];
    shell.run(&open).fails(2, &["0.0.0.0:0", "no access tokens are set", "--tokens FILE"]);
    assert_eq!(std::fs::read_dir(shell.path()).unwrap().count(), 0);
    let mut meant = serving(&shell, &["--listen", "0.0.0.0:0", "--insecure"]);
    assert!(meant.next_on_stderr().contains("warning: everybody who can connect to 0.0.0.0:"));
    meant.signal("TERM");
    meant.end().ok();
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let shell = Shell::new();
    let refused = |arguments: &[&str], told: &[&str]| {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        shell.run(&all).fails(2, told);
    };
    refused(&["--listen", "localhost:9326"], &["an IP address and a port", "127.0.0.1:9326"]);
    refused(&["--tls-cert", "cert.pem"], &["--tls-key"]);
    refused(&["--tls-cert", "cert.pem", "--tls-key", "k"], &["cert.pem cannot be read"]);
    refused(&["--tokens", "none.yaml"], &["none.yaml", "cannot be read"]);
    shell.write("pem", "nothing");
    refused(&["--tls-cert", "pem", "--tls-key", "pem"], &["must be PEM"]);
    shell.write("t.yaml", "- name: mailer\n  secrte: hunter2-hunter2-hunter2\n  rights: []\n");
    let tokens = ["--tokens", "t.yaml"];
    refused(&tokens, &["t.yaml:2:3", "unknown key `secrte`", "did you mean `secret`?"]);
}

#[test]
fn a_new_token_comes_in_and_no_other_and_is_shown_nowhere_else() {
    let shell = Shell::new();
    let made = shell.json(&["serve", "token", "mailer"]);
    assert_eq!(names(&made), ["entry", "name", "secret", "sha256"]);
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 43, "{secret}");
    assert_ne!(shell.json(&["serve", "token", "mailer"])["secret"], made["secret"]);
    let entry = made["entry"].as_str().unwrap();
    assert!(!entry.contains(secret));
    shell.write("tokens.yaml", entry);

    let server = serving(&shell, &["--tokens", "tokens.yaml", "--ready-file", "ready.json"]);
    assert!(server.line.contains("with 1 token"), "{}", server.line);
    let address = address(&ready(&shell));
    run(async {
        let channel = channel(&address).await;
        assert_eq!(health(channel.clone()).await, SERVING);
        let mut client = tidegate_remote::proto::broker_client::BrokerClient::new(channel);
        let list = tidegate_remote::proto::ListQueuesRequest {};
        let missing = client.list_queues(list).await.unwrap_err();
        assert_eq!(missing.code(), tonic::Code::Unauthenticated);
        let mut request = tonic::Request::new(list);
        let header = format!("Bearer {secret}").parse().unwrap();
        request.metadata_mut().insert("authorization", header);
        assert!(client.list_queues(request).await.is_ok());
    });
    server.signal("TERM");
    let ended = server.end().ok();
    assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret));

    let told = shell.run(&["serve", "token", "mailer"]).ok();
    assert!(told.stdout.contains("- name: \"mailer\"\n  sha256: \""), "{told:?}");
    shell.run(&["serve", "token", "a b"]).fails(2, &["1 to 64 letters"]);
}

#[test]
fn a_port_that_is_taken_is_a_matter_of_time() {
    let shell = Shell::new();
    let server = serving(&shell, &["--ready-file", "ready.json"]);
    let address = address(&ready(&shell));
    let other = Shell::new();
    let refused = other.run(&["serve", "--no-sqs", "--listen", &address]);
    refused.fails(4, &[&address, "another program listens there"]);
    drop(server);
}

/// A server with a call that gets no answer: its queues are held by another process, which is stopped.
fn stuck(shell: &Shell, timeout: &str) -> (Serving, Serving, tokio::runtime::Runtime) {
    let text = format!("queue:\n  graceful_shutdown_timeout: {timeout}\n");
    shell.write("tidegate.yaml", &text);
    let holder = serving(shell, &[]);
    let server = serving(shell, &["--ready-file", "ready.json"]);
    let address = address(&ready(shell));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    holder.signal("STOP");
    runtime.block_on(async {
        let channel = channel(&address).await;
        let mut client = tidegate_remote::proto::broker_client::BrokerClient::new(channel.clone());
        let list = tidegate_remote::proto::ListQueuesRequest {};
        tokio::spawn(async move { client.list_queues(list).await });
        // What comes behind it on the connection is answered: it has arrived.
        assert_eq!(health(channel).await, SERVING);
    });
    (server, holder, runtime)
}

#[test]
fn what_is_not_answered_in_time_is_cut_off() {
    let shell = Shell::new();
    let (server, _holder, _runtime) = stuck(&shell, "100ms");
    server.signal("TERM");
    let ended = server.end().ok();
    assert!(ended.stderr.contains("not answered within 100 ms were cut off"), "{ended:?}");
}

#[test]
fn a_second_signal_waits_for_nothing() {
    let shell = Shell::new();
    let (mut server, _holder, _runtime) = stuck(&shell, "60s");
    let begun = std::time::Instant::now();
    server.signal("TERM");
    assert!(server.next_on_stderr().contains("ending"));
    server.signal("TERM");
    let ended = server.end().ok();
    assert!(begun.elapsed() < PATIENCE, "{ended:?}");
    assert!(!ended.stderr.contains("cut off"), "{ended:?}");
    assert!(!shell.path().join("ready.json").exists());
}

#[test]
fn systemd_is_told_when_it_begins_and_when_it_ends() {
    let shell = Shell::new();
    let path = shell.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut text = [0; 64];
        let bytes = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    };
    let mut command = shell.command(&["serve", "--no-sqs", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path);
    let server = Serving::start(command);
    assert_eq!(heard(), "READY=1");
    server.signal("TERM");
    assert_eq!(heard(), "STOPPING=1");
    server.end().ok();
}
