"""A model's labels by the names that some data has for them."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import yaml

from .errors import InputError, one_line, unknown_name
from .fields import fit
from .models.tasks import Task

logger = logging.getLogger(__name__)

_NOTHING = {"", "~", "null", "none"}  # unquoted: the label is left out


@dataclass(frozen=True)
class LabelMap:
    """Which of a model's C labels are which of K names.

    Attributes:
        classes: name -> the numbers of the model's labels that are it; a label in none of them is left out.
        changes: label of the model -> its name, or None where it is left out; of those that change.
    """

    classes: Mapping[str, tuple[int, ...]]
    changes: Mapping[str, str | None]

    @property
    def labels(self) -> tuple[str, ...]:
        """The K names, in the order of the model's labels."""
        return tuple(self.classes)

    def merged(self, logits: np.ndarray) -> np.ndarray:
        """Logits of the names: (N, C) -> (N, K).

        The probability of a name is the sum of its labels', those left out being impossible.
        """
        columns = [np.logaddexp.reduce(logits[:, list(numbers)], axis=1) for numbers in self.classes.values()]
        return np.stack(columns, axis=1)


def fit_labels(task: Task, given: Mapping[str, str | None], there: Collection[str]) -> LabelMap | None:
    """The map of a model's labels to those of some data.

    A label that is not given keeps its name; where the data has it but for upper and lower case alone, it takes the
    data's.

    Args:
        task: what the model predicts.
        given: label of the model -> the data's name for it, or None: it is left out, as if the model did not know it.
            Several labels may have one name.
        there: the labels that the data has.

    Returns:
        The map; None where every label keeps its name.

    Raises:
        InputError: a label that the model does not have, fewer than two that are left, or one name for several labels
            that are not alternatives (several labels a row, or classes in an order).
    """
    for label in given:
        if label not in task.labels:
            raise unknown_name(label, task.labels, "label of the model in label_map")
    names = {label: given.get(label, label) for label in task.labels}
    by_itself = _alike([label for label in names if label not in given], there, {*names.values()})
    if by_itself:
        listed = ", ".join(f"{label} is {name}" for label, name in by_itself.items())
        logger.info("labels that differ in upper and lower case alone: the model's %s in the data", listed)
    names |= by_itself
    classes: dict[str, tuple[int, ...]] = {}
    for number, name in enumerate(names.values()):
        if name is not None:
            classes[name] = (*classes.get(name, ()), number)
    shared = [name for name, numbers in classes.items() if len(numbers) > 1]
    if shared and (task.is_ordered or task.problem_type != "single_label_classification"):
        kind = "stand in an order" if task.is_ordered else "may hold together"
        raise InputError(f"label_map: several labels are {shared[0]!r}, but the model's {kind}; give each its own name")
    if len(classes) < 2:
        raise InputError(f"label_map leaves {len(classes)} of {len(task.labels)} labels; leave two or more")
    changes = {label: name for label, name in names.items() if name != label}
    return LabelMap(classes, changes) if changes else None


def _alike(labels: Collection[str], there: Collection[str], taken: Collection[str | None]) -> dict[str, str]:
    """Label -> the one of the data's that is the same but for case, where there is one, which no other label is."""
    found: dict[str, str] = {}
    for label in labels:
        alike = [name for name in there if name.casefold() == label.casefold()]
        if label not in there and len(alike) == 1 and alike[0] not in {*taken, *found.values()}:
            found[label] = alike[0]
    return found


def read_label_map(text: str) -> dict[str, str | None]:
    """A map as it is given in a flag: {label of the model: label of the data}; all are texts, as they stand there.

    >>> read_label_map("{ang: anger, yes: '1', noise: none, other: 'none'}")
    {'ang': 'anger', 'yes': '1', 'noise': None, 'other': 'none'}
    >>> read_label_map("ang=anger,noise=none")
    {'ang': 'anger', 'noise': None}

    Raises:
        InputError: it is no map, or names a label twice.
    """
    if not text.lstrip().startswith("{"):
        table = fit(text, dict[str, str], "--label-map")
        return {label: None if name in _NOTHING else name for label, name in table.items()}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)  # values would be numbers, and no and yes truth values
    except yaml.YAMLError as error:
        raise InputError(f"--label-map: {text!r} is no YAML ({one_line(error)}); give '{{ang: anger}}'") from None
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    if not pairs or not all(isinstance(part, yaml.ScalarNode) for pair in pairs for part in pair):
        raise InputError(f"--label-map: {text!r} is no map of labels; give '{{ang: anger, hap: happiness}}'")
    labels = [label.value for label, _ in pairs]
    twice = [label for i, label in enumerate(labels) if label in labels[:i]]
    if twice:
        raise InputError(f"--label-map: {twice[0]!r} is named twice; name each label of the model once")
    return {label.value: None if not name.style and name.value in _NOTHING else name.value for label, name in pairs}
