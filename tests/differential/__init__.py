"""Scripted scenarios, blocking and on event loops, each run by pika 1.4.4 and by this library: both record the same."""
