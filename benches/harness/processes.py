"""The measured programs, each pinned to a core."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness.rows import NotMeasured
from harness.settings import LOADING_CORE, RELEASE, ROOT, SERVED_CORE, STEP_SECONDS_MAX, settings


STARTED = []  # running background processes, stopped at the end
COMMANDS = []  # commands that were run, for RESULTS.md


def needs(program, package):
    if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
        raise NotMeasured(f"{program} is missing: apt-get install {package}")


def pinned(core, command):
    return ["taskset", "-c", core, *map(str, command)]


def run(command, core=LOADING_CORE, seconds=STEP_SECONDS_MAX, cwd=ROOT):
    """Runs a command and returns its output."""
    command = pinned(core, command) if core else [str(word) for word in command]
    note_command(command)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def note_command(command):
    """Records a command for the report once, with placeholders for ports and folders."""
    text = " ".join(map(str, command)).replace(str(settings.scratch), "$TMP").replace(f"{ROOT}/", "")
    text = re.sub(r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:PORT", text)
    text = re.sub(r"(-p|--port) \d+", r"\1 PORT", text)
    if text not in COMMANDS:
        COMMANDS.append(text)


def build():
    """Builds all programs. Returns the path of the micro-benchmarks."""
    cargo = ["cargo", "--locked", "--quiet"]
    bench = [*cargo, "bench", "--bench", "micro", "--no-run", "--message-format", "json"]
    built = [json.loads(line) for line in run(bench, core=None, seconds=3600).splitlines()]
    run([*cargo, "build", "--release", "--example", "prepare"], core=None, seconds=3600)
    # The service is built last: a build with benchmarks and examples adds dependency features that only tests need.
    run([*cargo, "build", "--release"], core=None, seconds=3600)
    return next(it["executable"] for it in built if it.get("target", {}).get("name") == "micro" and it["executable"])


class Server:
    """A process on the served core. It ends at the latest with this process."""

    def __init__(self, command, name):
        command = pinned(SERVED_CORE, command)
        note_command(command)
        with open(settings.scratch / f"{name}.log", "ab") as log:
            # If this process is killed, the kernel kills the server.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.name = name
        STARTED.append(self)

    def wait_for(self, ready):
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = (settings.scratch / f"{self.name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not come up:\n{tail}")
            time.sleep(0.002)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self):
        """Waits until it is idle: the first improvements after a start trigger a snapshot at once."""
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while True:
            before = self.cpu_seconds()
            time.sleep(1.5)  # longer than the interval at which snapshots are scheduled
            if self.cpu_seconds() - before <= 0.03:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not become idle")

    def memory_bytes(self, field):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        if self in STARTED:
            STARTED.remove(self)
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Alleycat(Server):
    def __init__(self, folder, *options):
        self.port = free_port()
        listen = ["--listen", f"127.0.0.1:{self.port}", "--metrics-listen", "127.0.0.1:0"]
        command = [RELEASE / "alleycat", "serve", *listen, "--store", f"file:{folder}", *options]
        began = time.monotonic()
        super().__init__(command, "alleycat")
        self.wait_for(self.is_ready)
        self.start_seconds = time.monotonic() - began

    def is_ready(self):
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def get(self, path, method="GET", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=STEP_SECONDS_MAX)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            response.body = response.read()
            return response
        finally:
            connection.close()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"


# Later snapshots would use the core during a measurement. Other rows measure their cost.
NO_SNAPSHOTS = ("--snapshot-interval", "1h")


class Redis(Server):
    def __init__(self):
        needs("redis-server", "redis-server")
        self.port = free_port()
        options = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", settings.scratch]
        super().__init__(["redis-server", *options], "redis")
        self.wait_for(self.is_up)

    def is_up(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def send(self, payload, commands):
        """Sends commands with one-digit replies in one pipeline. Returns the seconds until the last reply."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), timeout=STEP_SECONDS_MAX) as connection:
            sender = threading.Thread(target=connection.sendall, args=(payload,))
            sender.start()
            replies = bytearray()
            while len(replies) < 4 * commands:
                received = connection.recv(1 << 16)
                if not received or b"-" in received:
                    raise RuntimeError(f"redis: {bytes(received[:200])}")
                replies += received
            sender.join()
        return time.monotonic() - began


class Nginx(Server):
    """One worker that serves a folder."""

    def __init__(self, folder):
        needs("nginx", "nginx-light")
        self.port = free_port()
        config = settings.scratch / "nginx.conf"
        temporary = " ".join(
            f"{kind}_temp_path {settings.scratch}/nginx-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"daemon off; master_process off; worker_processes 1; pid {settings.scratch}/nginx.pid; error_log stderr;\n"
            f"events {{ worker_connections 1024; }}\n"
            f"http {{ access_log off; sendfile on; tcp_nopush on; etag on; keepalive_requests 1000000000;\n"
            f"  open_file_cache max=100; {temporary}\n"
            f"  types {{ application/gzip gz; }}\n"
            f"  server {{ listen 127.0.0.1:{self.port}; root {folder}; }} }}\n"
        )
        super().__init__(["/usr/sbin/nginx", "-p", settings.scratch, "-c", config], "nginx")
        self.wait_for(self.is_up)

    def is_up(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False
