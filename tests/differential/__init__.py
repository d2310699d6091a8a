"""Scripted scenarios for the blocking API, each run by pika 1.4.4 and by this library, that must record the same."""
