"""Tensors, configuration and run records: what every unit shares."""

from .config import (
    from_dict as from_dict,
    hash_config as hash_config,
    load_config as load_config,
    save_config as save_config,
    to_dict as to_dict,
)
from .files import (
    atomic_folder as atomic_folder,
    atomic_path as atomic_path,
    hash_file as hash_file,
    hash_files as hash_files,
    read_json as read_json,
    write_bytes as write_bytes,
    write_json as write_json,
    write_text as write_text,
)
from .metrics import (
    MetricsSink as MetricsSink,
    MetricsWriter as MetricsWriter,
    read_metrics as read_metrics,
)
