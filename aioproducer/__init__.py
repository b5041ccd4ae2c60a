"""The asyncio-native Apache Kafka producer."""
