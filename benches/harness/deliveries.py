"""Rows of deliveries."""

import base64
import gzip
import itertools
import json
import os
import shutil
import socket
import statistics
import time

from harness.load import (
    Busy,
    bodies,
    deliver,
    ingest_bodies,
    ingest_store,
    micro,
    receive,
    repeat_for,
    request,
    store,
    window,
)
from harness.processes import Alleycat, NO_SNAPSHOTS, Redis, needs, run
from harness.rows import NotMeasured, Row, at_least, at_most, measures, runs, show, sized, spread
from harness.settings import RACERS, RECORDS, SERVED_CORE, settings


@measures("warm", "warm-whole", "gzip", "in-process", "redis-zadd")
def warm_ingest(wanted):
    """Deliveries without improvements, as nearly all are, over 8 connections. Cadences and resistances are doubles of up to
    17 digits, as riders interpolate them; in `warm-whole` the same, rounded. `in-process`: what decoding and merging alone
    would allow."""
    plain = ingest_bodies()
    records = sized(RECORDS)
    requests = [request(body) for body in plain]
    zipped = []
    if "gzip" in wanted:
        zipped = [request(gzip.compress(body, 6, mtime=0), "Content-Encoding: gzip") for body in plain]
    whole = [request(body) for body in ingest_bodies(whole=True)] if "warm-whole" in wanted else []
    rates = {"warm": [], "whole": [], "gzip": [], "redis": []}
    with Alleycat(ingest_store(), *NO_SNAPSHOTS) as alleycat:
        deliver(alleycat.port, iter(requests + whole), 8)  # later deliveries improve nothing
        alleycat.settle()
        busy = {kind: Busy(alleycat) for kind in ("warm", "whole", "gzip")}
        redis, payload, growing = None, b"", 0.0
        if "redis-zadd" in wanted:
            try:
                redis = Redis()
                payload = zadd(plain)
                # Every command adds a member; later commands improve nothing.
                growing = records * len(plain) / redis.send(payload, records * len(plain))
                busy["redis"] = Busy(redis)
                redis.pause()
            except NotMeasured as reason:
                yield Row("redis-zadd", ZADD, "≥ 5 ×", note=str(reason))
        for _ in runs():
            for kind, sent in (("warm", requests), ("whole", whole), ("gzip", zipped)):
                if sent:
                    with busy[kind]:
                        count, seconds = deliver(alleycat.port, repeat_for(sent, window()), 8)
                    rates[kind].append(count * records / seconds)
            if redis:
                alleycat.pause()
                redis.resume()
                with busy["redis"]:
                    seconds = redis.send(payload, records * len(plain))
                rates["redis"].append(records * len(plain) / seconds)
                redis.pause()
                alleycat.resume()
                alleycat.wait_for(alleycat.is_ready)
        if redis:
            redis.stop()
    if "warm" in wanted:
        what = "warm ingest over loopback, 6 MB deliveries, 10,000 racers in each of 6 classes"
        yield at_least("warm", what, rates["warm"], 1.5e6, "records/s", str(busy["warm"]))
    if "warm-whole" in wanted:
        what = "the same records with whole numbers: their rate over that with doubles"
        ratios = [fast / slow for fast, slow in zip(rates["whole"], rates["warm"])]
        yield at_most("warm-whole", what, ratios, 1.15, "×", f"whole numbers: {spread(rates['whole'], 'records/s')}")
    if "gzip" in wanted:
        yield at_least("gzip", "the same, gzip bodies", rates["gzip"], 1.0e6, "records/s", str(busy["gzip"]))
    if "in-process" in wanted:
        took = micro("decode_and_merge", "decode_and_merge_whole")
        limit, whole = (RECORDS / took[name][1] for name in ("decode_and_merge", "decode_and_merge_whole"))
        ratios = [rate / limit for rate in rates["warm"]]
        what = "warm ingest against the same decoding and merging in process, without HTTP"
        note = f"whole numbers: {show(whole, 'records/s')}"
        yield at_least("in-process", what, ratios, 0.8, "×", f"in process: {show(limit, 'records/s')}; {note}")
    if rates["redis"]:
        ratios = [ours / theirs for ours, theirs in zip(rates["warm"], rates["redis"])]
        note = f"Redis: {spread(rates['redis'], 'records/s')}, {busy['redis']}; "
        note += f"{show(growing, 'records/s')} while its sets grew from nothing"
        yield at_least("redis-zadd", ZADD, ratios, 5, "×", note)


ZADD = "warm ingest against Redis: `ZADD GT` pipelined, a sorted set per class and second, same records"


def zadd(plain):
    """Returns the deliveries' records as Redis commands."""
    commands = []
    for body in plain:
        for record in json.loads(body)["records"]:
            ride = json.loads(base64.b64decode(record["data"]))
            key, racer = f"{ride['classId']}:{ride['second']}", str(ride["racerId"])
            output = repr((ride["cadence"] + 35) * (ride["resistance"] + 65) / 100)
            words = ("ZADD", key, "GT", output, racer)
            commands.append("*5\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words))
    return "".join(commands).encode()


@measures("cold")
def cold_ingest(_):
    """Deliveries in which every record is a racer's first at its second, into an empty store, over 32 connections."""
    count = 8 if settings.quick else 64
    requests = [request(body) for body in bodies("cold", count)]
    rates, cpu = [], []
    for _ in runs():
        folder = settings.scratch / "store-cold"
        with Alleycat(folder) as alleycat:
            busy = Busy(alleycat)
            with busy:
                sent, seconds = deliver(alleycat.port, iter(requests), 32)
            efforts = sum(each["efforts"] for each in json.loads(alleycat.get("/classes").body))
            if efforts != sent * sized(RECORDS):
                raise RuntimeError(f"{efforts} efforts of {sent} deliveries")
            rates.append(efforts / seconds)
            cpu.append(str(busy))
        shutil.rmtree(folder)
    what = "cold ingest, each record an improvement, journaled with fsync"
    yield at_least("cold", what, rates, 0.6e6, "records/s", f"{cpu[-1]}; {disk()}")


def disk():
    """Measures one small durable write."""
    took = []
    for _ in range(20):
        began = time.monotonic()
        file = os.open(settings.scratch / "fsync", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.write(file, b"x" * 4096)
        os.fsync(file)
        os.close(file)
        took.append(time.monotonic() - began)
    return f"write and fsync of 4 kB alone {show(statistics.median(took), 's')}"


@measures("racers")
def cost_of_racers(_):
    """Warm deliveries of one class, for classes with more and more racers, measured alternately."""
    sizes = [1_000, 10_000, 40_000, 200_000]
    folder = store("racers", [sized(size) for size in sizes], 10)
    requests = []
    for class_id, racers in enumerate(sizes, 1):
        requests.append([request(body) for body in bodies(f"racers-{racers}", 8, (class_id,), racers)])
    rates = [[] for _ in sizes]
    with Alleycat(folder, *NO_SNAPSHOTS) as alleycat:
        for of_class in requests:
            deliver(alleycat.port, iter(of_class), 8)
        alleycat.settle()
        for _ in runs():
            for index, of_class in enumerate(requests):
                count, seconds = deliver(alleycat.port, repeat_for(of_class, window() / 2), 8)
                rates[index].append(count * sized(RECORDS) / seconds)
    costs = [max(each) / min(each) for each in zip(*rates)]
    shown = ", ".join(f"{size:,}: {show(statistics.median(rate), 'records/s')}" for size, rate in zip(sizes, rates))
    what = "cost of a record at 1,000, 10,000, 40,000 and 200,000 racers a class: highest over lowest"
    yield at_most("racers", what, costs, 1.5, "×", shown)


@measures("seed")
def compare_with_seed(_):
    """The seed's pipeline on one 4,000-record batch of one class. Each batch holds one improvement, for both."""
    what = "against the seed's pipeline on the same 4,000-record batch at 10,000 racers"
    records = sized(4_000)
    body = bodies("seed", 1, (1,), RACERS, 4_000)[0]
    folder = settings.scratch / "seed"
    folder.mkdir(exist_ok=True)
    shutil.copy(ingest_store() / "class-1.gz", folder)
    opening = body[: body.index(b"[") + 1]
    improved = itertools.count(1)

    def batches(seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            index = next(improved)  # a new best, each for another racer or second
            ride = {"classId": 1, "second": 100 + index // 9_000 % 400, "racerId": index % 9_000 + 1}
            ride |= {"cadence": 250, "resistance": 100}
            data = base64.b64encode(json.dumps(ride).encode())
            yield request(opening + b'{"data":"' + data + b'"},' + body[len(opening) :])

    rates = []
    with Alleycat(ingest_store(), *NO_SNAPSHOTS) as alleycat:
        deliver(alleycat.port, iter([request(body)]), 1)
        alleycat.settle()
        for _ in runs():
            # Each delivery waits for a commit, so many run concurrently.
            count, seconds = deliver(alleycat.port, batches(window()), 192)
            rates.append(count * (records + 1) / seconds)
    try:
        needs("node", "nodejs")
        batch = settings.scratch / "bodies-seed/0000.json"
        printed = run(["node", "benches/seed/seed.mjs", folder, batch, len(runs(3))], core=SERVED_CORE)
    except NotMeasured as reason:
        yield Row("seed", what, "≥ 1,500 ×", note=str(reason))
        return
    seed = [records / (float(line) / 1000) for line in printed.split()]
    ratios = [rate / statistics.median(seed) for rate in rates]
    note = f"seed: {spread(seed, 'records/s')}; ours: {spread(rates, 'records/s')}"
    yield at_least("seed", what, ratios, 1500, "×", note)


@measures("ack")
def acknowledgement(_):
    """Occasional deliveries of 100 improvements over one connection, with default options."""
    sent = bodies("ack", 4 if settings.quick else 40, records=100, least=10)
    took = []
    with Alleycat(settings.scratch / "store-ack") as alleycat:
        with socket.create_connection(("127.0.0.1", alleycat.port), timeout=60) as connection:
            for body in sent:
                time.sleep(0.3)  # longer than the commit interval, so each delivery commits alone
                began = time.monotonic()
                connection.sendall(request(body))
                if not receive(connection).startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError("a delivery failed")
                took.append(time.monotonic() - began)
    yield at_most("ack", "acknowledgement at low load, folder store: p50", took, 0.005, "s", disk())
