"""Cards of recipes: `hf-speech card model_cards/NAME` writes README.md into their folders.

A recipe is a folder with train.yaml (or pretrain.yaml) and results.json. Here results.json holds, beside the metrics
(none, as long as nobody has run it):

    published    [{name, value, unit, dataset, note, source}, ...]: what its original reached
    deviations   [{original, here, reason, fields}, ...]: where this differs from it on purpose; fields are the keys of
                 tests/recipes/originals.py that it is about, if there are any
    variants     [{what, flags: [flags of one run, ...]}, ...]: further runs of the same recipe
    notes        [sentence, ...]: what else to know
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..data.home import HOME, preparation
from ..errors import InputError, one_line
from ..files import replacing
from ..pretraining.fields import check_pretraining
from ..results import FILE_NAME
from ..training.arguments import read_config
from ..training.config import GROUPS, RunConfig
from ..training.recipes import CONFIG_NAME, PRETRAINING, config_in
from .card import markdown_table
from .words import interval_of, metric_title, value_of

Facts = Mapping[str, Any]

_GROUPS = {
    "model": "the model",
    "head": "its heads",
    "data": "the data",
    "split": "what is held out",
    "batches": "batches",
    "learning": "learning",
    "pretraining": "what is learnt before fine-tuning",
    "run": "about it",
    "training": "fields of transformers' TrainingArguments",
}
_SECTIONS: dict[str, tuple[str, ...]] = {
    "metrics": (),
    "published": ("name", "value", "unit", "dataset", "note", "source"),
    "deviations": ("original", "here", "reason", "fields"),
    "variants": ("what", "flags"),
    "notes": (),
}


def is_recipe(folder: Path) -> bool:
    """Whether a folder is that of a recipe, and not of a finished model."""
    try:
        return "published" in json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def write_recipe_card(folder: str | Path) -> Path:
    """Writes README.md from the train.yaml and results.json of a recipe's folder, and gives its path.

    Raises:
        InputError: one of the two is not there, or can't be used.
    """
    path = Path(folder) / "README.md"
    text = render_recipe_card(Path(folder))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render_recipe_card(folder: Path) -> str:
    """The card of a recipe as Markdown.

    Args:
        folder: of the recipe; its name is the recipe's.

    Raises:
        InputError: no train.yaml or results.json, or one that can't be used.
    """
    folder = folder.resolve()
    facts, path = read_recipe_facts(folder), config_in(folder)
    if path is None:
        raise InputError(f"{folder}: has no {CONFIG_NAME}; a recipe needs one, or a {PRETRAINING}")
    config = read_config(path, check=check_pretraining if path.name == PRETRAINING else None)
    sections = [
        f"# {folder.name}\n\n{_purpose(path)}",
        _how_to_run(folder.name, config, facts, path.stem),
        *_notes(facts),
        _fields(config, path.name),
        _measured(facts),
        *_published(facts),
        *_deviations(facts),
        f"This card is made from `{path.name}` and `{FILE_NAME}` in this folder.",
    ]
    return "\n\n".join(sections) + "\n"


def read_recipe_facts(folder: Path) -> dict[str, Any]:
    """The results.json of a recipe; see this module's docstring.

    Raises:
        InputError: it is not there, is no JSON, or does not have the form.
    """
    path = folder / FILE_NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read as JSON ({one_line(error)}); a recipe needs one") from error
    for section, names in _SECTIONS.items():
        entries = facts.get(section) if isinstance(facts, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"{path}: {section} is no list; a recipe has the lists {', '.join(_SECTIONS)}")
        for i, entry in enumerate(entries):
            if names and (not isinstance(entry, dict) or set(entry) != set(names)):
                raise InputError(f"{path}: {section}[{i}] must have the keys {', '.join(names)}, and no others")
    return facts


def _purpose(path: Path) -> str:
    """The first line of a train.yaml, a comment that says what the recipe is."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not re.fullmatch(r"# .+\.", first):
        raise InputError(f"{path}: its first line is {first!r}; write a comment that says in one sentence what it is")
    return first.removeprefix("# ")


def _how_to_run(name: str, config: RunConfig, facts: Facts, command: str) -> str:
    prepare = preparation(str(config.data.dataset), HOME)
    lines = [prepare] if prepare else []
    lines.append(f"hf-speech {command} {name} --data-dir {HOME} --output-dir runs/{name}")
    text = f"## How to run it\n\n```bash\n{chr(10).join(lines)}\n```"
    text += "\n\nIn place of `--data-dir`, `$HF_SPEECH_DATA` can name the folder of prepared corpora."
    if facts["variants"]:
        text += "\n\nFurther runs of the same recipe, by what is added:\n\n"
        rows = [(row["what"], ", ".join(f"`{flags}`" for flags in row["flags"])) for row in facts["variants"]]
        text += markdown_table(("Runs", "Flags"), rows)
    return text


def _notes(facts: Facts) -> list[str]:
    if not facts["notes"]:
        return []
    return ["## What to know\n\n" + "\n".join(f"- {note}" for note in facts["notes"])]


def _fields(config: RunConfig, name: str) -> str:
    """All fields that are not at their default, those of the files below it too, as YAML."""
    given = config.to_dict()
    blocks = []
    for group, title in _GROUPS.items():
        own = set(config.training) if group == "training" else set(GROUPS[group].__dataclass_fields__)
        values = {name: value for name, value in given.items() if name in own}
        if values:
            blocks.append(f"# {title}\n{_yaml(values)}")
    how = "every field that is not at its default, with what the files below it say"
    return f"## What it says\n\n`{name}`, {how}:\n\n```yaml\n{chr(10).join(blocks)}```"


def _yaml(values: Facts) -> str:
    """A line a field, and one more for each table in a table or a list."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
            lines += [f"{name}:", *(f"  - {_in_braces(inner)}" for inner in value)]
            continue
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            lines += [f"{name}:", *(f"  {key}: {_in_braces(inner)}" for key, inner in value.items())]
        else:
            lines.append(f"{name}: {_in_braces(value)}")
    return "".join(f"{line}\n" for line in lines)


def _in_braces(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()


def _measured(facts: Facts) -> str:
    if not facts["metrics"]:
        return "## Measured here\n\nNothing yet: this recipe was not run to its end here."
    rows = [
        (metric_title(m["name"]), value_of(m), interval_of(m), m["dataset"], m["split"], m["n"])
        for m in facts["metrics"]
    ]
    return "## Measured here\n\n" + markdown_table(("Metric", "Value", "95 % interval", "Data", "Split", "Items"), rows)


def _published(facts: Facts) -> list[str]:
    if not facts["published"]:
        return []
    rows = [
        (metric_title(row["name"]), _with_unit(row), row["dataset"], row["note"], row["source"])
        for row in facts["published"]
    ]
    text = "## Published\n\nBy others, of the original system; not measured here.\n\n"
    return [text + markdown_table(("Metric", "Value", "Data", "What is known of it", "Source"), rows)]


def _with_unit(row: Facts) -> str:
    return f"{row['value']} {row['unit']}".strip()


def _deviations(facts: Facts) -> list[str]:
    if not facts["deviations"]:
        return []
    rows = [(row["original"], row["here"], row["reason"]) for row in facts["deviations"]]
    return ["## What differs from the original\n\n" + markdown_table(("Original", "Here", "Why"), rows)]
