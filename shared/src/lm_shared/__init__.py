"""Tensors, configuration and run records: what every unit shares.

Here are the names that need nothing but the standard library, so that importing them is quick.
Those that need torch come from their modules: ``lm_shared.tensors``, ``lm_shared.runs``.
"""

from lm_shared.config import from_dict, hash_config, load_config, save_config, to_dict
from lm_shared.files import (
    atomic_folder,
    atomic_path,
    hash_file,
    hash_files,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from lm_shared.metrics import MetricsSink, MetricsWriter, read_metrics

__all__ = [
    "MetricsSink",
    "MetricsWriter",
    "atomic_folder",
    "atomic_path",
    "from_dict",
    "hash_config",
    "hash_file",
    "hash_files",
    "load_config",
    "read_json",
    "read_metrics",
    "save_config",
    "to_dict",
    "write_bytes",
    "write_json",
    "write_text",
]
