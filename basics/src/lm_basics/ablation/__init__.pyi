"""Experiments: variants against a base at equal budgets over paired seeds, and what they show."""

from .results import StudyResults as StudyResults, analyze_study as analyze_study
from .runner import StudyData as StudyData, run_study as run_study
from .seed_planning import (
    SeedPlan as SeedPlan,
    power_of_test as power_of_test,
    seeds_needed as seeds_needed,
)
from .study import (
    STUDIES as STUDIES,
    Arm as Arm,
    BaseRecipe as BaseRecipe,
    Study as Study,
    shipped_study as shipped_study,
)
