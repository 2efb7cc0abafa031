"""Data, and load over HTTP."""

import dataclasses
import functools
import itertools
import re
import socket
import subprocess
import threading
import time

from harness.processes import needs, run
from harness.rows import sized
from harness.settings import RACERS, RECORDS, RELEASE, SECONDS, SERVED_CORE, settings


def store(name, racers, seconds, whole=False):
    """Returns a folder store, created once: every racer has an effort at every second; `racers` gives the racers per class.
    With `whole`, cadences and resistances are whole numbers."""
    folder = settings.scratch / f"store-{name}"
    if not folder.exists():
        racers = ",".join(map(str, racers))
        prepare = [RELEASE / "examples/prepare", "store", folder, "--racers", racers, "--seconds", seconds]
        run([*prepare, *numbers(whole)], core=None)
    return folder


def ingest_store():
    return store("ingest", [sized(RACERS)] * 6, sized(SECONDS, 10))


def bodies(name, count, classes=(1, 2, 3, 4, 5, 6), racers=RACERS, records=RECORDS, least=1, whole=False):
    """Returns the bodies of `count` deliveries, created once. With `whole`, cadences and resistances are whole numbers."""
    folder = settings.scratch / f"bodies-{name}"
    if not folder.exists():
        classes = ",".join(map(str, classes))
        sizes = ["--racers", sized(racers), "--records", sized(records, least), "--count", count]
        sizes += numbers(whole)
        run([RELEASE / "examples/prepare", "bodies", folder, "--classes", classes, *sizes], core=None)
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def ingest_bodies(whole=False):
    return bodies("ingest-whole" if whole else "ingest", 16, whole=whole)


def numbers(whole):
    return ["--whole-numbers"] if whole else []


def request(body, *headers):
    head = ["POST /firehose HTTP/1.1", "Host: 127.0.0.1", "X-Amz-Firehose-Request-Id: bench"]
    head += ["X-Amz-Firehose-Protocol-Version: 1.0", "Content-Type: application/json", *headers]
    return ("\r\n".join([*head, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body


def deliver(port, requests, connections):
    """Sends all `requests` over `connections` connections. Returns their number and the elapsed seconds. A status other
    than 200 is an error."""
    requests_lock, count, problems = threading.Lock(), itertools.count(), []

    def send():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                while not problems:
                    with requests_lock:
                        message = next(requests, None)
                    if message is None:
                        return
                    connection.sendall(message)
                    response = receive(connection)
                    if not response.startswith(b"HTTP/1.1 200 "):
                        raise RuntimeError(f"a delivery failed: {response[:300]}")
                    next(count)
        except Exception as problem:  # raised again by the waiting thread
            problems.append(problem)

    threads = [threading.Thread(target=send) for _ in range(connections)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return next(count), time.monotonic() - began


def receive(connection):
    """Reads one response with its body."""
    response = b""
    while True:
        received = connection.recv(1 << 16)
        if not received:
            raise RuntimeError("the connection was closed")
        response += received
        head, end, body = response.partition(b"\r\n\r\n")
        if end:
            length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1])
            if len(body) >= length:
                return response


def repeat_for(requests, seconds):
    """Yields the requests in a cycle until the seconds have passed."""
    deadline = time.monotonic() + seconds
    return itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.cycle(requests))


def window():
    """Returns the duration of one run of steady load, in seconds."""
    return 0.3 if settings.quick else 2.5


class Busy:
    """Measures a server's share of its core over several periods."""

    def __init__(self, server):
        self.server, self.cpu, self.wall = server, 0.0, 0.0

    def __enter__(self):
        self.before = self.server.cpu_seconds(), time.monotonic()

    def __exit__(self, *_):
        self.cpu += self.server.cpu_seconds() - self.before[0]
        self.wall += time.monotonic() - self.before[1]

    def __str__(self):
        return f"{100 * self.cpu / self.wall:.0f} % of its core"


@dataclasses.dataclass
class Load:
    rate: float  # requests a second
    p50: float  # seconds
    p99: float  # seconds


WRK_DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
"""


def wrk(url, connections, script="", headers=(), first=False):
    """Loads a URL and returns the rate and latencies. An error response is an error. With `first`, it has priority over
    other load on its core; otherwise its latency includes the wait for the core."""
    needs("wrk", "wrk")
    lua = settings.scratch / "wrk.lua"
    lua.write_text(script + WRK_DONE)
    seconds = 1 if settings.quick else 2
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", lua]
    ahead = ["chrt", "--fifo", "1"] if first and may_go_first() else []
    printed = run([*ahead, "wrk", *options, *(word for header in headers for word in ("-H", header)), url])
    count, micros, errors, p50, p99 = map(int, re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", printed).groups())
    if errors or not count:
        raise RuntimeError(f"wrk {url}: {count} responses, {errors} errors")
    return Load(count / (micros / 1e6), p50 / 1e6, p99 / 1e6)


@functools.cache
def may_go_first():
    return subprocess.run(["chrt", "--fifo", "1", "true"], capture_output=True).returncode == 0


def wrk_paths(path):
    """Returns a script that requests `path`, a Lua expression in which `r(n)` is a random integer from 1 to n."""
    return f"math.randomseed(1)\nlocal r = math.random\nrequest = function() return wrk.format('GET', {path}) end\n"


def micro(*names):
    """Runs benchmarks in process. Returns for each name the fastest, the median and the slowest duration in seconds."""
    # The history always has 40,000 racers; --quick takes fewer samples.
    fewer = ["--sample-count", 1] if settings.quick else []
    printed = run([settings.micro, "--bench", *names, *fewer], core=SERVED_CORE)
    cell = r"([\d.]+) (ns|µs|ms|s)\s+│"
    took = {}
    # Divan's columns are fastest, slowest, median.
    for name, *cells in re.findall(rf"(\w+)\s+{cell}\s+{cell}\s+{cell}", printed):
        fastest, slowest, median = (duration(*cells[at : at + 2]) for at in (0, 2, 4))
        took[name] = [fastest, median, slowest]
    return took


def duration(number, unit):
    return float(number) * {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}[unit]
