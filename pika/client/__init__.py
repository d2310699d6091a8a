"""The modern clients: ``pika.connect`` for threads. What they say alike lives in modules that never wait."""
