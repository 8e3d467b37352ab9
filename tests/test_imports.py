"""What importing costs, that both orders of importing register our models, and the direction of imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_speech

PACKAGE = Path(hf_speech.__file__).parent
HEAVY = ("torch", "transformers", "datasets", "matplotlib", "sklearn", "numpy")

# Part of the package -> what it may import of the others. "models" stands for all of that folder.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"_lazy", "_registration"},
    "_lazy": set(),
    "_registration": set(),
    "errors": {"models.registry"},
    "fields": {"errors"},
    "foreign": {"errors", "models", "names"},
    "flags": {"errors", "experiments", "fields", "training"},
    "files": set(),
    "names": {"errors"},
    "pipes": {"errors"},
    "public": set(),
    "shipped": {"errors"},
    "fingerprint": set(),
    "containers": set(),
    "decoders": {"containers", "errors", "models.frames"},
    "resampling": set(),
    "audio": {"containers", "decoders", "errors", "files", "models.frames", "models.registry", "resampling"},
    "metrics": set(),
    "models": set(),
    "samples": {"audio", "errors", "files"},
    "testing": {"audio", "errors", "files", "models"},
    "data": {"audio", "errors", "files", "fingerprint", "models.frames", "models.registry", "names", "resampling"},
    "verification": {
        "_lazy",
        "audio",
        "data",
        "errors",
        "files",
        "identity",
        "inference",
        "memory",
        "metrics",
        "model_facts",
        "models",
        "outcome",
        "plots",
        "precision",
        "predictions",
        "ranks",
        "results",
        "store",
        "trial_plots",
    },
    "corpora": {"audio", "data", "errors", "fields", "files", "public", "shipped"},
    "results": {"errors", "files", "fingerprint"},
    "plots": {"errors", "files"},
    "predictions": {"data", "errors", "metrics", "results"},
    "trial_plots": {"errors", "metrics", "plots"},
    "doctor": {"decoders", "errors"},
    "identity": set(),
    "inference": {"audio", "data", "errors", "foreign", "label_map", "memory", "models", "outcome"},
    "evidence": {"audio", "data", "inference", "models", "outcome"},
    "demo": {"_lazy", "audio", "errors", "evidence", "foreign", "inference", "samples", "telemetry", "verification"},
    "memory": set(),
    "layers": {
        "audio",
        "data",
        "errors",
        "files",
        "fingerprint",
        "identity",
        "inference",
        "memory",
        "models",
        "names",
        "outcome",
        "precision",
        "ranks",
        "store",
        "verification",
    },
    "pretraining": {
        "audio",
        "data",
        "errors",
        "fields",
        "files",
        "fingerprint",
        "hub",
        "layers",
        "metrics",
        "models",
        "outcome",
        "public",
        "ranks",
        "results",
        "store",
        "training",
        "verification",
    },
    "telemetry": set(),
    "label_map": {"errors", "fields", "models"},
    "outcome": set(),
    "precision": {"errors", "ranks"},
    "serving": {
        "audio",
        "data",
        "errors",
        "foreign",
        "inference",
        "models",
        "outcome",
        "results",
        "samples",
        "telemetry",
    },
    "ranks": {"errors"},
    "store": {"errors", "files"},
    "model_facts": {"hub", "inference", "models"},
    "training": {
        "audio",
        "data",
        "errors",
        "fields",
        "files",
        "foreign",
        "hub",
        "identity",
        "inference",
        "label_map",
        "memory",
        "metrics",
        "model_facts",
        "models",
        "names",
        "outcome",
        "plots",
        "public",
        "ranks",
        "results",
        "samples",
        "shipped",
        "store",
        "trial_plots",
        "verification",
    },
}
SEE_THE_WHOLE = ("hub", "cli", "experiments")
MODELS_MAY_IMPORT = {"torch", "transformers", "huggingface_hub", "safetensors", *sys.stdlib_module_names}


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=PACKAGE.parent
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    return run.stdout.strip()


@pytest.mark.parametrize("module", ["hf_speech", "hf_speech.errors", "hf_speech.cli", "hf_speech.testing"])
def test_importing_is_light(module: str) -> None:
    loaded = python(f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))")
    assert loaded == ""


# Modules that stay are not worth looking through, neither while they are imported nor when Python ends.
NO_GARBAGE = "import atexit, gc; gc.disable(); atexit.register(gc.freeze)\n"
REGISTERED = """
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification
config = AutoConfig.for_model("hf_speech", backbone_config={"model_type": "wav2vec2"}, num_labels=3)
from hf_speech import HfSpeechConfig, HfSpeechForSequenceClassification, HfSpeechModel
assert type(config) is HfSpeechConfig
assert AutoModel._model_mapping[HfSpeechConfig] is HfSpeechModel
assert AutoModelForAudioClassification._model_mapping[HfSpeechConfig] is HfSpeechForSequenceClassification
print("registered")
"""


@pytest.mark.parametrize(
    "first",
    [
        "import hf_speech",
        "import transformers, hf_speech",
        "from transformers import AutoModelForAudioClassification; import hf_speech",
        pytest.param("from transformers import AutoConfig; import hf_speech", marks=pytest.mark.slow),
        pytest.param("from hf_speech.models.configuration import HfSpeechConfig", marks=pytest.mark.slow),
        "from hf_speech.models.modeling import HfSpeechModel",
    ],
)
def test_whatever_is_imported_first_the_models_are_registered(first: str) -> None:
    assert python(f"{NO_GARBAGE}{first}{REGISTERED}") == "registered"


@pytest.mark.parametrize("name", hf_speech.__all__)
def test_public_names_resolve(name: str) -> None:
    value = getattr(hf_speech, name)
    assert name == "__version__" or value.__name__ == name
    assert name in dir(hf_speech)


def test_other_names_do_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'HfSpeechForXVectors'"):
        hf_speech.HfSpeechForXVectors  # noqa: B018


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to: a folder's or a module's name."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, by its absolute name."""
    package = ["hf_speech", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            # `from . import x` imports the module x, and `from .x import y` x.
            yield from ([base] if node.module else [f"{base}.{alias.name}" for alias in node.names])


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    ours = {name.removeprefix("hf_speech.") for name in imports_of(path) if name.startswith("hf_speech.")}
    if part not in ("cli", "experiments"):  # these run the command in processes of their own
        assert "cli" not in ours
    if part in SEE_THE_WHOLE:
        return
    assert part in MAY_IMPORT, f"{part} is new: say in MAY_IMPORT what it may import"
    allowed = MAY_IMPORT[part] | {part}
    strays = {name for name in ours if name not in allowed and name.split(".")[0] not in allowed}
    assert not strays, f"{part} may import {sorted(allowed)}"


def test_the_parser_sees_imports() -> None:
    # Without these the test above would hold of anything.
    assert {"hf_speech.errors", "hf_speech.models.frames"} <= set(imports_of(PACKAGE / "audio.py"))
    assert {"torch", "hf_speech.models.encoders"} <= set(imports_of(PACKAGE / "models" / "modeling.py"))
    assert "hf_speech.data.collator" in set(imports_of(PACKAGE / "inference.py"))


def test_the_models_folder_is_flat() -> None:
    assert [path.name for path in (PACKAGE / "models").iterdir() if path.is_dir() and path.name != "__pycache__"] == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.name)
def test_the_models_import_torch_transformers_and_siblings_only(path: Path) -> None:
    for name in imports_of(path):
        top = name.split(".")[0]
        assert top in MODELS_MAY_IMPORT or name.startswith("hf_speech.models."), name
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module and "." not in node.module, ast.unparse(node)
