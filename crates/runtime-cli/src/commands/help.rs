//! `--help` and `--version`. Callers read the version's first line and the `spec:` one, as runc prints them.

use super::Outcome;
use crate::output;
use crate::record::OCI_VERSION;

const HELP: &str = "\
gantry-runtime runs containers from OCI bundles, with runc's command line.

usage: gantry-runtime [GLOBAL OPTIONS] COMMAND [OPTIONS] CONTAINER

  create     set a container up; its command waits
  start      run the command of a created container
  run        create and start; wait for the end, or --detach
  exec       run another process in a container
  kill       send a signal
  delete     remove what a container left
  state      print a container's state
  list       print all containers
  ps         print a container's processes
  pause      hold every process still
  resume     let them go on
  update     change limits
  events     print statistics and out-of-memory events
  checkpoint write a container's processes to a folder, through CRIU
  restore    make a container from that folder
  spec       write a config.json to begin with
  features   print what this runtime knows

global options:
  --root DIR           where the containers' state is (default /run/gantry-runtime)
  --log FILE           where failures are logged
  --log-format FORMAT  text or json
  --debug              log decisions too
  --cgroup-manager M   cgroupfs, or systemd as with --systemd-cgroup
  --criu FILE          the CRIU program; otherwise the one in PATH
  --rootless BOOL      control groups that may not be made are done without
";

pub(super) fn help() -> Outcome {
    output::text(HELP)?;
    Ok(None)
}

pub(super) fn version() -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    output::text(&format!("gantry-runtime version {version}\nspec: {OCI_VERSION}\n"))?;
    Ok(None)
}
