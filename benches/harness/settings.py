"""Constants, and the settings of this run."""

import pathlib


ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RELEASE = ROOT / "target/release"
SERVED_CORE, LOADING_CORE = "0", "1"

RUN_SECONDS_MAX = 20 * 60  # a full run; a longer one hangs
STEP_SECONDS_MAX = 180  # one command, one start
RACERS, RECORDS, SECONDS = 10_000, 22_000, 300  # racers a class, records a delivery (6 MB), seconds of a race


class Settings:
    """Set once by `benches/run`."""

    quick = False
    scratch = pathlib.Path()  # all data of this run
    micro = pathlib.Path()  # the micro-benchmarks' program


settings = Settings()
