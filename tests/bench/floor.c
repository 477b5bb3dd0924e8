/*
 * How fast can a container start and end at all? The same kernel work as a container engine does for one container, in
 * bare system calls and nothing else: no spec, no supervisor, no log, no record of anything. It runs in the same minute
 * as the engines, because only ratios hold on a virtual machine.
 *
 *   floor run ROOT WORK COUNT WORKERS FILTER PROGRAM [BRIDGE]   prints the microseconds of each of COUNT containers
 *   floor filter PID                                            writes the seccomp filter of a process, in FILTER's format
 *
 * ROOT is the lower layer, WORK an empty folder on the same file system, FILTER a file of struct sock_filter or "-".
 * One container: upper and work folders, cgroups (v1: all hierarchies; v2: CLONE_INTO_CGROUP), clone3 with six new
 * namespaces, overlay, the default mounts of the OCI runtime specification, pivot_root, seccomp, exec, wait, and all of
 * it removed again. With the name of a bridge, it gets a veth link on it too, made in its final place by one netlink
 * message, with an address and a default route by another one; the namespace's end takes the link.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HIERARCHIES_MAX 16

static char hierarchies[HIERARCHIES_MAX][PATH_MAX];
static int hierarchy_count;
static int unified;
static struct sock_fprog filter;
/* The number of the container under way in this worker. */
static int current;
/* The index of the bridge; 0 for none. */
static unsigned int bridge;
/* Messages for rtnetlink(7), one after the other. */
static struct {
    _Alignas(NLMSG_ALIGNTO) char bytes[1024];
    size_t length, start;
    int count;
} batch;

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void check(int result, const char *what)
{
    if (result < 0)
        fail(what);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd, path);
    check(write(fd, text, strlen(text)), path);
    close(fd);
}

static __attribute__((format(printf, 2, 3))) void path_of(char *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, PATH_MAX, format, arguments);
    va_end(arguments);
}

static void find_hierarchies(void)
{
    char device[PATH_MAX], target[PATH_MAX], kind[64], line[3 * PATH_MAX];
    FILE *mounts = fopen("/proc/self/mounts", "re");
    int v2 = -1;
    while (mounts && fgets(line, sizeof line, mounts) && hierarchy_count < HIERARCHIES_MAX) {
        if (sscanf(line, "%4095s %4095s %63s", device, target, kind) != 3 || strncmp(kind, "cgroup", 6))
            continue;
        if (!strcmp(kind, "cgroup2"))
            v2 = hierarchy_count;
        strcpy(hierarchies[hierarchy_count++], target);
    }
    if (mounts)
        fclose(mounts);
    /* Beside v1 hierarchies an empty v2 one decides nothing, and engines leave it alone. */
    unified = hierarchy_count == 1 && v2 == 0;
    if (!unified && v2 >= 0)
        memmove(hierarchies[v2], hierarchies[--hierarchy_count], PATH_MAX);
}

static void mount_at(const char *source, const char *target, const char *kind, unsigned long flags, const char *data)
{
    check(mount(source, target, kind, flags, data), target);
}

static void device(const char *name, unsigned int major_number, unsigned int minor_number)
{
    char path[PATH_MAX];
    path_of(path, "dev/%s", name);
    check(mknod(path, S_IFCHR | 0666, makedev(major_number, minor_number)), path);
}

static void *append(const void *bytes, size_t length)
{
    void *place = batch.bytes + batch.length;
    if (bytes)
        memcpy(place, bytes, length);
    batch.length += NLMSG_ALIGN(length);
    return place;
}

static void begin_message(int type, int flags, const void *body, size_t length)
{
    struct nlmsghdr header = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags };
    batch.start = batch.length;
    append(&header, sizeof header);
    append(body, length);
}

static void end_message(void)
{
    ((struct nlmsghdr *)(batch.bytes + batch.start))->nlmsg_len = batch.length - batch.start;
    batch.count++;
}

static void attribute(int type, const void *value, size_t length)
{
    struct rtattr header = { .rta_type = type, .rta_len = RTA_LENGTH(length) };
    append(&header, sizeof header);
    append(value, length);
}

static struct rtattr *begin_nest(int type)
{
    struct rtattr header = { .rta_type = type };
    return append(&header, sizeof header);
}

static void end_nest(struct rtattr *nest)
{
    nest->rta_len = batch.bytes + batch.length - (char *)nest;
}

/* Sends all messages at once; the kernel answers each. */
static void send_batch(const char *what)
{
    struct { struct nlmsghdr header; struct nlmsgerr error; char more[512]; } answer;
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    check(netlink, "rtnetlink");
    check(send(netlink, batch.bytes, batch.length, 0), what);
    for (; batch.count; batch.count--) {
        check(recv(netlink, &answer, sizeof answer, 0), what);
        errno = -answer.error.error;
        check(answer.error.error, what);
    }
    close(netlink);
    batch.length = 0;
}

/* The link, with its other end in the child's network namespace. */
static void make_link(pid_t pid)
{
    char name[IFNAMSIZ];
    struct ifinfomsg up = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, plain = { 0 };
    snprintf(name, sizeof name, "f%d-%d", (int)getpid(), current);
    begin_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof up);
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    attribute(IFLA_MASTER, &bridge, sizeof bridge);
    struct rtattr *info = begin_nest(IFLA_LINKINFO);
    attribute(IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = begin_nest(IFLA_INFO_DATA), *peer = begin_nest(VETH_INFO_PEER);
    append(&plain, sizeof plain);
    attribute(IFLA_IFNAME, "eth0", 5);
    attribute(IFLA_NET_NS_PID, &pid, sizeof pid);
    end_nest(peer), end_nest(data), end_nest(info);
    end_message();
    send_batch("a veth link on the bridge");
}

/* In the container: 10.213.0.2 and up, by turns, behind 10.213.0.1. */
static void give_address(void)
{
    const unsigned char gateway[4] = { 10, 213, 0, 1 };
    const unsigned char address[4] = { 10, 213, current / 250 % 256, 2 + current % 250 };
    int link = if_nametoindex("eth0");
    const struct ifinfomsg up[2] = {
        { .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP },
        { .ifi_index = link, .ifi_flags = IFF_UP, .ifi_change = IFF_UP },
    };
    struct ifaddrmsg own = { .ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = link };
    struct rtmsg route = {
        .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST,
    };
    for (size_t i = 0; i < sizeof up / sizeof *up; i++) {
        begin_message(RTM_NEWLINK, 0, &up[i], sizeof up[i]);
        end_message();
    }
    begin_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &own, sizeof own);
    attribute(IFA_LOCAL, address, sizeof address);
    attribute(IFA_ADDRESS, address, sizeof address);
    end_message();
    begin_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route);
    attribute(RTA_GATEWAY, gateway, sizeof gateway);
    end_message();
    send_batch("an address and a route");
}

static void default_mounts(void)
{
    static const char *const read_only[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
    static const char *const masked_files[] = { "proc/kcore", "proc/keys", "proc/timer_list", "proc/interrupts" };
    static const char *const masked_folders[] = { "proc/acpi", "proc/scsi", "sys/firmware" };
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;

    mount_at("proc", "proc", "proc", safe, NULL);
    mount_at("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    check(mkdir("dev/pts", 0755), "dev/pts");
    check(mkdir("dev/shm", 01777), "dev/shm");
    check(mkdir("dev/mqueue", 0755), "dev/mqueue");
    mount_at("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_at("shm", "dev/shm", "tmpfs", safe, "mode=1777,size=65536k");
    mount_at("mqueue", "dev/mqueue", "mqueue", safe, NULL);
    mount_at("sysfs", "sys", "sysfs", safe | MS_RDONLY, NULL);
    device("null", 1, 3), device("zero", 1, 5), device("full", 1, 7);
    device("random", 1, 8), device("urandom", 1, 9), device("tty", 5, 0);
    check(symlink("pts/ptmx", "dev/ptmx"), "dev/ptmx");
    check(symlink("/proc/self/fd", "dev/fd"), "dev/fd");
    check(symlink("/proc/self/fd/0", "dev/stdin"), "dev/stdin");
    check(symlink("/proc/self/fd/1", "dev/stdout"), "dev/stdout");
    check(symlink("/proc/self/fd/2", "dev/stderr"), "dev/stderr");
    /* Which of these there are depends on the kernel; engines skip the missing ones too. */
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (errno != ENOENT)
                fail(read_only[i]);
            continue;
        }
        mount_at(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL);
    }
    for (size_t i = 0; i < sizeof masked_files / sizeof *masked_files; i++)
        if (mount("dev/null", masked_files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            fail(masked_files[i]);
    for (size_t i = 0; i < sizeof masked_folders / sizeof *masked_folders; i++)
        if (mount("tmpfs", masked_folders[i], "tmpfs", MS_RDONLY, "size=0k") < 0 && errno != ENOENT)
            fail(masked_folders[i]);
}

static void child(const char *root, const char *own, const char *program, int go)
{
    char options[3 * PATH_MAX], merged[PATH_MAX], byte;
    char *const arguments[] = { (char *)program, NULL };
    char *const environment[] = { "PATH=/bin", NULL };

    /* On v1 the parent puts this process into its cgroups first. */
    if (read(go, &byte, 1) != 1)
        _exit(1);
    if (bridge)
        give_address();
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    path_of(merged, "%s/merged", own);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", root, own, own);
    mount_at("overlay", merged, "overlay", 0, options);
    check(chdir(merged), merged);
    default_mounts();
    check(sethostname("floor", 5), "host name");
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "the old root");
    check(chdir("/"), "/");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    if (filter.len)
        check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), "seccomp");
    execve(program, arguments, environment);
    fail(program);
}

/* Removes what the kernel made in the work folder ("work/work") too. */
static void remove_own(const char *own)
{
    static const char *const folders[] = { "work/work", "work", "upper", "merged", "" };
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        path_of(path, "%s/%s", own, folders[i]);
        if (rmdir(path) < 0 && errno != ENOENT)
            fail(path);
    }
}

static void make_folder(const char *own, const char *name)
{
    char path[PATH_MAX];
    path_of(path, "%s/%s", own, name);
    check(mkdir(path, 0755), path);
}

/* An empty cpuset takes nobody: engines fill it from its parent. */
static void fill_cpuset(const char *hierarchy, const char *name)
{
    char path[PATH_MAX], value[256];
    path_of(path, "%s/%s", hierarchy, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t length = read(fd, value, sizeof value - 1);
    close(fd);
    value[length > 0 ? length : 0] = 0;
    path_of(path, "%s/gantry-floor-%d-%d/%s", hierarchy, (int)getpid(), current, name);
    write_file(path, value);
}

static void join_cgroups(pid_t pid)
{
    char path[PATH_MAX], text[32];
    snprintf(text, sizeof text, "%d", pid);
    for (int i = 0; i < hierarchy_count; i++) {
        fill_cpuset(hierarchies[i], "cpuset.cpus");
        fill_cpuset(hierarchies[i], "cpuset.mems");
        path_of(path, "%s/gantry-floor-%d-%d/cgroup.procs", hierarchies[i], (int)getpid(), current);
        write_file(path, text);
    }
}

static void container(const char *root, const char *work, int number, const char *program)
{
    char own[PATH_MAX - 16], path[PATH_MAX];
    int go[2], pidfd = -1, cgroup = -1;
    siginfo_t info;

    current = number;
    snprintf(own, sizeof own, "%s/%d-%d", work, (int)getpid(), number);
    make_folder(own, "");
    make_folder(own, "upper");
    make_folder(own, "work");
    make_folder(own, "merged");
    for (int i = 0; i < hierarchy_count; i++) {
        path_of(path, "%s/gantry-floor-%d-%d", hierarchies[i], (int)getpid(), number);
        check(mkdir(path, 0755), path);
    }
    check(pipe2(go, O_CLOEXEC), "pipe");
    struct clone_args arguments = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_PIDFD,
        .pidfd = (uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    if (unified) {
        cgroup = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        check(cgroup, path);
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup;
    }
    pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    check(pid, "clone3");
    if (pid == 0) {
        close(go[1]);
        child(root, own, program, go[0]);
    }
    if (!unified)
        join_cgroups(pid);
    if (bridge)
        make_link(pid);
    check(write(go[1], "", 1), "go");
    check(waitid(P_PIDFD, pidfd, &info, WEXITED), "waitid");
    if (info.si_code != CLD_EXITED || info.si_status != 0) {
        fprintf(stderr, "floor: the container ended with %d\n", info.si_status);
        _exit(1);
    }
    close(go[0]), close(go[1]), close(pidfd);
    if (cgroup >= 0)
        close(cgroup);
    for (int i = 0; i < hierarchy_count; i++) {
        path_of(path, "%s/gantry-floor-%d-%d", hierarchies[i], (int)getpid(), number);
        check(rmdir(path), path);
    }
    remove_own(own);
}

static long microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static void read_filter(const char *path)
{
    static struct sock_filter program[BPF_MAXINSNS];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd, path);
    ssize_t length = read(fd, program, sizeof program);
    check(length, path);
    close(fd);
    filter.len = length / sizeof *program;
    filter.filter = program;
}

static int dump_filter(pid_t pid)
{
    static struct sock_filter program[BPF_MAXINSNS];
    check(ptrace(PTRACE_SEIZE, pid, 0, 0), "PTRACE_SEIZE");
    check(ptrace(PTRACE_INTERRUPT, pid, 0, 0), "PTRACE_INTERRUPT");
    check(waitpid(pid, NULL, __WALL), "waiting for the process to stop");
    long length = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, program);
    check(length, "PTRACE_SECCOMP_GET_FILTER");
    check(ptrace(PTRACE_DETACH, pid, 0, 0), "PTRACE_DETACH");
    return fwrite(program, sizeof *program, length, stdout) == (size_t)length ? 0 : 1;
}

int main(int count, char **words)
{
    if (count == 3 && !strcmp(words[1], "filter"))
        return dump_filter(atoi(words[2]));
    if (count < 8 || count > 9 || strcmp(words[1], "run")) {
        fprintf(stderr, "usage: floor run ROOT WORK COUNT WORKERS FILTER PROGRAM [BRIDGE] | floor filter PID\n");
        return 2;
    }
    if (count == 9) {
        bridge = if_nametoindex(words[8]);
        check(bridge ? 0 : -1, words[8]);
    }
    find_hierarchies();
    if (strcmp(words[6], "-"))
        read_filter(words[6]);
    int containers = atoi(words[4]), workers = atoi(words[5]), status = 0;
    for (int worker = 0; worker < workers; worker++) {
        pid_t pid = fork();
        check(pid, "fork");
        if (pid)
            continue;
        for (int number = 0; number < containers / workers; number++) {
            long start = microseconds();
            container(words[2], words[3], number, words[7]);
            /* One write a line, so that lines of several workers do not mix. */
            dprintf(STDOUT_FILENO, "%ld\n", microseconds() - start);
        }
        _exit(0);
    }
    for (int worker = 0; worker < workers; worker++) {
        int ended;
        check(wait(&ended), "wait");
        status |= ended;
    }
    return status != 0;
}
