"""Every scenario records the same with pika 1.4.4 and with this library, but for what docs/compatibility.md lists."""

from __future__ import annotations

import importlib
import json
import pkgutil
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.differential import scenarios as package
from tests.differential.compare import FORBIDDEN, RAISED_OTHERWISE, Difference, compare_logs, compare_records
from tests.differential.env import Scenario
from tests.differential.expected import EXPECTED
from tests.differential.loops import LOOPS
from tests.differential.service import PROJECT, Library, Nodes, record_all
from tests.support import oracle
from tests.support.rabbitmq import Broker, RabbitMQ

MODULES = {
    info.name: importlib.import_module(f"{package.__name__}.{info.name}").scenarios
    for info in pkgutil.iter_modules(package.__path__)
}
SCENARIOS: dict[str, Scenario] = {name: one for module in MODULES.values() for name, one in module.items()}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def definitions(folder: Path, *vhosts: str) -> str:
    """Write the definitions of virtual hosts, and of users without rights and with all of them, into a file."""
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    limited = {"configure": "^$", "write": "^$", "read": "^$"}
    users = [
        {"name": f"{vhost}-{kind}", "password": "secret", "tags": ""} for vhost in vhosts for kind in ("user", "victim")
    ]
    permissions = [{"user": "guest", "vhost": vhost, **rights} for vhost in vhosts]
    permissions += [{"user": f"{vhost}-user", "vhost": vhost, **limited} for vhost in vhosts]
    permissions += [{"user": f"{vhost}-victim", "vhost": vhost, **rights} for vhost in vhosts]
    path = folder / "definitions.json"
    content = {"vhosts": [{"name": vhost} for vhost in vhosts], "users": users, "permissions": permissions}
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def libraries(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Library]]:
    """Both libraries, each with a virtual host of its own."""
    python = oracle.oracle_python()
    if python is None:
        pytest.skip(oracle.REASON)
    name = f"differential-{secrets.token_hex(4)}"
    # Of one length: what is recorded does not depend on it.
    theirs, ours = f"{name}-a", f"{name}-b"
    rabbitmq.ctl("import_definitions", definitions(tmp_path_factory.mktemp("definitions"), theirs, ours))
    yield [Library("theirs", str(python), "", theirs), Library("ours", sys.executable, str(PROJECT), ours)]
    for vhost in (theirs, ours):
        rabbitmq.ctl("delete_vhost", vhost)
        rabbitmq.ctl("delete_user", f"{vhost}-user")
        rabbitmq.ctl("delete_user", f"{vhost}-victim")


@pytest.fixture(scope="module")
def recordings(
    request: pytest.FixtureRequest, rabbitmq: Broker, libraries: list[Library]
) -> Iterator[dict[tuple[str, str], Any]]:
    """What the scenarios of this run recorded, by name and library."""
    chosen = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    wanted = {module: [name for name in of_it if name in chosen] for module, of_it in MODULES.items()}
    node = RabbitMQ()

    def start() -> Broker:
        node.start()
        return node

    nodes = Nodes(rabbitmq, start)
    try:
        yield record_all(libraries, {module: names for module, names in wanted.items() if names}, nodes)
    finally:
        node.stop()


def unexpected(name: str, found: list[Difference]) -> str:
    """Say which of the differences the scenario does not declare."""
    declared = [EXPECTED[key] for key in SCENARIOS[name].differs]
    return "\n".join(str(one) for one in found if not any(expected.covers(one, name) for expected in declared))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_program_sees_the_same(name: str, recordings: dict[tuple[str, str], Any]) -> None:
    theirs, ours = recordings[name, "theirs"], recordings[name, "ours"]
    assert not theirs["problem"], f"with pika 1.4.4:\n{theirs['problem'][0]}"
    assert not ours["problem"], f"with this library:\n{ours['problem'][0]}"
    assert theirs["pika"] == "1.4.4"
    assert theirs["records"], "a scenario that records nothing compares nothing"
    found = unexpected(name, list(compare_records(theirs["records"], ours["records"])))
    assert not found, found


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_program_logs_the_same(name: str, recordings: dict[tuple[str, str], Any]) -> None:
    theirs, ours = recordings[name, "theirs"], recordings[name, "ours"]
    found = unexpected(name, list(compare_logs(theirs["logs"], ours["logs"])))
    assert not found, found


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.differs])
def test_a_declared_difference_is_there(name: str, recordings: dict[tuple[str, str], Any]) -> None:
    theirs, ours = recordings[name, "theirs"], recordings[name, "ours"]
    found = [*compare_records(theirs["records"], ours["records"]), *compare_logs(theirs["logs"], ours["logs"])]
    for key in SCENARIOS[name].differs:
        assert any(EXPECTED[key].covers(one, name) for one in found), f"{key}: there is no such difference any more"


@pytest.mark.parametrize("key", EXPECTED)
def test_a_difference_on_purpose_is_documented(key: str) -> None:
    page = " ".join((PROJECT / "docs" / "compatibility.md").read_text(encoding="utf-8").split())
    assert " ".join(EXPECTED[key].row.split()) in page
    assert EXPECTED[key].kind not in FORBIDDEN or EXPECTED[key].reason in RAISED_OTHERWISE
    assert any(key in scenario.differs for scenario in SCENARIOS.values()), "no scenario has it"


def test_there_are_enough_scenarios() -> None:
    assert len(SCENARIOS) >= 60
    for loop in LOOPS:
        assert sum(name.startswith(f"{loop}_") for name in SCENARIOS) >= 30, loop
    assert sum(map(len, MODULES.values())) == len(SCENARIOS), "two scenarios have the same name"
