"""The producer's metrics: a listener of events, and a snapshot under the names of Java's client.

windows            rates and maxima of the recent past
tallies            the counters of a producer, a topic, a node
producer_metrics   ProducerMetrics: counts events into tallies
snapshot           tallies into names and values
"""
