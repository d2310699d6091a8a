"""Handlers: descriptors that are ready, that fail, that are closed or taken over, on every poller of this system."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from pika.transport.loop import Loop
from pika.transport.pollers import ERROR, HANGUP, READ, WRITE
from tests.support.bounded import bounded
from tests.support.loops import Boom, Clock, Pairs, boom, run_for, turn


class TestHandlers:
    def test_reading_and_writing(self, loop: Loop, pairs: Pairs) -> None:
        ours, theirs = pairs[0]
        seen: list[tuple[int, int]] = []

        def handle(fd: int, events: int) -> None:
            seen.append((fd, events))
            loop.stop()

        loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        assert seen == []
        theirs.send(b"x")
        loop.start()
        loop.update_handler(ours.fileno(), WRITE)
        loop.start()
        loop.update_handler(ours.fileno(), READ | WRITE)
        loop.start()
        loop.update_handler(ours.fileno(), 0)
        turn(loop)
        loop.remove_handler(ours.fileno())
        turn(loop)
        assert seen == [(ours.fileno(), READ), (ours.fileno(), WRITE), (ours.fileno(), READ | WRITE)]

    def test_what_was_not_taken_is_told_again(self, loop: Loop, pairs: Pairs) -> None:
        ours, theirs = pairs[0]
        got: list[bytes] = []
        theirs.send(b"abc")
        loop.add_handler(ours.fileno(), lambda fd, events: got.append(ours.recv(1)), READ)
        for _ in range(4):
            turn(loop)
        assert got == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("asked", [READ, WRITE, READ | WRITE, READ | WRITE | ERROR])
    def test_the_end_of_the_peer(self, loop: Loop, pairs: Pairs, asked: int) -> None:
        ours, theirs = pairs[0]
        seen: list[int] = []
        theirs.close()
        loop.add_handler(ours.fileno(), lambda fd, events: (seen.append(events), loop.stop()), asked)
        loop.start()
        assert seen[0] & ~HANGUP == asked & ~ERROR

    @pytest.mark.parametrize("asked", [READ, WRITE, READ | WRITE])
    def test_a_reset_is_told_as_what_was_asked_for(self, loop: Loop, asked: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        seen: list[int] = []
        with ours:
            loop.add_handler(ours.fileno(), lambda fd, events: seen.append(events), asked)
            # The reset may take a moment to arrive.
            while not seen or seen[-1] & ~HANGUP != asked:
                turn(loop)
            loop.remove_handler(ours.fileno())
        assert all(not events & ~(asked | HANGUP) for events in seen)

    @pytest.mark.parametrize("asked", [WRITE, WRITE | ERROR, READ | WRITE])
    def test_a_connection_that_is_refused(self, loop: Loop, asked: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        seen: list[int] = []
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(address)
            loop.add_handler(sock.fileno(), lambda fd, events: (seen.append(events), loop.stop()), asked)
            bounded(loop.start)
            assert seen[0] & WRITE
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            loop.remove_handler(sock.fileno())

    def test_an_error_that_nobody_asked_about_does_not_spin(self, clocked: Loop, clock: Clock) -> None:
        """The end of a pipe that is written to has failed, whatever was asked, when nobody reads any more."""
        reader, writer = os.pipe()
        os.close(reader)
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(events)
            clocked.remove_handler(fd)

        try:
            clocked.add_handler(writer, handle, READ)
            run_for(clocked, 0.2)
        finally:
            os.close(writer)
        assert clock.read < 100
        assert all(events & (READ | ERROR | HANGUP) for events in seen)

    def test_one_that_asks_for_nothing_hears_nothing_and_does_not_spin(
        self, clocked: Loop, clock: Clock, pairs: Pairs
    ) -> None:
        for asked in (0, HANGUP):
            ours, theirs = pairs[asked // HANGUP]
            clocked.add_handler(ours.fileno(), lambda fd, events: boom(), READ)
            clocked.update_handler(ours.fileno(), asked)
            theirs.close()
        run_for(clocked, 0.2)
        assert clock.read < 100

    def test_what_a_handler_removes_is_not_called_any_more(
        self, loop: Loop, pairs: Pairs, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(fd)
            for ours, _ in pairs:
                loop.remove_handler(ours.fileno())

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        turn(loop)
        assert len(seen) == 1
        assert caplog.records == []

    def test_what_a_handler_silences_is_not_called_any_more(self, loop: Loop, pairs: Pairs) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(fd)
            for ours, _ in pairs:
                loop.update_handler(ours.fileno(), 0)

        for ours, theirs in pairs:
            theirs.close()
            loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        turn(loop)
        assert len(seen) == 1

    def test_one_that_takes_a_descriptor_over_is_not_told_what_was_found_for_another(
        self, loop: Loop, pairs: Pairs
    ) -> None:
        """All three are ready in one go; the first one called gives the others new handlers, that wait for writing."""
        seen: list[str] = []

        def take_over(fd: int, events: int) -> None:
            seen.append("old")
            for ours, _ in pairs:
                loop.remove_handler(ours.fileno())
                loop.add_handler(ours.fileno(), lambda fd, events: seen.append("new"), READ)

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), take_over, READ)
        turn(loop)
        assert seen == ["old"]
        turn(loop)
        assert seen == ["old", "new", "new", "new"]

    def test_one_whose_question_was_changed_hears_only_the_answer_to_the_new_one(
        self, loop: Loop, pairs: Pairs
    ) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(events)
            for ours, _ in pairs:
                loop.update_handler(ours.fileno(), WRITE)

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), handle, READ)
        turn(loop)
        assert seen == [READ]
        turn(loop)
        assert seen == [READ, WRITE, WRITE, WRITE]

    def test_adding_again_replaces(self, loop: Loop, pairs: Pairs) -> None:
        ours, _ = pairs[0]
        seen: list[int] = []
        loop.add_handler(ours.fileno(), lambda fd, events: boom(), READ)

        def again() -> None:
            loop.add_handler(ours.fileno(), lambda fd, events: (seen.append(events), loop.stop()), WRITE)

        loop.add_callback(again)
        loop.start()
        assert seen == [WRITE]

    def test_one_that_raises_leaves_start_and_the_others_are_served_by_the_next(self, loop: Loop, pairs: Pairs) -> None:
        seen: list[int] = []

        def handle(fd: int, events: int) -> None:
            seen.append(fd)
            os.read(fd, 1)
            if len(seen) == 1:
                raise Boom

        for ours, theirs in pairs:
            theirs.send(b"x")
            loop.add_handler(ours.fileno(), handle, READ)
        with pytest.raises(Boom):
            loop.start()
        turn(loop)
        assert sorted(seen) == sorted(ours.fileno() for ours, _ in pairs)

    def test_a_descriptor_that_is_none(self, loop: Loop, pairs: Pairs) -> None:
        number = os.dup(pairs[0][0].fileno())
        os.close(number)
        for descriptor in (number, -1):
            with pytest.raises((OSError, ValueError)):
                loop.add_handler(descriptor, lambda fd, events: None, READ)
            with pytest.raises(KeyError):
                loop.remove_handler(descriptor)
        with pytest.raises(TypeError):
            loop.add_handler(pairs[0][0], lambda fd, events: None, READ)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="handler must be a callable"):
            loop.add_handler(pairs[0][0].fileno(), None, READ)  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError, match="has no handler"):
            loop.update_handler(pairs[0][0].fileno(), READ)
        turn(loop)

    def test_one_that_was_closed_before_it_was_removed(self, clocked: Loop, clock: Clock, pairs: Pairs) -> None:
        """The loop neither spins nor fails, goes on serving the others, and takes the removal."""
        closed, _ = pairs[0]
        number = closed.fileno()
        clocked.add_handler(number, lambda fd, events: boom(), READ)
        clocked.add_callback(closed.close)
        run_for(clocked, 0.2)
        assert clock.read < 100
        seen: list[int] = []
        clocked.add_handler(pairs[1][0].fileno(), lambda fd, events: (seen.append(events), clocked.stop()), WRITE)
        clocked.start()
        assert seen == [WRITE]
        clocked.remove_handler(number)
        clocked.remove_handler(pairs[1][0].fileno())

    def test_a_number_that_was_closed_and_is_in_use_again(self, loop: Loop, pairs: Pairs) -> None:
        ours = pairs[0][0]
        seen: list[str] = []
        number = os.dup(ours.fileno())
        loop.add_handler(number, lambda fd, events: seen.append("old"), READ)
        os.close(number)
        assert os.dup(pairs[1][0].fileno()) == number
        try:
            loop.add_handler(number, lambda fd, events: (seen.append("new"), os.read(fd, 1)), READ)
            pairs[1][1].send(b"x")
            turn(loop)
            turn(loop)
            assert seen == ["new"]
            loop.remove_handler(number)
        finally:
            os.close(number)

    def test_one_that_somebody_else_keeps_open_does_not_spin(self, clocked: Loop, clock: Clock, pairs: Pairs) -> None:
        """As a child process does after a fork: epoll goes on reporting a number that means nothing any more."""
        ours, theirs = pairs[0]
        number = ours.fileno()
        kept = os.dup(number)
        try:
            clocked.add_handler(number, lambda fd, events: boom(), READ)
            ours.close()
            clocked.remove_handler(number)
            theirs.send(b"x")
            run_for(clocked, 0.2)
            assert clock.read < 100
            seen: list[int] = []
            clocked.add_handler(pairs[1][0].fileno(), lambda fd, events: (seen.append(events), clocked.stop()), WRITE)
            clocked.start()
            assert seen == [WRITE]
        finally:
            os.close(kept)

    def test_many(self, loop: Loop) -> None:
        pairs = [socket.socketpair() for _ in range(200)]
        seen: list[int] = []
        try:
            for ours, theirs in pairs:
                theirs.send(b"x")
                loop.add_handler(ours.fileno(), lambda fd, events: (seen.append(fd), loop.remove_handler(fd)), READ)
            while len(seen) < len(pairs):
                bounded(lambda: turn(loop))
            assert sorted(seen) == sorted(ours.fileno() for ours, _ in pairs)
        finally:
            for pair in pairs:
                for sock in pair:
                    sock.close()
