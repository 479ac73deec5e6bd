"""Experiments: variants against a base at equal budgets over paired seeds, and what they show."""

from lm_basics.ablation.paired_test import PairedEffect, adjust_p_values, paired_effect
from lm_basics.ablation.results import StudyResults, analyze_study
from lm_basics.ablation.runner import StudyData, run_study
from lm_basics.ablation.seed_planning import SeedPlan, power_of_test, seeds_needed
from lm_basics.ablation.shipped import STUDIES, BaseRecipe, shipped_study
from lm_basics.ablation.study import Arm, Study

__all__ = [
    "STUDIES",
    "Arm",
    "BaseRecipe",
    "PairedEffect",
    "SeedPlan",
    "Study",
    "StudyData",
    "StudyResults",
    "adjust_p_values",
    "analyze_study",
    "paired_effect",
    "power_of_test",
    "run_study",
    "seeds_needed",
    "shipped_study",
]
