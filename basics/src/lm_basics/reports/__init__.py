"""Training runs side by side: their curves, their numbers and a page of both."""

from lm_basics.reports.curves import (
    Curve,
    RunCurves,
    RunSetting,
    load_setting,
    read_run,
    save_setting,
)
from lm_basics.reports.numbers import RunNumbers, TrainingReport, read_runs, summarize_runs
from lm_basics.reports.page import training_report_page

__all__ = [
    "Curve",
    "RunCurves",
    "RunNumbers",
    "RunSetting",
    "TrainingReport",
    "load_setting",
    "read_run",
    "read_runs",
    "save_setting",
    "summarize_runs",
    "training_report_page",
]
