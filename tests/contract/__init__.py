"""What RabbitMQ does, as tests that RabbitMQ and the embedded broker must pass alike."""
