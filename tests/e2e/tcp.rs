//! Does the daemon serve other machines to those who have its authority's certificate, and to nobody else?

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use gantry_api::connect::{Address, TlsMaterials, connect};
use gantry_api::system::v1::GetVersionRequest;
use gantry_api::system::v1::system_service_client::SystemServiceClient;
use gantry_tests::certificates::Certificates;
use gantry_tests::cli::{gantry, run};
use gantry_tests::daemon::Daemon;
use gantry_tests::outcome::Outcome;
use gantry_tests::registry::free_address;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

tests![
    a_client_with_a_certificate_is_served,
    a_client_is_told_which_files_are_missing,
    a_client_without_a_certificate_is_refused,
    a_client_of_another_authority_is_refused,
    a_client_with_an_expired_certificate_is_refused,
    a_daemon_of_another_authority_is_not_trusted,
    a_daemons_certificate_does_not_make_a_client,
    plain_text_is_not_answered,
    strangers_who_say_nothing_keep_nobody_out,
    a_port_without_certificates_is_refused_at_the_start,
];

/// A daemon that listens on loopback, and its address there.
fn daemon_on_tcp(certificates: &Certificates, more: &str) -> Result<(Daemon, String)> {
    let address = free_address()?.to_string();
    let mut daemon = Daemon::prepare()?;
    daemon.write_config(&(certificates.config(&address) + more))?;
    daemon.restart()?;
    Ok((daemon, address))
}

/// `gantry` over TCP with these variables.
fn over_tcp(
    daemon: &Daemon,
    address: &str,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Outcome> {
    let mut command = gantry(&daemon.socket(), arguments);
    command.env("GANTRY_HOST", format!("tcp://{address}")).envs(variables.iter().copied());
    run(&mut command)
}

/// Whether the daemon answers a client of the API with its version, or why there is no answer.
fn call(address: &str, tls: &TlsMaterials) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = connect(&Address::Tcp(address.to_owned()), Some(tls)).await?;
        Ok(SystemServiceClient::new(channel)
            .get_version(GetVersionRequest {})
            .await?
            .into_inner()
            .version
            .is_some())
    })
}

fn a_client_with_a_certificate_is_served(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    let folder = certificates.folder().display().to_string();
    let variables = [("GANTRY_CERT_PATH", &*folder)];
    let image = &world.shared.busybox.reference;
    over_tcp(&daemon, &address, &variables, &["pull", "-q", image])?.ok()?;
    over_tcp(
        &daemon,
        &address,
        &variables,
        &["run", "--rm", "--network", "none", image, "sh", "-c", "echo hello; exit 3"],
    )?
    .exits(3)?
    .prints("hello")?;
    let [authority, certificate, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| certificates.file(name));
    let flags = ["--tlscacert", &authority, "--tlscert", &certificate, "--tlskey", &key];
    let host = format!("tcp://{}", address.replace("127.0.0.1", "localhost"));
    run(&mut gantry(&daemon.socket(), &[&["-H", &host, "version"], &flags[..]].concat()))?.ok()?;
    let variables =
        [("GANTRY_TLS_CACERT", &*authority), ("GANTRY_TLS_CERT", &certificate), ("GANTRY_TLS_KEY", &key)];
    over_tcp(&daemon, &address, &variables, &["version"])?.ok()?;
    world.done(daemon);
    Ok(())
}

fn a_client_is_told_which_files_are_missing(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    let authority = certificates.file("ca.pem");
    let variables = [("GANTRY_TLS_CACERT", &*authority)];
    let outcome = over_tcp(&daemon, &address, &variables, &["ps"])?.exits(1)?;
    outcome.complains("--tlscert and --tlskey")?.complains("GANTRY_CERT_PATH")?;
    let variables = [("GANTRY_CERT_PATH", "/no/such/folder")];
    over_tcp(&daemon, &address, &variables, &["ps"])?.exits(1)?.complains("/no/such/folder/ca.pem")?;
    world.done(daemon);
    Ok(())
}

fn a_client_without_a_certificate_is_refused(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    let authority = Certificate::from_pem(certificates.client()?.authority_pem);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered: Result<bool> = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(ClientTlsConfig::new().ca_certificate(authority))?;
        let mut client = SystemServiceClient::new(endpoint.connect().await?);
        Ok(client.get_version(GetVersionRequest {}).await?.into_inner().version.is_some())
    });
    ensure!(answered.is_err(), "it was answered: {answered:?}");
    ensure!(call(&address, &certificates.client()?)?, "with the certificate it is");
    world.done(daemon);
    Ok(())
}

fn a_client_of_another_authority_is_refused(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    // It trusts the daemon, so that only the daemon can refuse it.
    let stranger = TlsMaterials {
        authority_pem: certificates.client()?.authority_pem,
        ..Certificates::make()?.client()?
    };
    ensure!(call(&address, &stranger).is_err(), "a stranger was answered");
    let others = Certificates::make()?;
    let (certificate, key) = (others.file("cert.pem"), others.file("key.pem"));
    let authority = certificates.file("ca.pem");
    let variables =
        [("GANTRY_TLS_CACERT", &*authority), ("GANTRY_TLS_CERT", &certificate), ("GANTRY_TLS_KEY", &key)];
    let outcome = over_tcp(&daemon, &address, &variables, &["ps"])?.exits(1)?;
    outcome.complains("certificate")?.complains("hint:")?;
    world.done(daemon);
    Ok(())
}

fn a_client_with_an_expired_certificate_is_refused(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    ensure!(call(&address, &certificates.client()?)?, "a fresh one is served");
    // Good until this very second; the daemon has read its own before.
    certificates.sign_again(&[("GANTRY_CERTIFICATE_DAYS", "0")])?;
    let expired = certificates.client()?;
    until_true("the certificate to be refused", seconds(10), || Ok(call(&address, &expired).is_err()))?;
    world.done(daemon);
    Ok(())
}

fn a_daemon_of_another_authority_is_not_trusted(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    let authority = Certificates::make()?.file("ca.pem");
    let (certificate, key) = (certificates.file("cert.pem"), certificates.file("key.pem"));
    let other = Certificates::make()?;
    let folder = other.folder().display().to_string();
    let variables =
        [("GANTRY_CERT_PATH", &*folder), ("GANTRY_TLS_CERT", &certificate), ("GANTRY_TLS_KEY", &key)];
    over_tcp(&daemon, &address, &variables, &["ps"])?.exits(1)?.complains("authority")?;
    ensure!(!std::path::Path::new(&authority).exists(), "the folder of a dropped authority is gone");
    world.done(daemon);
    Ok(())
}

fn a_daemons_certificate_does_not_make_a_client(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    let read = |name: &str| std::fs::read(certificates.file(name));
    let server = TlsMaterials {
        certificate_pem: read("server.pem")?,
        key_pem: read("server-key.pem")?,
        ..certificates.client()?
    };
    ensure!(call(&address, &server).is_err(), "a certificate for servers was taken of a client");
    world.done(daemon);
    Ok(())
}

fn plain_text_is_not_answered(world: &World) -> Result<()> {
    let certificates = Certificates::make()?;
    let (daemon, address) = daemon_on_tcp(&certificates, "")?;
    // A whole HTTP/2 preface with empty settings, as a client without TLS begins; and the question of an HTTP/1 one.
    for begin in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(seconds(20)))?;
        stream.write_all(begin)?;
        let mut answer = Vec::new();
        // It may be reset as well as closed.
        let _ = stream.read_to_end(&mut answer);
        // At most a TLS alert (record type 21, RFC 8446 section 5.1), and never a frame or a line of HTTP.
        ensure!(answer.is_empty() || (answer[0] == 21 && answer.len() < 32), "{answer:?}");
    }
    world.done(daemon);
    Ok(())
}

fn strangers_who_say_nothing_keep_nobody_out(world: &World) -> Result<()> {
    const CONNECTIONS_MAX: usize = 4;
    let certificates = Certificates::make()?;
    let (daemon, address) =
        daemon_on_tcp(&certificates, &format!("grpc.connections_max = {CONNECTIONS_MAX}\n"))?;
    let silent: Vec<TcpStream> =
        (0..2 * CONNECTIONS_MAX).map(|_| TcpStream::connect(&address)).collect::<Result<_, _>>()?;
    daemon.ok(&["version"])?;
    // The daemon gives each of them up after a while, and others come in.
    ensure!(call(&address, &certificates.client()?)?, "the port is taken");
    drop(silent);
    world.done(daemon);
    Ok(())
}

fn a_port_without_certificates_is_refused_at_the_start(_: &World) -> Result<()> {
    let daemon = Daemon::prepare()?;
    daemon.write_config("grpc.tcp_address = \"127.0.0.1:1\"\n")?;
    let outcome = run(&mut daemon.command())?;
    ensure!(outcome.code != 0, "{outcome}");
    outcome.complains("tls_client_ca")?;
    let certificates = Certificates::make()?;
    std::fs::write(certificates.file("server-key.pem"), "no key")?;
    daemon.write_config(&certificates.config(&free_address()?.to_string()))?;
    let outcome = run(&mut daemon.command())?;
    ensure!(outcome.code != 0, "{outcome}");
    outcome.complains("TLS files")?;
    Ok(())
}
