"""Which interactions are for training, which for validation and which for the test."""

from dataclasses import dataclass

import numpy as np

from app.encoding import Array
from app.errors import DataUnavailable
from app.model_card import Split as SplitRule
from app.training.data.dataset import TIMESTAMP, Dataset


@dataclass(frozen=True)
class Split:
    """Row numbers of the interactions, int64, ascending; every row is in exactly one part."""

    train: Array
    validation: Array
    test: Array


def split_rows(dataset: Dataset, rule: SplitRule) -> Split:
    """Divide the rows by the rule: at random by seed, or the newest rows for the test and those before for validation.

    Raises DataUnavailable when a part would be empty, or the rule is temporal and there are no timestamps.
    """
    rows = dataset.interactions.height
    test, validation = round(rows * rule.test), round(rows * rule.validation)
    if min(test, validation, rows - test - validation) < 1:
        raise DataUnavailable(
            f"{rows} interactions are too few to divide into train, validation and test rows"
        )
    order = (
        _newest_first(dataset)
        if rule.kind == "temporal"
        else np.random.default_rng(rule.seed).permutation(rows)
    )
    return Split(
        test=np.sort(order[:test]),
        validation=np.sort(order[test : test + validation]),
        train=np.sort(order[test + validation :]),
    )


def _newest_first(dataset: Dataset) -> Array:
    if TIMESTAMP not in dataset.interactions.columns:
        raise DataUnavailable(f"a temporal split needs a column {TIMESTAMP!r}, which the data do not have")
    # A stable sort: rows of one moment keep their order, so that the split does not depend on the sort.
    newest: Array = np.argsort(dataset.interactions[TIMESTAMP].to_numpy(), kind="stable")[::-1]
    return newest
