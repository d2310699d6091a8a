"""The adapters: pika's clients, each on a way of waiting."""

from __future__ import annotations

from pika.adapters.blocking_connection import BlockingConnection

__all__ = ["BlockingConnection"]
