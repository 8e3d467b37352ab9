"""Every command on a page is one: the real parser takes it, its fields exist, its recipes are there."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from hf_speech.cli.entry import parse, parser
from hf_speech.corpora.options import builder_of, corpora, describe_options, fit_options
from hf_speech.experiments.grid import find_sweep, read_sweep
from hf_speech.fields import parse_flags
from hf_speech.flags import check_fields, take_fields, takes_fields
from hf_speech.label_map import read_label_map
from hf_speech.pretraining.fields import check_pretraining
from hf_speech.training.arguments import check_field, read_config
from hf_speech.training.recipes import PRETRAINING, recipe_names

from .pages import PAGES, ROOT, Page, lines

# Programs that pages name and that are not ours.
OTHERS = {".", "export", "hf", "pip", "python", "apt-get", "docker", "tar", "git", "cd", "gradio"}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
TYPED = [(page, line) for page in PAGES for line in lines(page)]
INLINE = [(page, word) for page in PAGES for word in page.code_words if word.startswith("hf-speech ")]


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def ours(line: str) -> list[str] | None:
    """The words after `hf-speech`, or after `-m hf_speech.cli` of what starts processes; None: another program."""
    words = words_of(line)
    if words[:1] == ["hf-speech"]:
        return words[1:]
    if "hf_speech.cli" in words and words[words.index("hf_speech.cli") - 1] == "-m":
        return words[words.index("hf_speech.cli") + 1 :]
    return None


OURS = sorted({tuple(found) for _, line in TYPED if (found := ours(line)) is not None})
# In a sentence a command may be named without what it needs, or with places for it (CORPUS, ...).
WHOLE = {word for _, word in INLINE if not re.search(r"\.\.\.|\b[A-Z]{3,}\b", word)}
NAMED = {tuple(shlex.split(word)[1:]) for word in WHOLE}
OURS += sorted({command for command in NAMED if len(command) > 1 and not command[1].startswith("--")} - set(OURS))


@pytest.mark.parametrize("command", OURS, ids=" ".join)
def test_commands_parse(command: tuple[str, ...], tmp_path: Path) -> None:
    words, fields = take_fields(list(command))
    try:
        options = parse(words)
    except SystemExit as ended:  # --help and --version end with 0
        assert ended.code == 0
        return
    given = parse_flags(fields)
    if options.command == "prepare":
        kind, _ = builder_of(options.corpus)
        assert options.config_name in [None, *(config.name for config in kind.BUILDER_CONFIGS)]
        fit_options(kind, given)
        return
    if options.command == "augment":
        return
    if given or takes_fields(options.command):
        check_fields(options.command, given)
    if options.command == "sweep":
        plan = read_sweep(
            str(file_of(options.config, tmp_path)), options.grid or (), options.seeds, options.metric, given
        )
        for config in plan.configs:
            for _, point in plan.points():
                read_config(config, {**plan.fields, **point})
    elif options.command == "pretrain":
        config = file_of(options.config, tmp_path)
        read_config(config, given if config else {"backbone": "x", **given}, check_pretraining)
    elif options.command in ("train", "crossval") and not getattr(options, "fields", False):
        read_config(file_of(options.config, tmp_path), given if options.config else {"backbone": "x", **given})
        for config in getattr(options, "others", ()):
            read_config(file_of(config, tmp_path), given)
    elif given:
        read_config(None, {"backbone": "x", **given})
    if getattr(options, "label_map", None):
        read_label_map(options.label_map)


def file_of(config: str | None, folder: Path) -> str | None:
    """A recipe, sweep or file of the repository; for a file that only its reader has, one that says next to nothing."""
    if config is not None and (ROOT / config).exists():
        return str(ROOT / config)
    if config is None or Path(config).suffix != ".yaml":
        known = (None, *recipe_names(), *recipe_names(PRETRAINING))
        assert config in known or find_sweep(str(config)), f"{config} does not come along"
        return config
    (folder / "run.yaml").write_text("backbone: x\n", encoding="utf-8")
    return str(folder / "run.yaml")


def test_there_are_commands_to_look_at() -> None:
    assert len(OURS) > 150
    shown = {command[0] for command in OURS}
    there = {
        name for action in parser()._actions for name in (action.choices or {}) if isinstance(action.choices, dict)
    }
    assert there - shown == set(), "no page shows these"


def test_programs_of_others_are_known_and_ours_are_there() -> None:
    for page, line in TYPED:
        words = words_of(re.sub(r"^\w+=\S+\s*", "", line))
        if not words or ours(line) is not None:
            continue
        if words[0] == "make":
            assert set(words[1:]) - {w for w in words if "=" in w} <= TARGETS, f"{page.name}: {line}"
        elif words[:2] == ["python", "-m"] and words[2] != "pip":
            assert importlib.util.find_spec(words[2]), f"{page.name}: {line}"
        else:
            assert words[0] in OTHERS, f"{page.name}: {line}"


def test_benchmarks_and_targets_in_sentences_are_there() -> None:
    for page in PAGES:
        for word in page.code_words:
            found = re.fullmatch(r"(?:python -m )?(benchmarks(?:\.\w+)?)", word)
            assert not found or importlib.util.find_spec(found[1]), f"{page.name}: {word}"
            if word.startswith("make "):
                assert word.split()[1] in TARGETS, f"{page.name}: {word}"
            if word.startswith("hf-speech ") and not word.split()[1].startswith("-"):
                known = {name for action in parser()._actions for name in (action.choices or ())}
                assert word.split()[1] in known, f"{page.name}: {word}"


def known_flags() -> set[str]:
    """Every flag of every command, and the options of every corpus; fields of runs are asked for by name."""
    flags = {"--nproc-per-node", "--no-build-isolation"}
    for action in parser()._actions:
        for command in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            flags |= set(command._option_string_actions)
    for corpus in corpora():
        flags |= set(re.findall(r"^  (--[a-z-]+)", describe_options(corpus), flags=re.MULTILINE))
    return flags


def is_of_a_system(page: Page) -> bool:
    return page.path.parent.name == "systems"


def test_flags_in_sentences_are_there() -> None:
    known = known_flags()
    for page in PAGES:
        # On the pages of the reference systems the first cell of a row has their flags.
        theirs = "".join(re.findall(r"^\|([^|]*)\|", page.text, flags=re.MULTILINE) if is_of_a_system(page) else [])
        for word in page.code_words:
            if not word.startswith("--") or word in theirs:
                continue
            for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", word):
                if flag not in known:
                    check_field(flag.removeprefix("--").partition(".")[0].replace("-", "_"), page.name)


def test_sweeps_that_come_along_are_named_on_a_page() -> None:
    text = "".join(page.text for page in PAGES)
    for path in (ROOT / "model_cards" / "sweeps").glob("*.yaml"):
        assert find_sweep(path.stem) is not None
        assert path.stem in text
