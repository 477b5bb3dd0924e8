//! What does a network driver of somebody else's look like? A program of a few pages that serves
//! `gantry.networks.driver.v1` over a unix socket: a bridge with ip(8), a pair of links for each endpoint, and a file for
//! each address that it gave out. The end-to-end program is this driver when it is started with [`SOCKET`].

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gantry_api::network_driver::v1::driver_service_server::{DriverService, DriverServiceServer};
use gantry_api::network_driver::v1::{
    CheckRequest, CheckResponse, CreateNetworkRequest, CreateNetworkResponse, Endpoint,
    GetCapabilitiesRequest, GetCapabilitiesResponse, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse,
    RemoveNetworkRequest, RemoveNetworkResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::wait::{seconds, until_true};

/// The variable that makes this program a driver: the path of its socket. What it holds is beside it, in `held`.
pub const SOCKET: &str = "GANTRY_TEST_NETWORK_DRIVER";
/// Its bridge.
const BRIDGE: &str = "ext0";

/// A driver that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    socket: PathBuf,
}

impl Running {
    /// Starts this program as a driver under another one, such as nsenter.
    pub fn start(socket: &Path, wrapper: &[&str]) -> Result<Self> {
        let _gone = fs::remove_file(socket);
        let own = std::env::current_exe()?.display().to_string();
        let words: Vec<&str> = wrapper.iter().copied().chain([own.as_str()]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .env(SOCKET, socket)
            .stdin(Stdio::null())
            .spawn()
            .context("starting the network driver")?;
        let running = Self { child, socket: socket.to_owned() };
        until_true("the network driver to listen", seconds(20), || Ok(UnixStream::connect(socket).is_ok()))?;
        Ok(running)
    }

    /// The endpoints that it holds an address for.
    #[must_use]
    pub fn held(&self) -> usize {
        let held = fs::read_dir(self.socket.with_file_name("held")).into_iter().flatten();
        held.flatten().count()
    }

    /// What it was asked, a line for each.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.socket.with_file_name("said")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is killed.
pub fn serve(socket: &Path) -> Result<()> {
    let folder = socket.parent().context("a socket has a folder")?.to_owned();
    fs::create_dir_all(folder.join("held"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket)?;
        let service = DriverServiceServer::new(Driver { folder });
        let server = tonic::transport::Server::builder().add_service(service);
        Ok(server.serve_with_incoming(UnixListenerStream::new(listener)).await?)
    })
}

struct Driver {
    folder: PathBuf,
}

impl Driver {
    fn say(&self, line: &str) {
        use std::io::Write as _;
        let path = self.folder.join("said");
        let file = fs::File::options().append(true).create(true).open(path);
        let _written = file.and_then(|mut file| writeln!(file, "{line}"));
    }

    fn held(&self, endpoint: &Endpoint) -> PathBuf {
        self.folder.join("held").join(&endpoint.id)
    }

    fn join(&self, request: &JoinRequest) -> Result<JoinResponse> {
        let endpoint = request.endpoint.as_ref().context("no endpoint")?;
        let asked = request.addresses.first().map(|address| address.parse::<Ipv4Addr>()).transpose()?;
        let mut taken = Vec::new();
        for entry in fs::read_dir(self.folder.join("held"))?.flatten() {
            taken.push(fs::read_to_string(entry.path())?);
        }
        let free = (2..255).map(|last| Ipv4Addr::new(10, 99, 0, last));
        let address = asked.or_else(|| free.into_iter().find(|free| !taken.contains(&free.to_string())));
        let address = address.context("no address is left")?.to_string();
        ensure!(!taken.contains(&address), "address {address} is taken");
        fs::write(self.held(endpoint), &address)?;
        let (path, link) = (&endpoint.netns_path, &endpoint.interface);
        let end = outer(endpoint);
        run(&format!("ip link add {end} type veth peer name {link} netns {path}"))?;
        run(&format!("ip link set {end} master {BRIDGE} up"))?;
        for words in [
            format!("addr add {address}/24 dev {link}"),
            format!("link set {link} up"),
            "route add default via 10.99.0.1".to_owned(),
        ] {
            run(&format!("nsenter --net={path} ip {words}"))?;
        }
        Ok(JoinResponse {
            addresses: vec![format!("{address}/24")],
            gateways: vec!["10.99.0.1".into()],
            nameservers: vec!["10.99.0.53".into()],
            state: b"mine".to_vec(),
            ..JoinResponse::default()
        })
    }
}

#[tonic::async_trait]
impl DriverService for Driver {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        Ok(Response::new(GetCapabilitiesResponse { addresses: true, ..GetCapabilitiesResponse::default() }))
    }

    async fn create_network(
        &self,
        request: Request<CreateNetworkRequest>,
    ) -> Result<Response<CreateNetworkResponse>, Status> {
        let network = request.into_inner().network.unwrap_or_default();
        self.say(&format!("CreateNetwork {}", network.name));
        if let Some(why) = network.options.get("refuse") {
            return Err(Status::failed_precondition(why.clone()));
        }
        if run(&format!("ip link show {BRIDGE}")).is_err() {
            run(&format!("ip link add {BRIDGE} type bridge")).map_err(|error| told(&error))?;
            run(&format!("ip addr add 10.99.0.1/24 dev {BRIDGE}")).map_err(|error| told(&error))?;
            run(&format!("ip link set {BRIDGE} up")).map_err(|error| told(&error))?;
        }
        Ok(Response::new(CreateNetworkResponse {}))
    }

    async fn remove_network(
        &self,
        request: Request<RemoveNetworkRequest>,
    ) -> Result<Response<RemoveNetworkResponse>, Status> {
        self.say(&format!("RemoveNetwork {}", request.into_inner().network.unwrap_or_default().name));
        let _gone = run(&format!("ip link del {BRIDGE}"));
        Ok(Response::new(RemoveNetworkResponse {}))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        self.say("Join");
        if request.network.as_ref().is_some_and(|network| network.options.contains_key("hang")) {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        self.join(&request).map(Response::new).map_err(|error| told(&error))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let endpoint = request.into_inner().endpoint.unwrap_or_default();
        self.say("Leave");
        let _gone = run(&format!("ip link del {}", outer(&endpoint)));
        let _gone = fs::remove_file(self.held(&endpoint));
        Ok(Response::new(LeaveResponse {}))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        if request.state != b"mine" {
            return Err(Status::invalid_argument("this is not my state"));
        }
        let endpoint = request.endpoint.unwrap_or_default();
        let found =
            run(&format!("nsenter --net={} ip link show {}", endpoint.netns_path, endpoint.interface));
        found.map_err(|_| Status::failed_precondition("the link is gone"))?;
        Ok(Response::new(CheckResponse {}))
    }
}

fn outer(endpoint: &Endpoint) -> String {
    format!("ex{}", endpoint.id.get(..12).unwrap_or_default())
}

fn told(error: &anyhow::Error) -> Status {
    Status::internal(format!("{error:#}"))
}

fn run(line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
