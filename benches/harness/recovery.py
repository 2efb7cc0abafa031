"""Rows of a large state."""

import shutil

from harness.load import store
from harness.processes import Alleycat
from harness.rows import at_most, measures, runs, sized
from harness.settings import SECONDS


@measures("memory", "recovery", "memory-whole", "recovery-whole")
def seventy_two_million(wanted):
    """6 × 40,000 × 300 efforts, recovered from stored histories. The outputs have up to 17 digits; in the rows `-whole` they
    are of whole cadences and resistances."""
    for suffix in "", "-whole":
        kinds = [kind for kind in ("memory", "recovery") if kind + suffix in wanted]
        if kinds:
            yield from of_store(kinds, suffix)


def of_store(wanted, suffix):
    racers, seconds = sized(40_000), SECONDS
    folder = store(f"large{suffix}", [racers] * 6, seconds, whole=bool(suffix))
    efforts = 6 * racers * seconds
    starts, bytes_each = [], []
    for index in runs(3):
        with Alleycat(folder) as alleycat:
            starts.append(alleycat.start_seconds)
            recovered = alleycat.memory_bytes("VmRSS")
            if index == 0 and "memory" in wanted:
                for class_id in range(1, 7):
                    alleycat.get(f"/class-{class_id}.gz", "HEAD")
                bytes_each.append(alleycat.memory_bytes("VmRSS") / efforts)
                peak = alleycat.memory_bytes("VmHWM")
                compressed = sum(file.stat().st_size for file in folder.glob("class-*.gz"))
                note = f"after recovery {recovered / efforts:.3g}, at its peak {peak / efforts:.3g}; "
                note += f"the histories are {compressed / efforts:.3g}"
    if "memory" in wanted:
        what = f"memory at 6 × 40,000 × 300 = 72 M efforts{WHOLE[suffix]}, histories built"
        yield at_most(f"memory{suffix}", what, bytes_each, 20, "bytes an effort", note)
    if "recovery" in wanted:
        what = f"recovery of those 72 M efforts{WHOLE[suffix]} to ready"
        yield at_most(f"recovery{suffix}", what, starts, 8, "s")
    shutil.rmtree(folder)


WHOLE = {"": "", "-whole": " of whole numbers"}
