//! Networks: joins the engine (`gantry_network`), the store's rows and the files that gantry-netd reads.
//!
//! What is asked and what is given (names, subnets, addresses, ports) is in [`tables`], decided within
//! transactions: [`address`], [`port`], [`taken`], [`record`]. What follows from an owner's rows is in [`places`]; what the
//! kernel and netd have of it is made by [`bridges`] and [`kernel`] and taken away by them, each step repeatable; an endpoint's file beneath `<state>/netd` is the mark
//! that the kernel may have something of it. Links that are somebody else's to make ([`driver`]: CNI plugins and other
//! programs) have rows of their own ([`attachment`]) and an order of their own ([`foreign`]). [`pool`] keeps network namespaces ready, [`keeper`] keeps netd alive.

pub(crate) mod address;
pub(crate) mod attachment;
mod bridges;
mod claim;
mod driver;
pub(crate) mod facts;
pub(crate) mod foreign;
pub(crate) mod keeper;
pub(crate) mod kernel;
pub(crate) mod living;
pub(crate) mod mend;
mod parent;
pub(crate) mod places;
pub(crate) mod pool;
pub(crate) mod port;
mod problem;
pub(crate) mod record;
mod reset;
pub(crate) mod sandbox;
pub(crate) mod sweep;
pub(crate) mod tables;
mod taken;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use gantry_network::Host;
use gantry_network::netd::Folder;
use gantry_types::{EndpointId, NetworkId};

pub(crate) use driver::DriverProblem;
pub(crate) use problem::NetworkProblem;

use crate::blocking::Blocking;
use crate::config;
use crate::error::Error;

/// Links that CNI plugins are waited for at once.
pub(crate) const PLUGINS_MAX: usize = 16;

/// What the daemon holds of networks beside the rows.
#[derive(Debug)]
pub(crate) struct Networks {
    pub config: config::Networks,
    pub cursors: address::Cursors,
    pub pool: pool::Pool,
    pub keeper: keeper::Keeper,
    host: Host,
    folder: Folder,
    state: PathBuf,
    /// Where CNI plugins are waited for.
    plugins: Blocking,
    /// Networks whose drivers know of them.
    announced: Mutex<HashSet<NetworkId>>,
    /// What was done since this daemon started; each network by itself waits for itself.
    up: Mutex<HashMap<NetworkId, Arc<Mutex<Option<bridges::Up>>>>>,
    /// The right to the table and to `gantry0`, once it was taken.
    claimed: Mutex<Option<claim::Claim>>,
    /// Whether the table has its base and the host forwards.
    prepared: Mutex<bool>,
    /// Places whose names are gone and whose rules are not yet.
    unnamed: Mutex<HashSet<EndpointId>>,
}

impl Networks {
    /// Nothing is made before it is needed but the folder.
    pub(crate) fn new(config: &config::Networks, state: &Path) -> Result<Self, Error> {
        Ok(Self {
            config: config.clone(),
            cursors: address::Cursors::default(),
            pool: pool::Pool::new(config.namespaces_ready),
            keeper: keeper::Keeper::new(config, state),
            host: Host::new(),
            state: state.to_owned(),
            plugins: Blocking::new(PLUGINS_MAX),
            announced: Mutex::default(),
            folder: Folder::create(state)?,
            up: Mutex::default(),
            claimed: Mutex::default(),
            prepared: Mutex::default(),
            unnamed: Mutex::default(),
        })
    }

    /// The subnets that the host reaches by its routes.
    pub(crate) fn routed(&self) -> Result<Vec<ipnet::IpNet>, Error> {
        Ok(self.host.routed_subnets()?)
    }
}
