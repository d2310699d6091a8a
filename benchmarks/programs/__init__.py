"""The programs that are measured, each a process of its own. Some run where another pika is installed."""
