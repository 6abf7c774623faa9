"""What bench/run and bench/discovery share: building, ports, processes that are ended by whoever started them."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent


class BenchError(Exception):
    """Told to the user without a trace."""


class Server:
    """A running server: its directory, its ports, its processes. The last one started is the one that is measured."""

    def __init__(self, name, directory, core=None):
        self.name, self.core = name, core
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.plain, self.tls = free_port(), free_port()
        # Appended to, so that it may be cut while its writer runs.
        self.log = open(self.directory / "log", "a+")
        self.processes = []

    def start(self, command, environment=None, core=None):
        self.processes.append(
            subprocess.Popen(
                command,
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                preexec_fn=pin(self.core if core is None else core),
            )
        )

    def alive(self):
        return all(process.poll() is None for process in self.processes)

    def last_words(self):
        self.log.flush()
        return Path(self.log.name).read_text()[-2000:]

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()

    def end_last(self):
        """Ends the process that is measured; another may be started in its place."""
        process = self.processes.pop()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def pids(self):
        """The measured process and its descendants."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path(f"/proc/{entry}/stat").read_text()
                except OSError:
                    continue
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
        found, todo = [], [self.processes[-1].pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += parents.get(pid, [])
        return found

    def cpu(self):
        """Seconds on a core since the start, system calls included, as the scheduler counts them."""
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    total += int((task / "schedstat").read_text().split()[0])
                except OSError:
                    pass
        return total / 1e9

    def memory(self):
        """KiB of resident memory, as its PSS would be if nothing else ran: a page of a file counts once, whoever else
        has it mapped, and one that a fork shares with its parent counts once."""
        anonymous, files = 0, {}
        for pid in self.pids():
            anonymous += rollup(pid)["Pss_Anon"]
            of_process = {}
            for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
                words = line.split()
                if not words[0].endswith(":"):
                    # addresses, permissions, offset, device, inode, path
                    key = (words[5], words[2]) if len(words) > 5 else None
                elif words[0] == "Rss:":
                    resident = int(words[1])
                elif words[0] == "Anonymous:" and key:
                    of_process[key] = of_process.get(key, 0) + resident - int(words[1])
            for key, pages in of_process.items():
                files[key] = max(files.get(key, 0), pages)
        return anonymous + sum(files.values())

    def anonymous(self):
        """KiB of that which are no pages of files: heap and stacks."""
        return sum(rollup(pid)["Pss_Anon"] for pid in self.pids())

    def resident(self):
        """KiB as `ps` tells them (RSS), of all processes together."""
        return sum(rollup(pid)["Rss"] for pid in self.pids())


def rollup(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def descriptors():
    """As many as may be had."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if most == resource.RLIM_INFINITY else most


def raise_limits():
    """All descriptors that may be had, here and in whatever is started from here."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(), most))


def end_on_sigterm():
    """So that `finally` runs, and with it every `stop`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def pin(core):
    """For `preexec_fn`: keeps the process on one core."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


def build(*what):
    """Builds with cargo in release mode; returns the directory of the output."""
    subprocess.run(["cargo", "build", "--release", "--locked", *what], cwd=REPOSITORY, check=True)
    # Every build names its target (.cargo/config.toml), so the output is in a directory of that name.
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    host = next(line.split()[1] for line in version.splitlines() if line.startswith("host:"))
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / host / "release"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def site(number):
    """A name with a certificate of its own, for the work `start`."""
    return f"h{number}.start.example"


def wait_until(condition, what):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise BenchError(f"{what} did not start")
