"""Settings in, application out."""

from broker.app.broker import Broker, create
from broker.app.configuration import Configuration, configure, objections
from broker.app.stores import Stores, check_free, connect

__all__ = ["Broker", "Configuration", "Stores", "check_free", "configure", "connect", "create", "objections"]
