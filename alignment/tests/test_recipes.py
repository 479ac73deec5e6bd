from dataclasses import replace

import pytest

from lm_alignment.recipes import LAPTOP, RECIPES, AlignmentRecipe
from lm_alignment.tasks import split_task
from lm_shared.config import from_dict, to_dict


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_survives_a_round_trip(name):
    assert from_dict(AlignmentRecipe, to_dict(RECIPES[name])) == RECIPES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_task_has_enough_questions(name):
    recipe = RECIPES[name]
    split = split_task(recipe.task)
    assert len(split.train) > recipe.num_sft_examples + recipe.grpo.prompts_per_step
    assert len(split.validation) >= recipe.evaluation.num_examples


def test_number_of_examples_is_checked():
    with pytest.raises(ValueError, match="must be positive, got 0"):
        replace(LAPTOP, num_sft_examples=0)
