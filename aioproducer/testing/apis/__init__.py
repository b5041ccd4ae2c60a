"""What the brokers answer: one file an API, named as Kafka names it."""
