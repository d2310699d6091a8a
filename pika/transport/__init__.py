"""Bytes over a network: who to call (``dial``), the connected socket (``stream``), TLS (``tls``) and timers.

Nothing here has heard of AMQP. Nothing here is imported before it is needed: ``ssl`` only by ``tls``,
and ``tls`` only for a connection that asks for it.
"""
