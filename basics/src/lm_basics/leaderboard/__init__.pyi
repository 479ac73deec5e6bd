from .division_data import (
    DivisionData as DivisionData,
    make_laptop_data as make_laptop_data,
    open_division_data as open_division_data,
)
from .divisions import (
    DIVISIONS as DIVISIONS,
    DivisionName as DivisionName,
    EntryRecipe as EntryRecipe,
    TrainingDivision as TrainingDivision,
    with_milestones as with_milestones,
)
from .entry_run import run_entry as run_entry
from .export import export_entry as export_entry
from .verify import verify_entry as verify_entry
