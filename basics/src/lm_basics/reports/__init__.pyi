"""Training runs side by side: their curves, their numbers and a page of both."""

from .curves import (
    Curve as Curve,
    RunCurves as RunCurves,
    RunSetting as RunSetting,
    load_setting as load_setting,
    read_run as read_run,
    save_setting as save_setting,
)
from .numbers import (
    RunNumbers as RunNumbers,
    TrainingReport as TrainingReport,
    read_runs as read_runs,
    summarize_runs as summarize_runs,
)
from .page import training_report_page as training_report_page
