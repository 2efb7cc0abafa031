"""Rows of in-process benchmarks, histories and leaderboards."""

import base64
import gzip
import http.client
import itertools
import json
import socket
import statistics
import threading
import time

from harness.load import Busy, deliver, ingest_bodies, ingest_store, may_go_first, micro, receive, request, store, wrk, wrk_paths
from harness.processes import Alleycat, NO_SNAPSHOTS, Nginx, Redis, run
from harness.rows import NotMeasured, Row, at_least, at_most, measures, runs, show, sized, spread
from harness.settings import RECORDS, SECONDS, settings


@measures("first-build", "rebuild")
def histories(wanted):
    """A history of 40,000 racers and 300 seconds, built in process."""
    if "first-build" in wanted:
        took = micro("first_build", "first_build_whole")
        note = f"whole numbers: {show(took['first_build_whole'][1], 's')}"
        what = "history, 40,000 racers × 300 seconds: first build"
        yield at_most("first-build", what, took["first_build"], 3, "s", note)
    if "rebuild" in wanted:
        name = "rebuild_after_one_improvement"
        yield at_most("rebuild", "the same, rebuilt after one improvement", micro(name)[name], 0.015, "s")


@measures("download", "not-modified")
def download(wanted):
    """A history of 2.5 MB, and its 304 response, against nginx with the same file."""
    folder = store("download", [sized(1_500)], SECONDS)
    files = settings.scratch / "files"
    files.mkdir(exist_ok=True)
    rows = {"download": ("history download against nginx, same bytes: 2.5 MB", 0.95, 16)}
    rows["not-modified"] = ("the same: 304", 0.8, 64)
    with Alleycat(folder, *NO_SNAPSHOTS) as alleycat:
        whole = alleycat.get("/class-1.gz")
        (files / "class-1.gz").write_bytes(whole.body)
        etag = whole.headers["ETag"]
        try:
            nginx = Nginx(files)
        except NotMeasured as reason:
            for name in wanted:
                yield Row(name, rows[name][0], f"≥ {rows[name][1]} ×", note=str(reason))
            return
        with nginx:
            their_url = f"http://127.0.0.1:{nginx.port}/class-1.gz"
            connection = http.client.HTTPConnection("127.0.0.1", nginx.port)
            connection.request("HEAD", "/class-1.gz")
            their_etag = connection.getresponse().headers["ETag"]
            connection.close()
            if alleycat.get("/class-1.gz", headers={"If-None-Match": etag}).status != 304:
                raise RuntimeError("no 304")
            for name in wanted:
                what, target, connections = rows[name]
                header = lambda tag: [f"If-None-Match: {tag}"] if name == "not-modified" else []
                ours, theirs, busy, their_busy = [], [], Busy(alleycat), Busy(nginx)
                for _ in runs():
                    nginx.pause()
                    with busy:
                        ours.append(wrk(alleycat.url("/class-1.gz"), connections, headers=header(etag)).rate)
                    nginx.resume()
                    alleycat.pause()
                    with their_busy:
                        theirs.append(wrk(their_url, connections, headers=header(their_etag)).rate)
                    alleycat.resume()
                ratios = [a / b for a, b in zip(ours, theirs)]
                note = f"{len(whole.body):,} bytes; ours {spread(ours, 'requests/s')}, {busy}; "
                note += f"nginx {spread(theirs, 'requests/s')}, {their_busy}; {connections} connections"
                yield at_least(name, what, ratios, target, "×", note)


@measures("board", "around")
def leaderboards(wanted):
    """The first 50 of 40,000 over 64 connections, against Redis' rate for the same rows, `ZREVRANGE b 0 49 WITHSCORES`; then
    pages around random racers, and what-ifs."""
    racers = sized(40_000, 100)
    page = "/classes/1/leaderboard?second=1&limit=50"
    around = wrk_paths(f"'/classes/1/leaderboard?second=1&around=' .. r({racers})")
    what_if = wrk_paths(f"'/classes/1/leaderboard?second=1&racerId=' .. r({racers}) .. '&output=' .. r(300)")
    with Alleycat(store("board", [racers], 3), *NO_SNAPSHOTS) as alleycat:
        if "board" in wanted:
            yield board_against_redis(alleycat, page)
        if "around" in wanted:
            busy = Busy(alleycat)
            with busy:
                rates = [wrk(alleycat.url("/"), 64, around).rate for _ in runs()]
            whats = [wrk(alleycat.url("/"), 64, what_if).rate for _ in runs(3)]
            what = "`around` at 40,000, limit 50, 64 connections"
            note = f"{busy}; what-if: {spread(whats, 'requests/s')}"
            yield at_least("around", what, rates, 20_000, "requests/s", note)


def board_against_redis(alleycat, page):
    what = "leaderboard, limit 50 of 40,000, 64 connections, against Redis for the same rows"
    history = json.loads(gzip.decompress(alleycat.get("/class-1.gz").body))
    try:
        redis = Redis()
    except NotMeasured as reason:
        return Row("board", what, "≥ 1.15 ×", note=str(reason))
    with redis:
        fill_board(redis, history["1"])
        redis.pause()
        loads, theirs, busy = [], [], Busy(alleycat)
        for _ in runs():
            with busy:
                loads.append(wrk(alleycat.url(page), 64))
            alleycat.pause()
            redis.resume()
            theirs.append(zrevrange(redis))
            redis.pause()
            alleycat.resume()
    ratios = [load.rate / rate for load, rate in zip(loads, theirs)]
    note = f"ours {spread([load.rate for load in loads], 'requests/s')}, {busy}, "
    note += f"p99 {show(statistics.median(load.p99 for load in loads), 's')}; Redis {spread(theirs, 'requests/s')}"
    return at_least("board", what, ratios, 1.15, "×", note)


def fill_board(redis, outputs):
    words = ["ZADD", "b", *(word for racer, output in outputs.items() for word in (repr(output), racer))]
    command = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection(("127.0.0.1", redis.port)) as connection:
        connection.sendall(command.encode())
        if connection.recv(64) != f":{len(outputs)}\r\n".encode():
            raise RuntimeError("redis did not store the leaderboard")


def zrevrange(redis):
    options = ["-h", "127.0.0.1", "-p", redis.port, "-c", 64, "-n", sized(100_000), "--csv"]
    printed = run(["redis-benchmark", *options, "ZREVRANGE", "b", 0, 49, "WITHSCORES"])
    return float(printed.strip().splitlines()[-1].split('","')[1])


@measures("first-query", "after-improvement")
def million_racers(wanted):
    """One query at a time on a leaderboard of 1,000,000 racers: the first one, which sorts; and right after an improvement,
    against the same at rest, over one kept connection."""
    firsts = []
    for last in (False, False, True):
        with Alleycat(store("million", [sized(1_000_000)], 1), *NO_SNAPSHOTS) as alleycat:
            firsts.append(timed_get(alleycat, "/classes/1/leaderboard?second=0"))
            if last and "after-improvement" in wanted:
                what = "`around` at 1,000,000 racers right after an improvement, over the same at rest"
                yield after_improvement("after-improvement", what, alleycat)
    if "first-query" in wanted:
        what = "the first query after a start, at 1,000,000 racers: it sorts"
        yield at_most("first-query", what, firsts, 0.04, "s")


@measures("after-improvement-40k")
def forty_thousand_racers(_):
    """The same at 40,000 racers."""
    with Alleycat(store("board", [sized(40_000, 100)], 3), *NO_SNAPSHOTS) as alleycat:
        alleycat.get("/classes/1/leaderboard?second=0")
        yield after_improvement("after-improvement-40k", "the same at 40,000 racers", alleycat)


def after_improvement(name, what, alleycat):
    ratios, rests, afters = [], [], []
    for racer in range(1, 16):
        path = f"/classes/1/leaderboard?second=0&around={racer}"
        rests.append(min(timed_get(alleycat, path) for _ in range(3)))
        improve(alleycat, racer)
        afters.append(timed_get(alleycat, path))
        ratios.append(afters[-1] / rests[-1])
    rest, after = (show(statistics.median(took), "s") for took in (rests, afters))
    return at_most(name, what, ratios, 4, "×", f"at rest {rest}, after an improvement {after}")


def improve(alleycat, racer):
    """Delivers an improvement of the racer at second 0."""
    ride = {"classId": 1, "second": 0, "racerId": racer, "cadence": 300, "resistance": racer + 50}
    data = base64.b64encode(json.dumps(ride).encode()).decode()
    body = json.dumps({"requestId": "bench", "timestamp": 0, "records": [{"data": data}]}).encode()
    deliver(alleycat.port, iter([request(body)]), 1)


def timed_get(alleycat, path):
    """Returns the seconds that a request takes on a connection that is already open."""
    with socket.create_connection(("127.0.0.1", alleycat.port), timeout=60) as connection:
        head = "Host: 127.0.0.1\r\n\r\n"
        connection.sendall(f"GET /healthz HTTP/1.1\r\n{head}".encode())
        receive(connection)
        began = time.monotonic()
        connection.sendall(f"GET {path} HTTP/1.1\r\n{head}".encode())
        response = receive(connection)
        took = time.monotonic() - began
    if not response.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a query failed: {response[:300]}")
    return took


@measures("pace", "pace-after", "pace-first")
def pace(wanted):
    """Pace curves of 40,000 racers and 300 seconds: five curves from the cache and right after an improvement; and the first
    use of twenty."""
    racers = sized(40_000, 100)
    path = "/classes/1/pace?percentile=99,90,50&rank=1,10"
    twenty = "/classes/1/pace?percentile=" + ",".join(str(percent) for percent in range(5, 100, 6)) + "&rank=1,2,3,10"
    with Alleycat(store("pace", [racers], sized(SECONDS, 10)), *NO_SNAPSHOTS) as alleycat:
        first = timed_get(alleycat, twenty)
        timed_get(alleycat, path)
        if "pace" in wanted:
            rates = [wrk(alleycat.url(path), 64).rate for _ in runs()]
            yield at_least("pace", "five pace curves from the cache, 64 connections", rates, 5_000, "requests/s")
        if "pace-after" in wanted:
            afters = []
            for racer in range(1, 16):
                improve(alleycat, racer)
                afters.append(timed_get(alleycat, path))
            yield at_most("pace-after", "the same right after an improvement, one at a time", afters, 0.005, "s")
        if "pace-first" in wanted:
            yield at_most("pace-first", "first use of 20 curves", [first], 0.1, "s")


@measures("saturated")
def queries_while_ingesting(_):
    """Eight clients query every 10 ms: while idle, and while deliveries saturate the core."""
    requests = [request(body) for body in ingest_bodies()]
    path = f"'/classes/' .. r(6) .. '/leaderboard?second=' .. (r({sized(SECONDS, 10)}) - 1)"
    script = wrk_paths(path) + "delay = function() return 10 end\n"
    idle, saturated, rates = [], [], []
    with Alleycat(ingest_store(), *NO_SNAPSHOTS) as alleycat:
        deliver(alleycat.port, iter(requests), 8)
        wrk(alleycat.url("/"), 8, script)  # sorts the leaderboards
        alleycat.settle()
        for _ in runs():
            idle.append(wrk(alleycat.url("/"), 8, script, first=True))
            stop = threading.Event()
            endless = itertools.takewhile(lambda _: not stop.is_set(), itertools.cycle(requests))
            outcome = []
            ingest = threading.Thread(target=lambda: outcome.append(deliver(alleycat.port, endless, 8)))
            ingest.start()
            saturated.append(wrk(alleycat.url("/"), 8, script, first=True))
            stop.set()
            ingest.join()
            if not outcome:
                raise RuntimeError("the deliveries failed")
            count, seconds = outcome[0]
            rates.append(count * sized(RECORDS) / seconds)
    ratios = [b.p99 / a.p99 for a, b in zip(idle, saturated)]
    note = f"idle: p50 {show(statistics.median(load.p50 for load in idle), 's')}, "
    note += f"p99 {show(statistics.median(load.p99 for load in idle), 's')}; saturated: "
    note += f"p50 {show(statistics.median(load.p50 for load in saturated), 's')}, "
    note += f"p99 {show(statistics.median(load.p99 for load in saturated), 's')}, "
    note += f"at {show(statistics.median(rates), 'records/s')}"
    note += "" if may_go_first() else "; the queries shared their core with the senders, without priority"
    what = "queries while ingest saturates the same core: p99 over idle p99"
    yield at_most("saturated", what, ratios, 3, "×", note)
