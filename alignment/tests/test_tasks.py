import re

import pytest

from lm_alignment.tasks import ExtremumTask, SortTask, SumTask, split_task

TASKS = [SortTask(num_digits=3), ExtremumTask(num_digits=3), SumTask(num_digits=3)]


def digits_of(question: str) -> tuple[str, ...]:
    return tuple(sorted(re.findall("[0-9]", question)))


@pytest.mark.parametrize("task", TASKS)
def test_validation_digits_never_occur_together_in_training(task):
    split = split_task(task, seed=1)
    train, validation = (
        {digits_of(example.question) for example in part}
        for part in (split.train, split.validation)
    )
    assert train.isdisjoint(validation)
    assert len(validation) / (len(train) + len(validation)) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("task", TASKS)
def test_split_holds_every_problem_once(task):
    split = split_task(task)
    questions = [example.question for example in split.train + split.validation]
    assert sorted(questions) == sorted(p.example.question for p in task.list_problems())
    assert len(set(questions)) == len(questions)


def test_split_depends_on_the_seed_alone():
    assert split_task(TASKS[0], seed=3) == split_task(TASKS[0], seed=3)
    assert split_task(TASKS[0], seed=3) != split_task(TASKS[0], seed=4)


@pytest.mark.parametrize(
    ("task", "answers"),
    [
        (SortTask(num_digits=3), {"Sort 8 3 5.": "3 5 8", "Sort 1 2 9.": "1 2 9"}),
        (
            ExtremumTask(num_digits=3),
            {"Which is the largest of 8, 3, 5?": "8", "Which is the smallest of 8, 3, 5?": "3"},
        ),
        (SumTask(num_digits=2), {"What is 7 + 5?": "12", "What is 0 + 0?": "0"}),
    ],
)
def test_answers_are_right(task, answers):
    listed = {problem.example.question: problem.example.answer for problem in task.list_problems()}
    assert {question: listed[question] for question in answers} == answers


@pytest.mark.parametrize(("task", "most"), [(SortTask, 8), (ExtremumTask, 8), (SumTask, 5)])
def test_number_of_digits_is_checked(task, most):
    for num_digits in (1, most + 1):
        with pytest.raises(ValueError, match=f"between 2 and {most}, got {num_digits}"):
            task(num_digits=num_digits)


def test_empty_side_of_the_split_is_refused():
    with pytest.raises(ValueError, match="empty"):
        split_task(TASKS[0], validation_fraction=0.0)
