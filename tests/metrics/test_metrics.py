"""The metrics as a folder for `evaluate.load`: without network, without this package, and as a class."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hf_speech.metrics
from hf_speech.metrics import classification_numbers, regression_numbers
from hf_speech.metrics.metrics import SpeechMetric

FOLDER = Path(hf_speech.metrics.__file__).parent
SCRIPT = """
import json, sys
import evaluate
folder, arguments = sys.argv[1:]
for config in ("classification", "regression"):
    metric = evaluate.load(folder, config)
    print(json.dumps(metric.compute(**json.loads(arguments))))
assert "hf_speech" not in sys.modules
"""
SPEAKERS = [f"s{i % 10}" for i in range(20)]
LABELS, PREDICTIONS = [0, 1] * 10, [0, 1, 1, 1] * 5


def flat(numbers: list[dict]) -> dict:
    ends = {f"{number['name']}_{end}": number[end] for number in numbers for end in ("low", "high")}
    return {number["name"]: number["value"] for number in numbers} | ends


def test_loads_from_the_folder_without_network(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    arguments = json.dumps({"predictions": PREDICTIONS, "references": LABELS, "speakers": SPEAKERS})
    command = [sys.executable, "-c", SCRIPT, str(FOLDER), arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classification, regression = (json.loads(line) for line in done.stdout.splitlines())
    unit = {"interval_unit": "speaker"}
    assert classification == flat(classification_numbers(LABELS, PREDICTIONS, 2, SPEAKERS)) | unit
    assert regression == flat(regression_numbers(LABELS, PREDICTIONS, "", SPEAKERS)) | unit


def test_class_adds_batches_and_takes_a_seed(tmp_path: Path) -> None:
    metric = SpeechMetric(config_name="classification", cache_dir=str(tmp_path))
    for start in (0, 8):
        metric.add_batch(predictions=PREDICTIONS[start : start + 8], references=LABELS[start : start + 8])
    assert metric.compute(seed=3) == flat(classification_numbers(LABELS[:16], PREDICTIONS[:16], 2, seed=3)) | {
        "interval_unit": "utterance"
    }


def test_unknown_configuration_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown configuration 'default'; valid: classification, regression"):
        SpeechMetric()


def test_every_file_of_the_folder_is_named_in_the_script() -> None:
    """`evaluate` copies only these: a new file that another one imports would be missing in a user's cache."""
    script = (FOLDER / "metrics.py").read_text()
    missing = [
        p.stem
        for p in FOLDER.glob("*.py")
        if p.stem not in ("__init__", "metrics") and f"from .{p.stem} import" not in script
    ]
    assert missing == []
