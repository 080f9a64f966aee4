"""A folder in which the workers of `broker serve` share what they count; imported before anything that counts.

The metrics library looks for it once, when it is imported, and workers are copies of a process that has imported it.
"""

import os
import tempfile

_FOLDER = tempfile.TemporaryDirectory(prefix="agent-broker-metrics-")
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", _FOLDER.name)
