"""What the tests stand on: a RabbitMQ node of their own, and a network that can be made to fail."""
