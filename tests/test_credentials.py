"""What credentials answer to the broker, and what they keep to themselves."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pika.credentials import VALID_TYPES, ExternalCredentials, PlainCredentials


class Start:
    def __init__(self, mechanisms: str | bytes) -> None:
        self.mechanisms = mechanisms


@pytest.mark.parametrize(
    ("username", "password", "response"),
    [
        ("guest", "guest", b"\0guest\0guest"),
        ("", "", b"\0\0"),
        ("jürgen", "pässwörd ✓", "\0jürgen\0pässwörd ✓".encode()),
        (b"raw", b"\xff", b"\0raw\0\xff"),
    ],
)
def test_plain_response(username: Any, password: Any, response: bytes) -> None:
    assert PlainCredentials(username, password).response_for(Start("PLAIN AMQPLAIN")) == ("PLAIN", response)


@pytest.mark.parametrize(
    ("mechanisms", "plain", "external"),
    [
        ("PLAIN", True, False),
        (b"AMQPLAIN PLAIN", True, False),
        ("EXTERNAL PLAIN", True, True),
        (b"EXTERNAL", False, True),
        ("AMQPLAIN", False, False),
        ("XPLAIN EXTERNALX", False, False),
        ("plain external", False, False),
        ("", False, False),
        (b"\xff", False, False),
    ],
)
def test_only_mechanisms_that_the_broker_offers(mechanisms: Any, plain: bool, external: bool) -> None:
    start = Start(mechanisms)
    assert PlainCredentials("u", "p").response_for(start) == (("PLAIN", b"\0u\0p") if plain else (None, None))
    assert ExternalCredentials().response_for(start) == (("EXTERNAL", b"") if external else (None, None))


def test_erasing() -> None:
    kept = PlainCredentials("u", "p")
    kept.erase_credentials()
    assert (kept.username, kept.password, kept.erase_on_connect) == ("u", "p", False)
    erased = PlainCredentials("u", "p", True)
    erased.erase_credentials()
    assert (erased.username, erased.password, erased.erase_on_connect) == (None, None, True)
    assert erased.response_for(Start("PLAIN")) == ("PLAIN", b"\0\0")
    external = ExternalCredentials()
    external.erase_credentials()
    assert vars(external) == {"erase_on_connect": False}


def test_equality() -> None:
    assert PlainCredentials("u", "p") == PlainCredentials("u", "p")
    assert PlainCredentials("u", "p") != PlainCredentials("u", "q")
    assert PlainCredentials("u", "p") != PlainCredentials("v", "p")
    assert PlainCredentials("u", "p") != PlainCredentials("u", "p", erase_on_connect=True)
    assert PlainCredentials("u", "p") != ExternalCredentials()
    assert ExternalCredentials() == ExternalCredentials()
    assert ExternalCredentials() != "EXTERNAL"
    assert copy.deepcopy(PlainCredentials("u", "p")) == PlainCredentials("u", "p")


@pytest.mark.parametrize("credentials", [PlainCredentials("u", "p"), ExternalCredentials()])
def test_mutable_credentials_have_no_hash(credentials: object) -> None:
    with pytest.raises(TypeError):
        hash(credentials)


def test_the_password_is_never_shown() -> None:
    credentials = PlainCredentials("alice", "hunter2")
    for text in (repr(credentials), str(credentials), f"{credentials}", repr([credentials])):
        assert "hunter2" not in text
        assert "alice" in text


def test_types() -> None:
    assert (PlainCredentials.TYPE, ExternalCredentials.TYPE) == ("PLAIN", "EXTERNAL")
    assert [PlainCredentials, ExternalCredentials] == VALID_TYPES
    with pytest.raises(TypeError):
        ExternalCredentials("u")  # type: ignore[call-arg]  # shows that it takes nothing
