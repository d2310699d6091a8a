"""The benchmarks measure what they say, at sizes that take no time; how fast anything is, no test says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import broker, chart, clients, goals, pages, report, tables
from benchmarks.clients import BARE, REFERENCE, C, Client, MeasurementError, Sample
from benchmarks.growth import add_factors
from benchmarks.scale import LINES, Line
from benchmarks.workloads import MIB, WORKLOADS, Workload
from tests.support.rabbitmq import Broker

# What is measured differs between interpreters, how does not.
pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
OWN = ("BlockingConnection", "pika.Connection", "SelectConnection", "AsyncioConnection", "pika.aio")
OTHERS = ("py-amqp", "amqpstorm", "aiormq", "aio-pika", C)
MESSAGES = ("publish", "consume", "consume-ack", "publish-confirmed", "get", "publish-1m", "consume-1m")
LARGE = ("publish-64m", "get-64m")


def run_script(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )


def sample(cpu_us: float, rate: float, peak: float | None = 20.0, grown: float | None = 0.0) -> Sample:
    return Sample("1.0", "CPython 3", cpu_us, cpu_us / 2, rate, peak, grown)


def client(code: str) -> Client:
    return Client("a client", (sys.executable, "-c", code), frozenset(("publish",)))


def results_of(samples: dict[str, dict[str, list[Sample]]]) -> dict[str, Any]:
    """What a run gives for some samples, by workload and client."""
    names = dict.fromkeys(name for by_client in samples.values() for name in by_client)
    return {
        "format": 2,
        "started": "2026-01-02T03:04:05+00:00",
        "machine": {"system": "Linux 6", "processor": "a <fast> one", "cpus": 2},
        "broker": {"product": "RabbitMQ", "version": "3.10.8"},
        "rounds": 1,
        "clients": {name: {"version": "1.0", "python": "" if name == C else "CPython 3.11.7"} for name in names},
        "workloads": [
            report.as_json(workload, 5, samples[workload.name]) for workload in WORKLOADS if workload.name in samples
        ],
        "missing": [],
    }


SOME = results_of(
    {
        "publish": {
            "BlockingConnection": [sample(2.4, 50_000)],
            REFERENCE: [sample(48, 20_000)],
            C: [sample(1, 40_000)],
        },
        "get-64m": {"BlockingConnection": [sample(9e4, 10, grown=192)], REFERENCE: [sample(3e5, 2)], C: [sample(9, 8)]},
    }
)


def small_run(broker: Broker, file: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    done = run_script(
        "run.py", "--rounds", "1", "--messages", "2", "--json", str(file), *arguments, PIKA_TEST_AMQP_URL=broker.url
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text(encoding="utf-8")), done.stdout


def check(results: dict[str, Any], printed: str) -> None:
    assert results["format"] == 2
    assert results["broker"]["product"] == "RabbitMQ"
    assert results["machine"]["cpus"] == os.cpu_count()
    for one in results["workloads"]:
        assert one["title"] in printed
        for name, figures in one["clients"].items():
            check_figures(figures, {other for other in (REFERENCE, C) if other in one["clients"] and other != name})


def check_figures(figures: dict[str, Any], compared: set[str]) -> None:
    for name in ("cpu_us", "rate"):
        values = [one[name] for one in figures["rounds"]]
        spread = figures[name]
        assert (spread["low"], spread["high"]) == (min(values), max(values))
        assert spread["low"] <= spread["median"] <= spread["high"]
    assert {reference for reference, ratio in figures["ratios"].items() if ratio is not None} == compared
    assert all(0 <= one["user_us"] <= one["cpu_us"] for one in figures["rounds"])


@pytest.mark.parametrize(
    ("client_name", "has"),
    [
        ("BlockingConnection", {*MESSAGES, "open", "import", "encode", "decode"}),
        ("pika.Connection", {*MESSAGES, "publish-window", "open"}),
        ("SelectConnection", {*MESSAGES, "publish-window"}),
        ("AsyncioConnection", {*MESSAGES, "publish-window"}),
        ("pika.aio", {*MESSAGES, "publish-window", "open"}),
        ("pika.protocol", {"encode", "decode"}),
        (BARE, {*MESSAGES, "publish-window"}),
        (C, {*MESSAGES, "publish-window", "open"}),
    ],
)
def test_the_workloads_run(rabbitmq: Broker, tmp_path: Path, client_name: str, has: set[str]) -> None:
    small = [workload.name for workload in WORKLOADS if workload.name not in LARGE]
    arguments = ("--python", "--clients", client_name, "--workloads", *small)
    results, printed = small_run(rabbitmq, tmp_path / "results.json", *arguments)
    check(results, printed)
    if client_name == C and not results["clients"]:
        pytest.skip(results["missing"][0])
    assert set(results["clients"]) == {client_name}
    assert {one["name"] for one in results["workloads"] if one["clients"]} == has
    assert {one["messages"] for one in results["workloads"]} == {2}


@pytest.mark.slow
@pytest.mark.parametrize("workloads", [[one.name] for one in WORKLOADS], ids=" ".join)
def test_every_workload_runs_on_every_client(rabbitmq: Broker, tmp_path: Path, workloads: list[str]) -> None:
    # Of one workload on PyPy too, where it is installed.
    pythons = () if workloads == ["publish"] else ("--python",)
    results, printed = small_run(rabbitmq, tmp_path / "results.json", *pythons, "--workloads", *workloads)
    check(results, printed)
    (measured,) = results["workloads"]
    expected = {"encode": (), "decode": (), "import": OTHERS[:-1], "publish-window": ("aiormq", "aio-pika", C)}
    missing = " ".join(results["missing"])
    for name in expected.get(measured["name"], OTHERS):
        assert name in measured["clients"] or name in missing
    if REFERENCE in results["clients"]:
        assert results["clients"][REFERENCE]["version"] == "1.4.4"
    assert results["clients"].get("BlockingConnection", {"version": ""})["version"] != "1.4.4"


def test_threads_are_measured(rabbitmq: Broker) -> None:
    arguments = ("--few", "2", "--many", "5", "--messages", "100", "--rounds", "2")
    done = run_script("threads.py", *arguments, PIKA_TEST_AMQP_URL=rabbitmq.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "100 messages" in done.stdout and "5 threads publish" in done.stdout


def test_a_message_that_is_lost_is_seen(rabbitmq: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "SETTLE_SECONDS", 0.1)
    lost = pytest.raises(broker.LostError, match="messages were lost: the queue has 3, not 2")
    with lost, broker.queue(rabbitmq.url, b"body", filled=3, left=2):
        pass


def test_a_broker_that_is_not_there_fails_the_run() -> None:
    url = "amqp://guest:guest@127.0.0.1:1/%2F"
    done = run_script("run.py", "--clients", "pika.protocol", "--workloads", "encode", PIKA_TEST_AMQP_URL=url)
    assert done.returncode == 1
    assert "FAILED: the broker at 127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    "command", [("run.py", "--rounds"), ("run.py", "--messages"), ("growth.py", "--rounds")], ids=" ".join
)
def test_nothing_cannot_be_measured(command: tuple[str, ...]) -> None:
    done = run_script(*command, "0")
    assert done.returncode == 2
    assert f"argument {command[1]}: must be at least 1, got 0" in done.stderr


def test_an_interpreter_that_does_not_run_is_told() -> None:
    found, missing = clients.installed(["pika.protocol"], pythons=["/no/such/python"])
    assert [one.name for one in found] == ["pika.protocol"]
    assert missing == ["/no/such/python does not run: this library is not measured on it"]


def test_a_program_that_fails_is_reported_with_what_it_said() -> None:
    with pytest.raises(MeasurementError, match=r"(?s)ended with status 1:.*messages were lost: 1 of 2"):
        clients.run(client("raise SystemExit('messages were lost: 1 of 2')"), WORKLOADS[0], 2, 0, "amqp://", "queue")


def test_a_program_that_did_less_is_refused() -> None:
    code = (
        'print(\'{"messages": 1, "user_seconds": 1, "system_seconds": 1, "seconds": 1, "peak_rss_kib": null, '
        '"grown_kib": null}\')'
    )
    with pytest.raises(MeasurementError, match="a client, publish: 1 messages, not 2"):
        clients.run(client(code), WORKLOADS[0], 2, 0, "amqp://", "queue")


def test_cpu_is_user_and_system_time_for_each_message() -> None:
    code = (
        'print(\'{"version": "1", "python": "C", "messages": 2, "user_seconds": 4, "system_seconds": 2, '
        '"seconds": 0.5, "peak_rss_kib": 2048, "grown_kib": 1024}\')'
    )
    taken = clients.run(client(code), WORKLOADS[0], 2, 0, "amqp://", "queue")
    assert taken == Sample("1", "C", cpu_us=3e6, user_us=2e6, rate=4.0, peak_rss_mib=2.0, grown_mib=1.0)


def test_who_is_slow_has_fewer_messages_and_who_learns_has_more_before_them() -> None:
    get, large = (next(one for one in WORKLOADS if one.name == name) for name in ("get", "publish-1m"))
    slow = Client("slow", (), frozenset(), most={"get": 50})
    learning = Client("learning", (), frozenset(), warm_up=10_000)
    assert clients.measured_messages(slow, get, None) == (50, 50)
    assert clients.measured_messages(learning, get, None) == (3000, 10_000)
    assert clients.measured_messages(learning, large, None) == (100, 5)
    assert clients.measured_messages(learning, get, 7) == (7, 7)


def test_ratios_are_taken_round_by_round() -> None:
    samples = {
        "pika": [sample(1, 100), sample(6, 50), sample(4, 100)],
        REFERENCE: [sample(4, 50), sample(12, 100), sample(40, 100)],
    }
    assert report.ratios(samples, "pika", REFERENCE, "cpu_us") == (0.25, 0.1, 0.5)
    assert report.ratios(samples, "pika", REFERENCE, "rate") == (1.0, 0.5, 2.0)
    assert report.ratios(samples, REFERENCE, REFERENCE, "cpu_us") is None
    assert report.ratios(samples, "pika", C, "cpu_us") is None


def test_memory_is_told_in_bodies_where_they_are_large() -> None:
    large = report.as_json(Workload("x", "x", "get", 3, 1, 64 * MIB), 3, {"a": [sample(1, 1, grown=96)]})
    assert large["clients"]["a"]["peak_bodies"]["median"] == 1.5
    small = report.as_json(Workload("x", "x", "get", 3), 3, {"a": [sample(1, 1, grown=96)]})
    assert small["clients"]["a"]["peak_bodies"] is None


def test_the_table_shows_medians_and_spreads() -> None:
    samples = {"pika": [sample(1, 1000), sample(3, 3000), sample(2, 2000)], REFERENCE: [sample(4, 500, None)]}
    result = report.as_json(Workload("publish", "publish things", "publish", 7), 5000, samples)
    lines = tables.text(tables.details([result])).splitlines()
    assert lines[1] == "publish things, 5,000 x 1,024 B"
    assert " ".join(lines[2].split()) == "pika 2.00 1.00 - 3.00 2,000 20.0 0.25 (0.25 - 0.25) 2.00 (2.00 - 2.00)"
    assert " ".join(lines[3].split()) == f"{REFERENCE} 4.00 4.00 - 4.00 500"


def test_goals_are_held_against_what_was_measured() -> None:
    publish, get = goals.outcomes(SOME)
    assert publish.cost == (2.4, 2.5, True)
    assert publish.ratio == (pytest.approx(20), 14, True)
    assert publish.rate == (1.25, 1.0, True)
    assert publish.memory is None
    assert get.unit == "s"
    assert get.cost == (0.1, 0.05, False)
    assert get.ratio == (5.0, 4, True)
    assert get.memory == (3.0, 2.0, False)
    verdicts = [row[-1] for row in tables.goals(SOME)[1:]]
    # A cost is reached by itself, or by how many times less than pika it is.
    assert verdicts == ["yes", "no: memory"]


def test_costs_are_told_in_the_unit_of_the_workload() -> None:
    assert tables.costs(SOME) == [
        ("", "BlockingConnection", REFERENCE, C),
        ("publish, µs", "2.40", "48.0", "1.00"),
        ("basic.get of 64 MiB, s", "0.10", "0.50", "0.12"),
    ]
    assert tables.markdown(tables.costs(SOME)).splitlines()[1] == "| --- | ---: | ---: | ---: |"


def test_the_chart_has_a_bar_for_each_client_on_a_logarithmic_scale() -> None:
    root = ElementTree.fromstring(chart.draw(SOME))
    space = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{space}text")]
    assert "publish" in texts
    assert "basic.get of 64 MiB" not in texts
    assert texts.index(C) < texts.index("BlockingConnection") < texts.index(REFERENCE)
    # From 1 to 100: what takes 48 is drawn log10(48) decades long.
    least, own, most = [float(bar.get("width", "0")) for bar in root.iter(f"{space}rect")][1:]
    assert least == 1.0
    assert own / most == pytest.approx(0.3802 / 1.6812, rel=0.01)


def test_the_figures_of_a_run_are_put_into_the_pages(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for page in (pages.PERFORMANCE, pages.README):
        shutil.copy(BENCHMARKS.parent / page, tmp_path / page)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(SOME), encoding="utf-8")
    for _ in range(2):
        done = run_script("run.py", "--read", str(file), "--docs", str(tmp_path))
        assert done.returncode == 0, done.stderr
    readme = (tmp_path / pages.README).read_text(encoding="utf-8")
    assert readme.count("![CPU of the client's process per message") == 1
    assert "| BlockingConnection | 2.40 |" in readme
    assert "64 MiB" not in readme.partition("<!-- measured: speed -->")[2].partition("<!-- end: speed -->")[0]
    performance = (tmp_path / pages.PERFORMANCE).read_text(encoding="utf-8")
    assert f"| {C} | 1.00 | 0.12 |" in performance
    assert "Median of 1 rounds on 2026-01-02: Linux 6, 2 processors (a <fast> one), RabbitMQ 3.10.8" in performance
    assert f"CPython 3.11.7, {C} 1.0." in performance
    ElementTree.fromstring((tmp_path / pages.CHART).read_text(encoding="utf-8"))


def test_a_page_without_a_place_for_figures_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place for the figures 'costs'"):
        pages.fill(page, {"costs": "1"})


def test_growth_is_told_for_each_doubling() -> None:
    rows: list[dict[str, Any]] = [{"size": size, "seconds": seconds} for size, seconds in ((1, 1), (2, 2), (8, 32))]
    add_factors(rows)
    assert [row["factor"] for row in rows] == [None, 2.0, 4.0]


def test_growth_of_bodies_runs(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    sizes = ("--sizes", "0.25", "0.5", "--octet-sizes", "0.001", "0.002")
    done = run_script("growth.py", "--only", "bodies", *sizes, "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert [row["size"] for row in results["socket"]] == [MIB // 4, MIB // 2]
    assert [row["size"] for row in results["octets"]] == [round(0.001 * MIB), round(0.002 * MIB)]
    for rows in (results["socket"], results["octets"]):
        assert all(row["seconds"] > 0 and row["mib_per_second"] > 0 for row in rows)
        assert [row["factor"] is None for row in rows] == [True, False]
    assert "octet by octet" in done.stdout


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_growth_with_numbers_runs(rabbitmq: Broker, tmp_path: Path, line: Line) -> None:
    file = tmp_path / "growth.json"
    few = ("--most", "3", "--operations", "50", "--idle", "0.1", "--rounds", "1", "--json", str(file))
    (tmp_path / "docs").mkdir()
    shutil.copy(BENCHMARKS.parent / pages.PERFORMANCE, tmp_path / pages.PERFORMANCE)
    arguments = ("--only", line.name, *few, "--docs", str(tmp_path))
    done = run_script("growth.py", *arguments, PIKA_TEST_AMQP_URL=rabbitmq.url)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(file.read_text(encoding="utf-8"))["scale"]
    assert measured["name"] == line.name
    assert measured["factor"] == pytest.approx(measured["many_us"] / measured["few_us"])
    assert measured["many"] == 3
    assert line.title in done.stdout
    assert f"| {line.title} |" in (tmp_path / pages.PERFORMANCE).read_text(encoding="utf-8")
    assert ("3 idle connections of " in done.stdout) == ("connections" in line.name)


def test_growth_on_the_embedded_broker_runs() -> None:
    few = ("--most", "100", "--idle", "0.5", "--rounds", "1")
    done = run_script("growth.py", "--embedded", "--only", "aio-connections", *few)
    assert done.returncode == 0, done.stderr
    assert "100 idle connections of pika.aio in one process: " in done.stdout


def test_growth_without_a_peer_is_an_error() -> None:
    # Nobody listens there: the program ends with an error, and so does what runs it.
    program = str(clients.PROGRAMS / "receive_body.py")
    with pytest.raises(MeasurementError, match="ended with status 1"):
        clients.run_program((sys.executable, program, "socket", "1000", "1"), clients.ROOT)
