//! How is Gantry measured? As a program would use it, with one gRPC connection, and as a person would, with the command
//! line. Its daemon is a private one of the release build.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gantry_api::connect::{Address, connect};
use gantry_api::containers::v1 as api;
use gantry_api::containers::v1::container_service_client::ContainerServiceClient;
use gantry_api::networks::v1::{NetworkAttachment, PublishedPort};
use gantry_tests::daemon::Daemon;
use gantry_tests::network::end_netd;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::stats::Samples;
use crate::{Bench, volatile};

/// The folder of a private daemon that `/run/gantry` is on a machine.
const STATE: &str = "run";

/// The user-defined network of the measurements that have one, by every engine.
pub(crate) const BRIDGE: &str = "bench";

/// Which network a measured container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nothing but loopback.
    None,
    /// A place on a bridge with names, and one published port that the engine picks.
    Bridge,
}

/// A private daemon and one connection to it.
pub(crate) struct Gantry {
    pub(crate) daemon: Daemon,
    image: String,
    runtime: Runtime,
    client: ContainerServiceClient<Channel>,
}

impl Gantry {
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let mut daemon = Daemon::prepare()?;
        daemon.set_log_level("warn");
        volatile::make(&daemon.path(STATE))?;
        daemon.restart()?;
        daemon.ok(&["pull", "-q", &bench.image])?;
        daemon.ok(&["pull", "-q", &bench.layered_image])?;
        daemon.ok(&["network", "create", BRIDGE])?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let address = Address::Unix(daemon.socket());
        let channel = runtime.block_on(connect(&address, None))?;
        Ok(Self { daemon, image: bench.image.clone(), runtime, client: ContainerServiceClient::new(channel) })
    }

    /// create + start + wait + delete, one after another on one connection.
    pub(crate) fn cycles(
        &self,
        image: &str,
        network: Network,
        count: usize,
        samples: &mut Samples,
    ) -> Result<()> {
        self.runtime.block_on(async {
            let mut client = self.client.clone();
            for _ in 0..count {
                let start = Instant::now();
                cycle(&mut client, image, network).await?;
                samples.push(start.elapsed());
            }
            Ok(())
        })
    }

    /// `/bin/true` in a running container, from the request to the exit code.
    pub(crate) fn execs(&self, id: &str, count: usize, samples: &mut Samples) -> Result<()> {
        self.runtime.block_on(async {
            let mut client = self.client.clone();
            for _ in 0..count {
                let start = Instant::now();
                exec(&mut client, id).await?;
                samples.push(start.elapsed());
            }
            Ok(())
        })
    }

    /// Stops the daemon, and fails if anything is left of it.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.daemon.ok(&["network", "rm", BRIDGE])?;
        // There are no containers any more, so nothing is in it that the next daemon would miss; and netd, which is known
        // by a file in it, must end first, and nobody be there to start another.
        self.daemon.stop()?;
        end_netd(&self.daemon)?;
        volatile::end(&self.daemon.path(STATE))?;
        self.daemon.finish()
    }

    /// `gantry run --rm` from the shell.
    pub(crate) fn command_line_cycle(&self) -> Result<()> {
        self.daemon.gantry(&["run", "--rm", &self.image, "/bin/true"])?.exits(0)?;
        Ok(())
    }

    /// Containers a second with eight clients, each with a connection of its own.
    pub(crate) fn throughput(&self, network: Network, count: usize) -> Result<f64> {
        const CLIENTS: usize = 8;
        let address = Address::Unix(self.daemon.socket());
        let image: Arc<str> = self.image.as_str().into();
        let took: Duration = self.runtime.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                clients.push(ContainerServiceClient::new(connect(&address, None).await?));
            }
            let start = Instant::now();
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|mut client| {
                    let image = Arc::clone(&image);
                    tokio::spawn(async move {
                        for _ in 0..count / CLIENTS {
                            cycle(&mut client, &image, network).await?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            for task in tasks {
                task.await??;
            }
            anyhow::Ok(start.elapsed())
        })?;
        Ok(crate::engines::per_second(count / CLIENTS * CLIENTS, took))
    }

    /// Starts containers that sleep; answers their ids.
    pub(crate) fn idle(&self, count: usize) -> Result<Vec<String>> {
        self.runtime.block_on(async {
            let mut client = self.client.clone();
            let mut ids = Vec::new();
            for _ in 0..count {
                let id = create(&mut client, &self.image, Network::None, &["/bin/sleep", "100000"]).await?;
                start(&mut client, &id).await?;
                ids.push(id);
            }
            Ok(ids)
        })
    }

    /// The image that is measured.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Starts containers that sleep on a network, one after the other; answers their ids.
    pub(crate) fn sleepers(&self, network: &str, count: usize, samples: &mut Samples) -> Result<Vec<String>> {
        self.runtime.block_on(async {
            let mut client = self.client.clone();
            let mut ids = Vec::new();
            for _ in 0..count {
                let began = Instant::now();
                let mut options = api::ContainerOptions::default();
                let args = ["/bin/sleep", "100000"].map(str::to_owned).to_vec();
                options.process = Some(api::ProcessOptions { args, ..Default::default() });
                options.set_network(api::NetworkMode::Networks);
                options.networks = vec![NetworkAttachment { network: network.into(), ..Default::default() }];
                let request = api::CreateContainerRequest {
                    image: self.image.clone(),
                    options: Some(options),
                    ..Default::default()
                };
                let answer = client.create_container(request).await?.into_inner();
                let id = answer.container.context("an answer has the container")?.id;
                start(&mut client, &id).await?;
                samples.push(began.elapsed());
                ids.push(id);
            }
            Ok(ids)
        })
    }

    pub(crate) fn remove(&self, ids: &[String]) -> Result<()> {
        self.runtime.block_on(async {
            let mut client = self.client.clone();
            for id in ids {
                let request =
                    api::RemoveContainerRequest { container: id.clone(), force: true, ..Default::default() };
                client.remove_container(request).await?;
            }
            Ok(())
        })
    }

    /// Connects to the daemon that runs now.
    pub(crate) fn reconnect(&mut self) -> Result<()> {
        let channel = self.runtime.block_on(connect(&Address::Unix(self.daemon.socket()), None))?;
        self.client = ContainerServiceClient::new(channel);
        Ok(())
    }

    /// From the start of a new daemon to its answer about all of so many containers of the killed one.
    pub(crate) fn recover(&mut self, count: usize) -> Result<Samples> {
        let ids = self.idle(count)?;
        let mut samples = Samples::default();
        for _ in 0..5 {
            self.daemon.kill()?;
            let start = Instant::now();
            self.daemon.launch()?;
            self.reconnect()?;
            let running = self.runtime.block_on(count_running(&mut self.client.clone()))?;
            samples.push(start.elapsed());
            ensure!(running == count, "{running} of {count} containers are running");
        }
        self.remove(&ids)?;
        Ok(samples)
    }
}

async fn count_running(client: &mut ContainerServiceClient<Channel>) -> Result<usize> {
    let request = api::ListContainersRequest { page_size: 1000, ..Default::default() };
    let containers = client.list_containers(request).await?.into_inner().containers;
    Ok(containers.iter().filter(|container| container.state == api::ContainerState::Running as i32).count())
}

async fn create(
    client: &mut ContainerServiceClient<Channel>,
    image: &str,
    network: Network,
    args: &[&str],
) -> Result<String> {
    let args = args.iter().map(|word| (*word).to_owned()).collect();
    let process = api::ProcessOptions { args, ..Default::default() };
    let mut options = api::ContainerOptions { process: Some(process), ..Default::default() };
    if network == Network::Bridge {
        options.set_network(api::NetworkMode::Networks);
        options.networks = vec![NetworkAttachment { network: BRIDGE.into(), ..Default::default() }];
        options.ports = vec![PublishedPort { container_port: 80, ..Default::default() }];
    }
    let request =
        api::CreateContainerRequest { image: image.into(), options: Some(options), ..Default::default() };
    let answer = client.create_container(request).await?.into_inner();
    Ok(answer.container.context("an answer has the container")?.id)
}

async fn start(client: &mut ContainerServiceClient<Channel>, id: &str) -> Result<()> {
    let request = api::StartContainerRequest { container: id.into(), ..Default::default() };
    client.start_container(request).await?;
    Ok(())
}

async fn exec(client: &mut ContainerServiceClient<Channel>, id: &str) -> Result<()> {
    use api::exec_container_request::Message as Ask;
    use api::exec_container_response::Message as Told;
    let process = api::ProcessOptions { args: vec!["/bin/true".to_owned()], ..Default::default() };
    let start = api::ExecStart { container: id.to_owned(), process: Some(process), ..Default::default() };
    let request = api::ExecContainerRequest { message: Some(Ask::Start(start)) };
    let mut answers = client.exec_container(tokio_stream::once(request)).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if let Some(Told::Exit(exit)) = answer.message {
            ensure!(exit.code == 0, "the process failed");
            return Ok(());
        }
    }
    anyhow::bail!("the stream ended without an exit")
}

async fn cycle(client: &mut ContainerServiceClient<Channel>, image: &str, network: Network) -> Result<()> {
    let id = create(client, image, network, &["/bin/true"]).await?;
    start(client, &id).await?;
    let request = api::WaitContainerRequest { container: id.clone(), ..Default::default() };
    let exit = client.wait_container(request).await?.into_inner().exit;
    ensure!(exit.is_some_and(|exit| exit.code == 0), "the container failed");
    client.remove_container(api::RemoveContainerRequest { container: id, ..Default::default() }).await?;
    Ok(())
}
