"""The benchmarks measure what they say, at sizes that take no time; how fast anything is, no test says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import clients, report
from benchmarks.clients import Client, MeasurementError, Sample
from benchmarks.growth import add_factors
from benchmarks.workloads import WORKLOADS, Workload
from tests.support.oracle import oracle_python
from tests.support.rabbitmq import Broker

# What is measured differs between interpreters, how does not.
pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MIB = 1 << 20


def run_script(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def sample(cpu_us: float, rate: float, peak: float | None = 20.0) -> Sample:
    return Sample("1.0", "CPython 3", cpu_us, cpu_us / 2, rate, peak)


def client(code: str) -> Client:
    return Client("a client", (sys.executable, "-c", code), frozenset(("publish",)))


@pytest.mark.slow
def test_every_workload_runs_on_every_client(rabbitmq: Broker, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = run_script(
        "run.py", "--rounds", "2", "--messages", "20", "--json", str(file),
        PIKA_TEST_AMQP_URL=rabbitmq.url, PYTHONIOENCODING="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert results["format"] == 1
    assert results["rounds"] == 2
    assert results["broker"]["product"] == "RabbitMQ"
    assert results["machine"]["cpus"] == os.cpu_count()
    assert [one["name"] for one in results["workloads"]] == [workload.name for workload in WORKLOADS]
    both = {"pika", clients.REFERENCE} if oracle_python() else {"pika"}
    assert set(results["clients"]) == both | {"pika.protocol"}
    if oracle_python():
        assert results["clients"][clients.REFERENCE]["version"] == "1.4.4"
    assert results["clients"]["pika"]["version"] != "1.4.4"
    for one in results["workloads"]:
        alone = {"pika.protocol"} if one["name"] in ("encode", "decode") else set()
        assert set(one["clients"]) == both | alone
        assert one["messages"] == 20
        assert one["title"] in done.stdout
        for name, figures in one["clients"].items():
            check_figures(figures, compared=name != clients.REFERENCE and bool(oracle_python()))


def check_figures(figures: dict[str, Any], compared: bool) -> None:
    assert len(figures["rounds"]) == 2
    for name in ("cpu_us", "rate"):
        values = [one[name] for one in figures["rounds"]]
        spread = figures[name]
        assert (spread["low"], spread["high"]) == (min(values), max(values))
        assert spread["low"] <= spread["median"] <= spread["high"]
        assert (figures[f"{name.replace('_us', '')}_ratio"] is not None) == compared
    assert all(0 <= one["user_us"] <= one["cpu_us"] for one in figures["rounds"])


def test_a_broker_that_is_not_there_fails_the_run() -> None:
    done = run_script("run.py", "--workloads", "encode", PIKA_TEST_AMQP_URL="amqp://guest:guest@127.0.0.1:1/%2F")
    assert done.returncode == 1
    assert "FAILED: the broker at 127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    "command", [("run.py", "--rounds"), ("run.py", "--messages"), ("growth.py", "--rounds")], ids=" ".join
)
def test_nothing_cannot_be_measured(command: tuple[str, ...]) -> None:
    done = run_script(*command, "0")
    assert done.returncode == 2
    assert f"argument {command[1]}: must be at least 1, got 0" in done.stderr


def test_a_program_that_fails_is_reported_with_what_it_said() -> None:
    with pytest.raises(MeasurementError, match=r"(?s)ended with status 1:.*messages were lost: 1 of 2"):
        clients.run(client("raise SystemExit('messages were lost: 1 of 2')"), "publish", 2, 1024, "amqp://")


def test_a_program_that_did_less_is_refused() -> None:
    code = 'print(\'{"messages": 1, "user_seconds": 1, "system_seconds": 1, "seconds": 1, "peak_rss_kib": null}\')'
    with pytest.raises(MeasurementError, match="a client, publish: 1 messages, not 2"):
        clients.run(client(code), "publish", 2, 1024, "amqp://")


def test_cpu_is_user_and_system_time_for_each_message() -> None:
    code = (
        'print(\'{"version": "1", "python": "C", "messages": 2, "user_seconds": 4, "system_seconds": 2, '
        '"seconds": 0.5, "peak_rss_kib": 2048}\')'
    )
    taken = clients.run(client(code), "publish", 2, 1024, "amqp://")
    assert taken == Sample("1", "C", cpu_us=3e6, user_us=2e6, rate=4.0, peak_rss_mib=2.0)


def test_ratios_are_taken_round_by_round() -> None:
    samples = {
        "pika": [sample(1, 100), sample(6, 50), sample(4, 100)],
        clients.REFERENCE: [sample(4, 50), sample(12, 100), sample(40, 100)],
    }
    assert report.ratios(samples, "pika", "cpu_us") == (0.25, 0.1, 0.5)
    assert report.ratios(samples, "pika", "rate") == (1.0, 0.5, 2.0)
    assert report.ratios(samples, clients.REFERENCE, "cpu_us") is None
    assert report.ratios({"pika": samples["pika"]}, "pika", "cpu_us") is None


def test_the_table_shows_medians_and_spreads() -> None:
    samples = {"pika": [sample(1, 1000), sample(3, 3000), sample(2, 2000)], clients.REFERENCE: [sample(4, 500, None)]}
    result = report.as_json(Workload("publish", "publish things", 7), 5000, samples)
    lines = report.table([result]).splitlines()
    assert lines[1] == "publish things, 5,000 x 1,024 B"
    assert " ".join(lines[2].split()) == "pika 2.00 1.00 - 3.00 2,000 20.0 0.25 (0.25 - 0.25) 2.00 (2.00 - 2.00)"
    assert " ".join(lines[3].split()) == "pika 1.4.4 4.00 4.00 - 4.00 500"


def test_growth_is_told_for_each_doubling() -> None:
    rows: list[dict[str, Any]] = [{"size": size, "seconds": seconds} for size, seconds in ((1, 1), (2, 2), (8, 32))]
    add_factors(rows)
    assert [row["factor"] for row in rows] == [None, 2.0, 4.0]


def test_growth_runs(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    done = run_script(
        "growth.py", "--sizes", "0.25", "0.5", "--octet-sizes", "0.001", "0.002", "--rounds", "1", "--json", str(file)
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))
    assert [row["size"] for row in results["socket"]] == [MIB // 4, MIB // 2]
    assert [row["size"] for row in results["octets"]] == [round(0.001 * MIB), round(0.002 * MIB)]
    for rows in (results["socket"], results["octets"]):
        assert all(row["seconds"] > 0 and row["mib_per_second"] > 0 for row in rows)
        assert [row["factor"] is None for row in rows] == [True, False]
    assert "octet by octet" in done.stdout


def test_growth_without_a_peer_is_an_error() -> None:
    # Nobody listens there: the program ends with an error, and so does what runs it.
    program = str(clients.PROGRAMS / "receive_body.py")
    with pytest.raises(MeasurementError, match="ended with status 1"):
        clients.run_program((sys.executable, program, "socket", "1000", "1"), clients.ROOT)
