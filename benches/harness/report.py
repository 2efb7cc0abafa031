"""The report: table, machine and commands."""

import os
import pathlib
import platform
import re
import subprocess
import time

from harness.processes import COMMANDS
from harness.rows import GROUPS
from harness.settings import ROOT, settings


ORDER = [
    *("warm", "warm-whole", "gzip", "in-process", "redis-zadd", "cold", "racers", "seed", "ack"),
    *("board", "around", "first-query", "after-improvement", "after-improvement-40k", "saturated"),
    *("pace", "pace-after", "pace-first", "first-build", "rebuild", "download", "not-modified"),
    *("memory", "memory-whole", "recovery", "recovery-whole"),
]


def table(rows):
    head = ["row", "what", "target", "measured: median (least … most)", "ratio", "verdict", "note"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        cells = row.name, row.what, row.target, row.measured, ratio, row.verdict, row.note
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine():
    def output(*command):
        try:
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30).stdout.strip()
        except FileNotFoundError:
            return "none"

    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    changed = " with changes" if output("git", "status", "--porcelain", "--", "src", "Cargo.lock", "benches") else ""
    nginx = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True).stderr.strip().split("/")[-1] \
        if os.path.exists("/usr/sbin/nginx") else "none"
    redis = re.search(r"v=(\S+)|$", output("redis-server", "--version"))[1]
    return {
        "commit": output("git", "rev-parse", "--short=12", "HEAD") + changed,
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Linux {platform.release()}; data on "
        + output("stat", "-f", "-c", "%T", str(settings.scratch)),
        "with": f"{output('rustc', '--version')}; Node {output('node', '--version')}; Redis {redis}; nginx {nginx}; "
        + f"{output('wrk', '-v').split(' Copyright')[0]}",
    }


def cpu_seconds():
    """Returns the cores' busy seconds, and the seconds stolen by the host."""
    fields = [int(field) / os.sysconf("SC_CLK_TCK") for field in pathlib.Path("/proc/stat").read_text().split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = fields
    return user + nice + system + interrupts + soft_interrupts, stolen


class Disturbance:
    """Measures the CPU time of other processes during the run."""

    def __init__(self):
        self.began, self.before = time.monotonic(), self.now()

    def now(self):
        busy, stolen = cpu_seconds()
        ours = os.times()
        return busy - sum(ours[:4]), stolen

    def __str__(self):
        wall = time.monotonic() - self.began
        others, stolen = (max(now - before, 0) / wall for now, before in zip(self.now(), self.before))
        group = pathlib.Path("/proc/self/autogroup")
        nice = f"nice {os.nice(0)}" + (f", its session's {group.read_text().split()[-1]}" if group.exists() else "")
        return f"others took {100 * others:.0f} % of a core, the host {100 * stolen:.0f} %; run at {nice}"


def report(rows, facts):
    facts = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    how = "\n".join(f"- {', '.join(names)}: {' '.join(function.__doc__.split())}" for names, function in GROUPS)
    commands = "\n".join(COMMANDS)
    return (
        "# Measured against the targets\n\n"
        "Written by `make bench`; `benches/run` documents the method. The measured process has one core, the load the\n"
        "other. A ratio of 1 or more meets the target.\n\n"
        f"{facts}\n\n{table(rows)}\n\n## What the rows are\n\n{how}\n\n## Commands\n\n```text\n{commands}\n```\n"
    )
