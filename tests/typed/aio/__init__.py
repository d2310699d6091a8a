"""RabbitMQ's six tutorials, told with pika.aio: they run, and pass strict type checkers as they are."""
