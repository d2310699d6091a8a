"""RabbitMQ's six tutorials, told with pika.Connection: they run, and pass strict type checkers as they are."""
