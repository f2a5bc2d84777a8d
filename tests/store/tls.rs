//! TLS between roles, with certificates that `toystore certs` makes.
#![expect(clippy::unwrap_used, reason = "a failure here is a test's failure")]

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use actix_web::rt::net::TcpListener;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::{ClientConnection, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use toystore::roles::{Access, Address, Roles};
use toystore::tls::{TlsFiles, server_name};
use toystore::transport::{CallError, Http};
use toystore::wire::calls::{Call as _, Caller, GetStatus};
use toystore::wire::replication::ReplicaStatus;

use crate::eventually::eventually;
use crate::processes::{Cluster, Settings, buy, get, now};

const SECRET: &str = "correct-horse-battery";
const SETTINGS: Settings = Settings {
    frontends: 1,
    cache: true,
    capacity: 1000,
    initial_stock: 100,
    restock_interval_ms: 200,
    secret: Some(SECRET),
};
const LIMIT: Duration = Duration::from_secs(10);

/// A store with `[tls]`, of which nothing runs.
fn prepare() -> Cluster {
    let cluster = Cluster::prepare(SETTINGS);
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    std::fs::write(cluster.roles(), format!("{text}[tls]\n")).unwrap();
    cluster
}

fn certs(roles: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toystore"));
    command.arg("certs").arg("--config").arg(roles).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a person with this roles.toml shows and demands.
fn with_certificates(roles: &Path) -> Roles {
    Roles::read(roles).unwrap().with_certificates(None).unwrap()
}

fn address(text: &str) -> Address {
    Address::try_from(text.to_owned()).unwrap()
}

#[actix_web::test]
async fn a_store_with_tls_sells_and_refuses_calls_between_roles_in_plain() {
    let mut cluster = prepare();
    let done = printed(&certs(&cluster.roles()));
    assert!(done.contains("made ") && done.contains("authority.pem"), "{done}");
    cluster.start_everything().await;
    let frontend = cluster.frontends[0].clone();
    let (status, body) = buy(&frontend, "Tux", 1, "a").await.unwrap();
    assert_eq!((status, &body["data"]["order_number"]), (200, &0.into()), "clients may use HTTP");
    let roles = with_certificates(&cluster.roles());
    let encrypted = Http::new(&address(&frontend), roles.access());
    let answer = encrypted.exchange("/orders/0", None, LIMIT, &Caller::default()).await;
    let (status, body) = answer.expect("clients may use HTTPS");
    assert_eq!(status, 200, "{body:?}");

    let path = format!("/internal{}", GetStatus {}.path());
    let replica = address(&cluster.address("order-1"));
    let answer = Http::new(&replica, roles.access()).get::<ReplicaStatus>(&path, LIMIT).await;
    answer.expect("a call over TLS is answered");
    let plain = Access { tls: None, ..roles.access() };
    let refused = Http::new(&replica, plain).get::<ReplicaStatus>(&path, LIMIT).await;
    let Err(CallError::Refused { status: 403, message }) = refused else {
        panic!("it is refused: {refused:?}");
    };
    assert!(message.contains("TLS"), "{message}");
    let log = cluster.log("catalog");
    assert!(!log.contains("WARN"), "{log}");
    cluster.check_databases(100).await;
}

#[actix_web::test]
async fn a_client_that_does_not_read_its_answers_over_tls_is_not_kept_for_ever() {
    // A list of this many fits into the buffers of TLS when the kernel's are full.
    const TOYS: usize = 200;
    const ASK: &[u8] = b"GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// More than the lengths of answers differ by.
    const DIFFERENCE: usize = 16;
    /// The kernels are full when no more was taken for this long, of the 10 s that the store gives
    /// a client.
    const FULL_AFTER: Duration = Duration::from_secs(3);
    let mut cluster = prepare();
    printed(&certs(&cluster.roles()));
    let many = (0..TOYS).map(|toy| format!("{{ name = 'Toy {toy}', price = 1.0 }}"));
    let many = many.collect::<Vec<_>>().join(", ");
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    std::fs::write(cluster.roles(), text.replace("toys = [", &format!("toys = [{many}, ")))
        .unwrap();
    cluster.start_everything().await;
    let frontend: SocketAddrV4 = cluster.frontends[0].parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let socket = socket.connect(frontend.into()).await.unwrap();
    let own: SocketAddrV4 = socket.local_addr().unwrap().to_string().parse().unwrap();
    let roles = Roles::read(&cluster.roles()).unwrap();
    let client = TlsConnector::from(roles.tls.unwrap().files.client().unwrap().0);
    let name = server_name(&frontend.ip().to_string()).unwrap();
    let mut client = client.connect(name, socket).await.unwrap();
    // The client reads two answers, of which the second is from the cache like all others.
    let mut answer = Vec::new();
    for _ in 0..2 {
        answer.clear();
        client.write_all(ASK).await.unwrap();
        while !is_whole(&answer) {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "the answer is cut");
        }
    }
    // One more may be asked for than the kernels take whole, and none less.
    let answer = (answer.len() - DIFFERENCE) as u64;
    let (mut asked, mut since) = (0, now());
    eventually("the kernels take no more of an answer", async || {
        let taken = taken_by_kernels(own, frontend).expect("the store has not ended it yet");
        if taken >= asked * answer {
            client.write_all(ASK).await.unwrap();
            client.flush().await.unwrap();
            (asked, since) = (asked + 1, now());
        }
        now() - since >= FULL_AFTER
    })
    .await;
    eventually("the store ends the connection", async || taken_by_kernels(own, frontend).is_none())
        .await;
}

/// Whether all of an answer has been read: its body is JSON.
fn is_whole(answer: &[u8]) -> bool {
    let body = String::from_utf8_lossy(answer).split_once("\r\n\r\n").map(|(_, it)| it.to_owned());
    body.is_some_and(|body| serde_json::from_str::<serde_json::Value>(&body).is_ok())
}

/// Bytes from the server that wait in its kernel and in the client's, unless the server has closed
/// the connection.
fn taken_by_kernels(client: SocketAddrV4, server: SocketAddrV4) -> Option<u64> {
    const ESTABLISHED: &str = "01";
    let as_listed = |address: SocketAddrV4| {
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queues = |local, remote| {
        let wanted = [as_listed(local), as_listed(remote), ESTABLISHED.to_owned()];
        table.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let is_it = wanted.iter().all(|word| words.next() == Some(word));
            let (to_send, received) = words.next()?.split_once(':')?;
            let bytes = |hex| u64::from_str_radix(hex, 16).unwrap();
            is_it.then(|| (bytes(to_send), bytes(received)))
        })
    };
    let ((to_send, _), (_, received)) = (queues(server, client)?, queues(client, server)?);
    Some(to_send + received)
}

#[actix_web::test]
async fn a_replica_whose_certificate_another_authority_signed_is_no_replica() {
    let mut cluster = prepare();
    printed(&certs(&cluster.roles()));
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    let own = "[tls]\nauthority = \"own/authority.pem\"\ncertificate = \"own/{host}.pem\"\n\
               key = \"own/{host}.key\"";
    let own = text.replace("[tls]", own);
    cluster.give_own_roles("order-3", &own);
    printed(&certs(&cluster.own_roles("order-3")));
    is_no_replica_until_it_has(&text, &mut cluster).await;
}

#[actix_web::test]
async fn a_certificate_of_another_host_proves_nothing() {
    const ELSEWHERE: &str = "127.9.9.9";
    let mut cluster = prepare();
    printed(&certs(&cluster.roles()));
    let text = std::fs::read_to_string(cluster.roles()).unwrap();
    let address = cluster.address("order-3");
    let (_, port) = address.rsplit_once(':').unwrap();
    cluster.give_own_roles("order-3", &text.replace(&address, &format!("{ELSEWHERE}:{port}")));
    let done = printed(&certs(&cluster.own_roles("order-3")));
    assert!(done.contains(&format!("{ELSEWHERE}.pem")), "of the same authority: {done}");
    let own =
        format!("[tls]\ncertificate = \"tls/{ELSEWHERE}.pem\"\nkey = \"tls/{ELSEWHERE}.key\"");
    cluster.give_own_roles("order-3", &text.replace("[tls]", &own));
    is_no_replica_until_it_has(&text, &mut cluster).await;
}

/// The other roles do not take order-3 for a replica, until it has the roles.toml that is right.
async fn is_no_replica_until_it_has(right: &str, cluster: &mut Cluster) {
    cluster.start_all(&["catalog", "order-1", "order-2", "frontend"]);
    cluster.start_role("order-3");
    let frontend = cluster.frontends[0].clone();
    for role in ["order-1", "frontend"] {
        eventually(&format!("{role} says that order-3 is not trusted"), async || {
            cluster.log(role).contains("did not prove by TLS")
        })
        .await;
    }
    // A new store hears every replica before it sells; this one says whom it cannot hear.
    let (status, body) = get(&frontend, "/readyz").await.unwrap();
    assert_eq!(status, 503, "{body}");
    cluster.kill("order-3");
    cluster.give_own_roles("order-3", right);
    cluster.start_role("order-3");
    eventually("with the right certificate it is one", async || {
        matches!(buy(&frontend, "Tux", 1, "a").await, Ok((200, _)))
    })
    .await;
}

#[actix_web::test]
async fn a_process_without_a_certificate_is_not_shown_the_secret() {
    let mut cluster = prepare();
    printed(&certs(&cluster.roles()));
    let listener = TcpListener::bind(cluster.address("order-3")).await.unwrap();
    cluster.start_all(&["catalog", "order-1", "order-2", "frontend"]);
    for _ in 0..10 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4_096];
        let count = stream.read(&mut heard).await.unwrap();
        let heard = &heard[..count];
        assert!(!heard.windows(SECRET.len()).any(|it| it == SECRET.as_bytes()));
        assert!(heard.first().is_none_or(|first| *first == 22), "a call begins in plain");
    }
}

#[actix_web::test]
async fn a_certificate_that_is_missing_is_named_with_what_to_do() {
    let mut cluster = prepare();
    cluster.start_role("catalog");
    assert!(!cluster.await_end("catalog").await.success());
    let log = cluster.log("catalog");
    assert!(log.contains("authority.pem") && log.contains("toystore certs"), "{log}");
}

#[test]
fn certificates_that_are_there_stay_and_keys_are_for_their_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = prepare();
    printed(&certs(&cluster.roles()));
    let folder = cluster.roles().with_file_name("tls");
    let read = || {
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap()).collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        files
            .into_iter()
            .map(|it| {
                let path = it.path();
                let is_key = path.extension().is_some_and(|kind| kind == "key");
                let mode = it.metadata().unwrap().permissions().mode() & 0o777;
                assert!(!is_key || mode == 0o600, "{path:?} has mode {mode:o}");
                (path.clone(), std::fs::read(path).unwrap())
            })
            .collect::<Vec<_>>()
    };
    let before = read();
    assert_eq!(before.len(), 4, "an authority and a host, each with a certificate and a key");
    let again = printed(&certs(&cluster.roles()));
    assert!(again.contains("is there already") && !again.contains("made"), "{again}");
    assert_eq!(read(), before);
    // Half of what a host had is refused, and stays.
    let of_host = before.iter().filter(|(path, _)| path.to_string_lossy().contains("/127."));
    let of_host: Vec<_> = of_host.collect();
    for ((removed, content), (kept, _)) in [(of_host[0], of_host[1]), (of_host[1], of_host[0])] {
        std::fs::remove_file(removed).unwrap();
        is_refused(&certs(&cluster.roles()), &[removed, kept]);
        assert!(!removed.exists(), "nothing was made");
        std::fs::write(removed, content).unwrap();
    }
    // A host that is lost gets another certificate of the same authority.
    for (path, _) in of_host {
        std::fs::remove_file(path).unwrap();
    }
    assert!(printed(&certs(&cluster.roles())).contains("made"));
    assert_eq!(read()[2..], before[2..], "the authority stays");
    // So does what is there of an authority without its key.
    std::fs::remove_file(folder.join("authority.pem")).unwrap();
    let key = std::fs::read(folder.join("authority.key")).unwrap();
    let (certificate, key_file) = (folder.join("authority.pem"), folder.join("authority.key"));
    is_refused(&certs(&cluster.roles()), &[&certificate, &key_file]);
    assert_eq!(std::fs::read(key_file).unwrap(), key);
}

/// A run that failed, and names these files.
fn is_refused(output: &Output, files: &[&PathBuf]) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{output:?}");
    for file in files {
        assert!(said.contains(file.to_str().unwrap()), "{said}");
    }
    assert!(said.contains("put it back, or remove"), "{said}");
}

/// Has a caller meet a role on a host, which shows the certificate that it has there.
fn meet(files: &TlsFiles, host: &str) -> Result<(), rustls::Error> {
    let (client, server) = (files.client().unwrap().0, files.server(host).unwrap().0);
    let mut client = ClientConnection::new(client, server_name(host).unwrap())?;
    let mut server = ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let mut unread = &bytes[..];
        while server.read_tls(&mut unread).unwrap() > 0 {
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        let mut unread = &bytes[..];
        while client.read_tls(&mut unread).unwrap() > 0 {
            client.process_new_packets()?;
        }
    }
    Ok(())
}

/// A `roles.toml` on several hosts, with this `[tls]`.
fn on_several_hosts(folder: &Path, tls: &str) -> PathBuf {
    let text = include_str!("../../roles.toml").replace("127.0.0.1:8093", "[::1]:8093");
    let text = text.replace("127.0.0.1:8092", "localhost:8092");
    let path = folder.join("roles.toml");
    std::fs::write(&path, format!("{text}\n[tls]\n{tls}\n")).unwrap();
    path
}

#[test]
fn one_certificate_is_for_all_hosts_where_its_name_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let roles =
        on_several_hosts(folder.path(), "certificate = \"tls/store.pem\"\nkey = \"tls/store.key\"");
    printed(&certs(&roles));
    let tls = Roles::read(&roles).unwrap().tls.unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        meet(&tls.files, host).unwrap();
    }
    assert!(meet(&tls.files, "example.org").is_err());

    let roles = on_several_hosts(folder.path(), "certificate = \"tls/another.pem\"");
    let refused = certs(&roles);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("another.pem"), "{said}");
    assert!(said.contains("{host}") && !folder.path().join("tls/another.pem").exists());
}

#[test]
fn an_authority_of_ones_own_signs_under_its_own_name_and_with_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let roles = on_several_hosts(folder.path(), "");
    std::fs::create_dir(folder.path().join("tls")).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "A company");
    params.distinguished_name.push(DnType::CommonName, "The company's own authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (pair, another) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let authority = params.self_signed(&pair).unwrap().pem();
    let (certificate, key) =
        (folder.path().join("tls/authority.pem"), folder.path().join("tls/authority.key"));
    std::fs::write(&certificate, &authority).unwrap();
    std::fs::write(&key, another.serialize_pem()).unwrap();
    let refused = certs(&roles);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("is not the key of"), "{said}");

    std::fs::write(&key, pair.serialize_pem()).unwrap();
    printed(&certs(&roles));
    assert_eq!(std::fs::read_to_string(&certificate).unwrap(), authority);
    let tls = Roles::read(&roles).unwrap().tls.unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        meet(&tls.files, host).unwrap();
    }
    // Its key may be kept elsewhere while it has nothing to sign.
    std::fs::remove_file(&key).unwrap();
    assert!(!printed(&certs(&roles)).contains("made"));
    for ending in ["pem", "key"] {
        std::fs::remove_file(folder.path().join(format!("tls/localhost.{ending}"))).unwrap();
    }
    is_refused(&certs(&roles), &[&certificate, &key]);
}
