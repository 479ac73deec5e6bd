import math
from functools import partial

import pytest

from lm_data.pipeline.run import Executor, ProcessExecutor, SerialExecutor


def test_results_come_in_the_order_of_the_items():
    power = partial(pow, 2)
    with ProcessExecutor(2) as processes:
        assert isinstance(processes, Executor)
        assert list(processes.map(power, range(20))) == list(SerialExecutor().map(power, range(20)))


def test_error_of_a_worker_is_raised():
    with ProcessExecutor(1) as processes, pytest.raises(ValueError, match="math domain"):
        list(processes.map(math.sqrt, [1.0, -1.0]))


def test_workers_must_be_positive():
    with pytest.raises(ValueError, match="num_processes=0"):
        ProcessExecutor(0)
