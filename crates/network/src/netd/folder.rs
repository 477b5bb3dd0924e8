//! Writing and reading the files. Writing is two system calls beside the bytes (a temporary name, a rename) and no
//! flush; blocking, but only as a tmpfs blocks.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message as _;

use super::message::Record;
use super::record::{Endpoint, Network, Ruleset};
use super::{FILE_BYTES_MAX, FOLDER, NetdError, Status};

/// Bytes of an id at the most.
const ID_BYTES_MAX: usize = 128;

/// A file that could not be understood, beside those that could.
#[derive(Debug)]
pub struct Unreadable {
    /// The id that is its name.
    pub id: String,
    /// Why.
    pub error: NetdError,
}

/// netd's folder beneath a state folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder beneath `state`, made with everything in it where it is missing.
    pub fn create(state: &Path) -> Result<Self, NetdError> {
        let folder = Self { root: state.join(FOLDER) };
        for path in [folder.root.clone(), folder.networks_path(), folder.endpoints_path()] {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(NetdError::File { action: "make folder", path, source: error });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where the networks' files are.
    pub fn networks_path(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Where the endpoints' files are.
    pub fn endpoints_path(&self) -> PathBuf {
        self.root.join("endpoints")
    }

    /// Writes what the table has before there is any network.
    pub fn write_ruleset(&self, ruleset: &Ruleset) -> Result<(), NetdError> {
        self.write(&self.root.join("ruleset"), ruleset)
    }

    /// Writes a network's file.
    pub fn write_network(&self, network: &Network) -> Result<(), NetdError> {
        self.write(&self.network_path(&network.id)?, network)
    }

    /// Writes an endpoint's file.
    pub fn write_endpoint(&self, endpoint: &Endpoint) -> Result<(), NetdError> {
        self.write(&self.endpoint_path(&endpoint.id)?, endpoint)
    }

    /// Writes netd's account of itself.
    pub fn write_status(&self, status: &Status) -> Result<(), NetdError> {
        self.write(&self.root.join("status"), status)
    }

    /// Removes a network's file; nothing happens where there is none.
    pub fn remove_network(&self, id: &str) -> Result<(), NetdError> {
        remove(self.network_path(id)?)
    }

    /// Removes an endpoint's file; nothing happens where there is none.
    pub fn remove_endpoint(&self, id: &str) -> Result<(), NetdError> {
        remove(self.endpoint_path(id)?)
    }

    /// What the table has before there is any network; `None` where it was never written.
    pub fn ruleset(&self) -> Result<Option<Ruleset>, NetdError> {
        read(&self.root.join("ruleset"))
    }

    /// One network; `None` where there is none of that id.
    pub fn network(&self, id: &str) -> Result<Option<Network>, NetdError> {
        read(&self.network_path(id)?)
    }

    /// One endpoint; `None` where there is none of that id.
    pub fn endpoint(&self, id: &str) -> Result<Option<Endpoint>, NetdError> {
        read(&self.endpoint_path(id)?)
    }

    /// What netd says of itself; `None` where none ever served.
    pub fn status(&self) -> Result<Option<Status>, NetdError> {
        read(&self.root.join("status"))
    }

    /// The ids of all networks, sorted.
    pub fn network_ids(&self) -> Result<Vec<String>, NetdError> {
        ids(&self.networks_path())
    }

    /// The ids of all endpoints, sorted.
    pub fn endpoint_ids(&self) -> Result<Vec<String>, NetdError> {
        ids(&self.endpoints_path())
    }

    /// Every network that can be read, in the order of ids, and those that cannot.
    pub fn networks(&self) -> Result<(Vec<Network>, Vec<Unreadable>), NetdError> {
        Ok(sort_out(self.network_ids()?, |id| self.network(id)))
    }

    /// Every endpoint that can be read, in the order of ids, and those that cannot.
    pub fn endpoints(&self) -> Result<(Vec<Endpoint>, Vec<Unreadable>), NetdError> {
        Ok(sort_out(self.endpoint_ids()?, |id| self.endpoint(id)))
    }

    fn network_path(&self, id: &str) -> Result<PathBuf, NetdError> {
        Ok(self.networks_path().join(check_id(id)?))
    }

    fn endpoint_path(&self, id: &str) -> Result<PathBuf, NetdError> {
        Ok(self.endpoints_path().join(check_id(id)?))
    }

    /// The temporary name is in netd's own folder, which is not watched.
    fn write(&self, path: &Path, record: &impl Record) -> Result<(), NetdError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let new = self.root.join(format!(".new-{}-{serial}", std::process::id()));
        let bytes = record.to_message().encode_to_vec();
        let fail = |action, path: &Path, source| NetdError::File { action, path: path.to_owned(), source };
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(|source| fail("write", &new, source));
        let moved =
            written.and_then(|()| fs::rename(&new, path).map_err(|source| fail("rename", path, source)));
        if moved.is_err() {
            // Nothing else can be done about it, and the next write of this process takes another name.
            let _ = fs::remove_file(&new);
        }
        moved
    }
}

fn remove(path: PathBuf) -> Result<(), NetdError> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetdError::File { action: "remove", path, source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read<R: Record>(path: &Path) -> Result<Option<R>, NetdError> {
    let fail = |action, source| NetdError::File { action, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fail("open", source)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|source| fail("read", source))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(NetdError::TooLarge { path: path.to_owned() });
    }
    let message = R::Message::decode(bytes.as_slice())
        .map_err(|source| NetdError::Damaged { path: path.to_owned(), source })?;
    R::from_message(message, path).map(Some)
}

/// A file that went between the listing and the reading is in neither list.
fn sort_out<R>(
    ids: Vec<String>,
    read: impl Fn(&str) -> Result<Option<R>, NetdError>,
) -> (Vec<R>, Vec<Unreadable>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for id in ids {
        match read(&id) {
            Ok(found) => good.extend(found),
            Err(error) => bad.push(Unreadable { id, error }),
        }
    }
    (good, bad)
}

fn ids(path: &Path) -> Result<Vec<String>, NetdError> {
    let fail = |source| NetdError::File { action: "list", path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        found.extend(name.to_str().filter(|name| check_id(name).is_ok()).map(str::to_owned));
    }
    found.sort_unstable();
    Ok(found)
}

fn check_id(id: &str) -> Result<&str, NetdError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(id);
    }
    Err(NetdError::Id { id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::Protocol;

    use crate::netd::{ListenerStatus, Port};

    fn network() -> Network {
        Network {
            id: "n1".to_owned(),
            name: "front".to_owned(),
            bridge: "gbr0".to_owned(),
            gateways: vec!["10.1.0.1".parse().expect("v4"), "fd00::1".parse().expect("v6")],
            subnets: vec!["10.1.0.0/24".parse().expect("v4"), "fd00::/64".parse().expect("v6")],
            internal: true,
            dns: true,
            rules: vec![1, 2, 3, 4],
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            id: "e1".to_owned(),
            network: "n1".to_owned(),
            container: "c1".to_owned(),
            addresses: vec!["10.1.0.2".parse().expect("v4"), "fd00::2".parse().expect("v6")],
            names: vec!["web".to_owned(), "www".to_owned()],
            ports: vec![Port { name: "http".to_owned(), protocol: Protocol::Tcp, number: 80 }],
            dns_servers: vec!["192.0.2.1:53".parse().expect("v4")],
            rules: vec![9; 40],
        }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let state = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::create(state.path()).expect("created");
        (state, folder)
    }

    #[test]
    fn what_is_written_is_read_again_and_gone_when_removed() {
        let (state, folder) = folder();
        Folder::create(state.path()).expect("a second time");
        folder.write_network(&network()).expect("written");
        folder.write_endpoint(&endpoint()).expect("written");
        let ruleset = Ruleset { rules: vec![7; 16] };
        folder.write_ruleset(&ruleset).expect("written");
        assert_eq!(folder.network("n1").expect("read"), Some(network()));
        assert_eq!(folder.endpoints().expect("read").0, vec![endpoint()]);
        assert_eq!(folder.ruleset().expect("read"), Some(ruleset));
        folder.remove_endpoint("e1").expect("removed");
        folder.remove_endpoint("e1").expect("a second time");
        assert_eq!(folder.endpoint("e1").expect("read"), None);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("listed").flatten().collect();
        assert_eq!(left.len(), 3, "no temporary file stays: {left:?}");
    }

    #[test]
    fn the_status_survives_its_file() {
        let (_state, folder) = folder();
        let status = Status {
            pid: 7,
            listeners: vec![ListenerStatus {
                network: "n1".to_owned(),
                address: "10.1.0.1:53".parse().expect("an address"),
                failure: "taken".to_owned(),
            }],
            heals: 2,
            last_heal_us: 900,
            heal_failure: String::new(),
            left_out: vec!["endpoints/e1: damaged".to_owned()],
            upstreams: vec!["127.0.0.53:53".parse().expect("an address")],
        };
        assert_eq!(folder.status().expect("read"), None);
        folder.write_status(&status).expect("written");
        assert_eq!(folder.status().expect("read"), Some(status));
    }

    #[test]
    fn a_damaged_file_is_told_and_the_others_are_read() {
        let (_state, folder) = folder();
        folder.write_endpoint(&endpoint()).expect("written");
        fs::write(folder.endpoints_path().join("e0"), [0xff; 9]).expect("written");
        fs::write(folder.endpoints_path().join("e2"), [8, 99]).expect("written");
        fs::write(folder.endpoints_path().join(".new"), b"").expect("written");
        let (good, bad) = folder.endpoints().expect("read");
        assert_eq!(good, vec![endpoint()]);
        assert_eq!(bad.len(), 2);
        assert!(matches!(bad[0].error, NetdError::Damaged { .. }), "{:?}", bad[0]);
        assert!(matches!(bad[1].error, NetdError::Version { found: 99, .. }), "{:?}", bad[1]);
    }

    #[test]
    fn an_id_that_is_a_path_is_refused() {
        let (_state, folder) = folder();
        for id in ["", ".", "..", "../x", "a/b", "a.b", "a\0"] {
            assert!(matches!(folder.endpoint(id), Err(NetdError::Id { .. })), "{id:?}");
        }
    }
}
