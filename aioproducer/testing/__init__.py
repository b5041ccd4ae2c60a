"""What users test their services with: an embedded Kafka over loopback sockets."""
