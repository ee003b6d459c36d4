"""A plugin that tries to get out: each function is one attempt, which returns where it succeeds.

Its input names what there is to reach, as JSON. No attempt does harm where it succeeds.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import struct
import subprocess

from casparian.sdk import BasePlugin

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
HERE = 0 if platform.machine() == "x86_64" else 1
NUMBERS = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "mount": (165, 40),
    "unshare": (272, 97),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "personality": (135, 92),
    "syslog": (103, 116),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "name_to_handle_at": (303, 264),
    "fsopen": (430, 430),
    "setxattrat": (463, 463),
}


def call(name, *arguments):
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name][HERE]), *passed)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def write(path):
    with open(path, "wb") as file:
        file.write(b"x")


def connected(family, kind, address):
    with socket.socket(family, kind) as client:
        client.settimeout(5)
        client.connect(address)


class Files:
    def read_shadow_root(self, at):
        read("/etc/shadow")

    def read_a_secret(self, at):
        read(at["secret"])

    def read_the_database(self, at):
        read(at["database"])

    def read_the_configuration(self, at):
        read(at["configuration"])

    def read_the_plugins(self, at):
        read(at["plugin"])

    def read_passwd(self, at):
        read("/etc/passwd")

    def list_home(self, at):
        os.listdir(at["home"])

    def list_the_root(self, at):
        os.listdir("/")

    def list_processes(self, at):
        os.listdir("/proc")

    def write_outside(self, at):
        write(os.path.join(at["outside"], "written"))

    def make_a_directory_outside(self, at):
        os.mkdir(os.path.join(at["outside"], "made"))

    def write_into_the_source_root(self, at):
        write(os.path.join(at["inbox"], "written.tmp"))

    def write_over_an_input(self, at):
        open(at["spare2"], "r+b").close()

    def truncate_an_input(self, at):
        os.truncate(at["spare2"], os.path.getsize(at["spare2"]))

    def remove_another_input(self, at):
        os.unlink(at["spare"])

    def rename_out_of_its_scratch(self, at):
        write("mine")
        os.rename("mine", os.path.join(at["outside"], "renamed"))

    def link_a_secret_into_its_scratch(self, at):
        os.link(at["secret_beside"], "linked")

    def follow_a_symlink_in_its_scratch(self, at):
        os.symlink(at["secret"], "symlink")
        read("symlink")

    def go_through_proc_self_root(self, at):
        read("/proc/self/root" + at["secret"])

    def go_through_the_engines_directory_root(self, at):
        read(f"/proc/{at['engine']}/cwd/casparian.toml")

    def list_the_scratch_of_another(self, at):
        os.listdir(at["neighbour"])

    def write_into_the_scratch_of_another(self, at):
        write(os.path.join(at["neighbour"], "left"))

    def read_shared_memory_of_another(self, at):
        read(at["shared"])

    def make_shared_memory(self, at):
        write(f"/dev/shm/casparian-test-{os.getpid()}")
        os.unlink(f"/dev/shm/casparian-test-{os.getpid()}")

    def make_a_device_root(self, at):
        os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 3))

    def change_the_mode_of_an_input(self, at):
        os.chmod(at["spare2"], stat.S_IMODE(os.stat(at["spare2"]).st_mode))

    def change_a_mode_by_descriptor(self, at):
        with open(at["spare2"]) as file:
            os.fchmod(file.fileno(), stat.S_IMODE(os.stat(at["spare2"]).st_mode))

    def change_an_owner(self, at):
        os.chown(at["spare2"], os.getuid(), os.getgid())

    def change_times(self, at):
        os.utime(at["spare2"])

    def set_an_attribute(self, at):
        os.setxattr(at["spare2"], "user.casparian", b"x")

    def watch_a_directory(self, at):
        file = call("inotify_init1", 0)
        call("inotify_add_watch", file, os.fsencode(at["outside"]), 0xFFF)

    def name_a_file_by_handle(self, at):
        handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
        mount = ctypes.c_int()
        call("name_to_handle_at", -100, b"/", handle, ctypes.byref(mount), 0)

    def take_a_lease(self, at):
        with open(at["input"]) as file:
            fcntl.fcntl(file, 1024, 0)


class Processes:
    def read_the_engines_environment(self, at):
        read(f"/proc/{at['engine']}/environ")

    def read_the_environment_of_another(self, at):
        read(f"/proc/{at['victim']}/environ")

    def read_the_engines_memory(self, at):
        open(f"/proc/{at['engine']}/mem", "rb").close()

    def read_the_engines_maps(self, at):
        read(f"/proc/{at['engine']}/maps")

    def read_the_engines_command_line(self, at):
        read(f"/proc/{at['engine']}/cmdline")

    def list_the_engines_descriptors(self, at):
        os.listdir(f"/proc/{at['engine']}/fd")

    def signal_the_engine(self, at):
        os.kill(at["engine"], 0)

    def signal_the_engine_by_handle(self, at):
        call("pidfd_send_signal", call("pidfd_open", at["engine"], 0), 0, None, 0)

    def signal_the_engine_by_a_descriptor(self, at):
        with open(at["input"]) as file:
            fcntl.fcntl(file, fcntl.F_SETOWN, at["engine"])

    def trace_another_process_root(self, at):
        call("ptrace", 0x4206, at["victim"], 0, 0)

    def read_another_process_root(self, at):
        self._vm("process_vm_readv", at)

    def write_another_process_root(self, at):
        self._vm("process_vm_writev", at)

    def _vm(self, name, at):
        # From where nothing is: who may not is told so first.
        here = ctypes.create_string_buffer(8)
        local = struct.pack("=QQ", ctypes.addressof(here), 8)
        try:
            call(name, at["victim"], local, 1, struct.pack("=QQ", 8, 8), 1, 0)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise

    def take_a_descriptor_of_the_engine_root(self, at):
        os.close(call("pidfd_getfd", call("pidfd_open", at["engine"], 0), 2, 0))

    def limit_the_engine(self, at):
        resource.prlimit(
            at["engine"], resource.RLIMIT_CORE, resource.prlimit(at["engine"], resource.RLIMIT_CORE)
        )

    def slow_the_engine_down(self, at):
        priority = os.getpriority(os.PRIO_PROCESS, at["engine"])
        os.setpriority(os.PRIO_PROCESS, at["engine"], priority)

    def pin_the_engine(self, at):
        os.sched_setaffinity(at["engine"], os.sched_getaffinity(at["engine"]))

    def fork(self, at):
        self._reap(os.fork())

    def clone(self, at):
        self._reap(call("clone", signal.SIGCHLD, 0, 0, 0, 0))

    def clone3(self, at):
        self._reap(call("clone3", struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, *[0] * 6), 88))

    def _reap(self, child):
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def start_a_program(self, at):
        subprocess.run(["/bin/true"], check=True)

    def start_a_program_that_is_set_user_id(self, at):
        subprocess.run(["/bin/su", "--help"], check=True, stdout=subprocess.DEVNULL)

    def outlive_the_engine(self, at):
        if LIBC.prctl(1, signal.SIGKILL, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


class Network:
    def connect_by_tcp(self, at):
        connected(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", at["tcp"]))

    def listen_by_tcp(self, at):
        socket.create_server(("127.0.0.1", 0)).close()

    def send_by_udp(self, at):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", at["udp"]))

    def connect_to_a_path(self, at):
        connected(socket.AF_UNIX, socket.SOCK_STREAM, at["unix"])

    def connect_to_an_abstract_name(self, at):
        connected(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + at["abstract"])

    def connect_to_the_engine_once_more(self, at):
        connected(socket.AF_UNIX, socket.SOCK_STREAM, at["router"])

    def have_a_pair_that_sends_elsewhere(self, at):
        socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].close()

    def look_a_name_up(self, at):
        socket.getaddrinfo("localhost", 80)

    def ask_the_kernel_by_netlink(self, at):
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()

    def read_packets_root(self, at):
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


class Kernel:
    def have_system_v_shared_memory(self, at):
        LIBC.shmctl(call("shmget", 0, 4096, 0o600 | 0o1000), 0, None)

    def have_a_system_v_queue(self, at):
        LIBC.msgctl(call("msgget", 0, 0o600 | 0o1000), 0, None)

    def have_a_posix_queue(self, at):
        name = f"casparian-test-{os.getpid()}".encode()
        os.close(call("mq_open", name, os.O_RDWR | os.O_CREAT, 0o600, None))
        LIBC.mq_unlink(b"/" + name)

    def look_into_a_keyring(self, at):
        call("keyctl", 0, -3, 1)

    def put_a_key_into_a_keyring(self, at):
        call("add_key", b"user", b"casparian", b"x", 1, -2)

    def mount_root(self, at):
        # On a directory that is not there: who may not is told so first.
        try:
            call("mount", b"none", b"/not/there", b"tmpfs", 0, None)
        except FileNotFoundError:
            return

    def open_a_file_system_root(self, at):
        os.close(call("fsopen", b"tmpfs", 0))

    def be_root_of_a_namespace(self, at):
        # The flag that asks for nothing is taken by who may call at all.
        call("unshare", 0)

    def change_the_root_root(self, at):
        os.chroot("/")

    def have_an_io_uring(self, at):
        os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(120)))

    def load_a_bpf_program_root(self, at):
        attributes = struct.pack("=IIII", 2, 4, 8, 1)
        os.close(call("bpf", 0, attributes + bytes(112), 128))

    def count_events_root(self, at):
        attributes = struct.pack("=IIQ", 1, 128, 0) + bytes(112)
        os.close(call("perf_event_open", attributes, 0, -1, -1, 0))

    def handle_page_faults_root(self, at):
        os.close(call("userfaultfd", 1))

    def change_its_personality(self, at):
        call("personality", 0xFFFFFFFF)

    def read_the_kernels_log_root(self, at):
        call("syslog", 10, None, 0)

    def be_another_user(self, at):
        os.setresuid(-1, -1, -1)

    def be_more_urgent_root(self, at):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)

    def have_memory_of_a_file_without_a_name(self, at):
        os.close(os.memfd_create("x"))

    def have_shared_memory_without_a_file(self, at):
        mmap.mmap(-1, 4096).close()


class Limits:
    """These hold without a sandbox too."""

    def fill_memory(self, at):
        try:
            bytearray(at["memory_mb"] << 20)
        except MemoryError as error:
            raise OSError(errno.ENOMEM, "memory") from error

    def open_many_files(self, at):
        files = []
        try:
            while len(files) < 5000:
                files.append(os.open(os.devnull, os.O_RDONLY))
        finally:
            for file in files:
                os.close(file)

    def write_a_huge_file(self, at):
        with open("huge", "wb") as file:
            file.truncate(1 << 40)

    def see_the_engines_variables(self, at):
        if "CASPARIAN_TEST_SECRET" not in os.environ:
            raise OSError(errno.ENOENT, "no such variable")

    def have_the_engines_descriptors(self, at):
        for name in os.listdir("/proc/self/fd"):
            target = os.path.realpath(f"/proc/self/fd/{name}")
            if target.startswith(at["project"]):
                return
        raise OSError(errno.ENOENT, "no such descriptor")


class NotDenied:
    """What neither layer keeps from a plugin."""

    def see_that_a_secret_is_there(self, at):
        os.stat(at["secret"])

    def see_its_size_and_times(self, at):
        os.stat(at["database"])

    def go_to_another_directory(self, at):
        os.chdir(at["outside"])
        os.chdir(at["scratch"])

    def read_another_input(self, at):
        read(at["spare2"])

    def lock_its_input(self, at):
        with open(at["input"]) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def see_what_is_mounted(self, at):
        read("/proc/self/mountinfo")

    def see_the_name_of_the_host(self, at):
        os.uname()

    def see_that_a_process_is_there(self, at):
        os.stat(f"/proc/{at['victim']}")


class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as file:
            at = json.load(file)
        if "say" in at:
            self.publish("tried", [{"group": "", "what": os.getcwd(), "denied": False, "said": ""}])
            return
        at |= {"input": file_path, "scratch": os.getcwd()}
        for group in (Files(), Processes(), Network(), Kernel(), Limits(), NotDenied()):
            names = [n for n in vars(type(group)) if not n.startswith("_")]
            self.publish("tried", [self.tried(group, name, at) for name in names])
        self.publish("tried", list(self.at_the_fork_server(at)))

    def at_the_fork_server(self, at):
        """What is tried at the engine, at this process's parent."""
        for name in vars(Processes):
            if "the_engine" in name:
                tried = self.tried(Processes(), name, {**at, "engine": os.getppid()})
                what = name.replace("the_engine", "the_fork_server")
                yield {**tried, "group": "ForkServer", "what": what}

    def tried(self, group, name, at):
        said = ""
        try:
            getattr(group, name)(at)
        except OSError as error:
            said = f"{type(error).__name__} {errno.errorcode.get(error.errno or 0, error.errno)}"
        return {"group": type(group).__name__, "what": name, "denied": bool(said), "said": said}
