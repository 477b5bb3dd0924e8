//! How does a test make a real registry fail in the middle? By standing between it and the daemon: a TCP proxy that
//! counts what passes and cuts the connections when a test says so.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// A proxy in front of a registry. Its thread ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// Bytes of answers that may still pass; then every connection is cut.
    allowance: AtomicU64,
    /// Bytes of answers that passed.
    passed: AtomicU64,
    closed: AtomicU64,
}

impl Proxy {
    /// Starts a proxy for the registry at `target` that lets everything pass.
    pub fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: target.parse()?,
            allowance: AtomicU64::new(u64::MAX),
            passed: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        });
        let owned = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if owned.closed.load(Ordering::SeqCst) == 1 {
                    return;
                }
                let shared = Arc::clone(&owned);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// `127.0.0.1:<port>` of the proxy.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Cuts every connection once so many more bytes of answers have passed.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.allowance.store(bytes, Ordering::SeqCst);
    }

    /// Lets everything pass (again) and counts from zero.
    pub fn mend(&self) {
        self.shared.passed.store(0, Ordering::SeqCst);
        self.shared.allowance.store(u64::MAX, Ordering::SeqCst);
    }

    /// How many bytes of answers passed since the last `mend`.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let (Ok(mut requests), Ok(mut upstream)) = (client.try_clone(), server.try_clone()) else { return };
        thread::spawn(move || {
            let _ = std::io::copy(&mut requests, &mut upstream);
            let _ = upstream.shutdown(Shutdown::Both);
        });
        self.answer(server, client);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn answer(&self, mut server: TcpStream, mut client: &TcpStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let left = self.allowance.load(Ordering::SeqCst);
            let pass = usize::try_from(left).unwrap_or(usize::MAX).min(count);
            if left != u64::MAX {
                self.allowance.fetch_sub(pass as u64, Ordering::SeqCst);
            }
            self.passed.fetch_add(pass as u64, Ordering::SeqCst);
            if client.write_all(&buffer[..pass]).is_err() || pass < count {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(1, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}
