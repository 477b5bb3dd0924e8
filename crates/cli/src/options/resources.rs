//! The flags of resources, which `run`, `create` and `update` share.

use clap::Args;
use gantry_api::containers::v1::Resources;

use crate::failure::Failure;
use crate::parse::number::{pids, processors, size, size_or_unlimited};

/// Flags of resources that a container may be given while it runs.
#[derive(Debug, Args)]
pub(crate) struct ResourceFlags {
    /// Memory, such as 512m
    #[arg(short, long, value_name = "SIZE", value_parser = size_or_unlimited, allow_hyphen_values = true)]
    memory: Option<u64>,
    /// Memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = size_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<u64>,
    /// Memory below which it is not reclaimed first
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_reservation: Option<u64>,
    /// Processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = processors)]
    cpus: Option<u64>,
    /// Relative weight of processor time
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Processors it may use, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// Relative weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u32>,
}

impl ResourceFlags {
    /// What they ask for; no limit is the same as not asking.
    pub(crate) fn resources(&self) -> Result<Resources, Failure> {
        let pids_max = match &self.pids_limit {
            Some(text) => pids(text).map_err(Failure::new)?,
            None => None,
        };
        Ok(Resources {
            memory_bytes: self.memory.filter(|bytes| *bytes != u64::MAX),
            memory_swap_bytes: self.memory_swap,
            memory_reservation_bytes: self.memory_reservation,
            nano_cpus: self.cpus,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids_max,
            blkio_weight: self.blkio_weight,
        })
    }

    /// The names of the fields that they say something about, if only that there is no limit.
    pub(crate) fn fields(&self) -> Vec<String> {
        let given = [
            ("memory_bytes", self.memory.is_some()),
            ("memory_swap_bytes", self.memory_swap.is_some()),
            ("memory_reservation_bytes", self.memory_reservation.is_some()),
            ("nano_cpus", self.cpus.is_some()),
            ("cpu_shares", self.cpu_shares.is_some()),
            ("cpuset_cpus", self.cpuset_cpus.is_some()),
            ("cpuset_mems", self.cpuset_mems.is_some()),
            ("pids_max", self.pids_limit.is_some()),
            ("blkio_weight", self.blkio_weight.is_some()),
        ];
        given.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned()).collect()
    }
}
