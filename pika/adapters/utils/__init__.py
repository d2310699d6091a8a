"""What adapters stand on: the interfaces between an event loop and a connection."""

from __future__ import annotations

from pika._lazy import make_lazy

make_lazy(__name__, {}, ("connection_workflow", "nbio_interface", "selector_ioloop_adapter"))
