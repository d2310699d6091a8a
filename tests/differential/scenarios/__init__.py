"""The scenarios, by theme. They import nothing but ``pika`` and the standard library."""
