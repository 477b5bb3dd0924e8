//! Which instruction sets, and calling conventions of one, can a filter meet? A kernel of one machine also
//! runs its 32-bit sisters, and a filter that forgets one of them is no filter.

use oci_spec::runtime::Arch;

use super::syscalls::SYSCALLS;

/// The bit that marks a system call of the x32 convention (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// An architecture as seccomp profiles name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers; shares its audit number with [`Self::X86_64`].
    X32,
    /// 64-bit arm.
    Aarch64,
    /// 32-bit arm, EABI.
    Arm,
}

impl Architecture {
    /// The architecture this program was built for, when it is one that filters can be made for.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }

    /// The others that a kernel of this architecture may run programs of.
    pub fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm => &[],
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`, as `seccomp_data.arch` has it.
    pub(crate) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether the kernel takes only the low word of an argument register.
    pub(crate) fn narrow(self) -> bool {
        match self {
            Self::X86 | Self::Arm => true,
            Self::X86_64 | Self::X32 | Self::Aarch64 => false,
        }
    }

    /// The number of a system call, without the bit of x32.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        let row = SYSCALLS.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        let number = SYSCALLS[row].1[self.column()];
        (number != super::syscalls::NONE).then_some(number)
    }

    /// The multiplexed form of a call: the number of `socketcall` or `ipc` and the operation in its first
    /// argument (`linux/net.h`, `linux/ipc.h`). Only 32-bit x86 has them among our architectures.
    pub(crate) fn multiplexed(self, name: &str) -> Option<(u32, u64)> {
        const SOCKET: [&str; 20] = [
            "socket",
            "bind",
            "connect",
            "listen",
            "accept",
            "getsockname",
            "getpeername",
            "socketpair",
            "send",
            "recv",
            "sendto",
            "recvfrom",
            "shutdown",
            "setsockopt",
            "getsockopt",
            "sendmsg",
            "recvmsg",
            "accept4",
            "recvmmsg",
            "sendmmsg",
        ];
        const IPC: [(&str, u64); 12] = [
            ("semop", 1),
            ("semget", 2),
            ("semctl", 3),
            ("semtimedop", 4),
            ("msgsnd", 11),
            ("msgrcv", 12),
            ("msgget", 13),
            ("msgctl", 14),
            ("shmat", 21),
            ("shmdt", 22),
            ("shmget", 23),
            ("shmctl", 24),
        ];
        if self != Self::X86 {
            return None;
        }
        if let Some(position) = SOCKET.iter().position(|known| *known == name) {
            return Some((self.number("socketcall")?, position as u64 + 1));
        }
        let (_, operation) = IPC.iter().find(|(known, _)| *known == name)?;
        Some((self.number("ipc")?, *operation))
    }

    /// The name in an OCI spec.
    pub(crate) fn oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::X32 => Arch::ScmpArchX32,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }

    /// The name in the conditions of docker's profiles (Go's `GOARCH`).
    pub(crate) fn docker(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }
}
