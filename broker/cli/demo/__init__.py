"""The demo: a broker, a protected service and an agent as three processes, and everything that is promised of them."""
