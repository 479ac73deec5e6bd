"""Data parallelism: replicas, sharded optimizer states, sharded parameters, and who runs them."""

from .collectives import Collectives as Collectives, Event as Event
from .data_parallel import DDP as DDP
from .fsdp import FSDP as FSDP
from .sharded_optimizer import ShardedOptimizer as ShardedOptimizer
