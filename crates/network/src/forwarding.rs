//! What has to be true of the host before a packet of a container can leave? It forwards. An IPv6 host that starts
//! to forward stops hearing its own routers (addrconf), so the links that heard them are told to go on.

use crate::error::Result;
use crate::host::Host;
use crate::setting;

impl Host {
    /// Lets the host forward packets of a family; nothing to do when it does. Never switched off again: who
    /// else relies on it is not known.
    pub fn enable_forwarding(&self, ipv6: bool) -> Result<()> {
        if !ipv6 {
            return switch_on("ipv4/ip_forward");
        }
        let all = "ipv6/conf/all/forwarding";
        if setting::read(all)? == "1" {
            return Ok(());
        }
        for link in setting::entries("ipv6/conf")? {
            let accept = format!("ipv6/conf/{link}/accept_ra");
            // 1 is "unless forwarding", 2 is "even then". The defaults are not touched: links to come are not ours.
            let hears = !matches!(link.as_str(), "all" | "default") && setting::read(&accept)? == "1";
            if hears {
                setting::write_if_there(&accept, "2")?;
            }
        }
        switch_on(all)
    }
}

fn switch_on(path: &str) -> Result<()> {
    if setting::read(path)? == "1" { Ok(()) } else { setting::write(path, "1") }
}
