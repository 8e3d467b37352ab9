"""The metrics as a folder for `evaluate.load`: without network, without this package, and as a class."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hf_speech.metrics
from hf_speech.metrics import classification_numbers, regression_numbers, verification_numbers
from hf_speech.metrics.metrics import CONFIGS, SpeechMetric

FOLDER = Path(hf_speech.metrics.__file__).parent
SCRIPT = """
import json, sys
import evaluate
folder, arguments = sys.argv[1:]
for config, given in json.loads(arguments).items():
    print(json.dumps(evaluate.load(folder, config).compute(**given)))
assert "hf_speech" not in sys.modules
"""
SPEAKERS = [f"s{i % 10}" for i in range(20)]
LABELS, PREDICTIONS = [0, 1] * 10, [0, 1, 1, 1] * 5
OTHERS = [
    speaker if label else f"s{(i + 1) % 10}" for i, (speaker, label) in enumerate(zip(SPEAKERS, LABELS, strict=True))
]


def flat(numbers: list[dict]) -> dict:
    ends = {f"{number['name']}_{end}": number[end] for number in numbers for end in ("low", "high")}
    return {number["name"]: number["value"] for number in numbers} | ends


def test_loads_from_the_folder_without_network(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHONPATH"))}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    items = {"predictions": PREDICTIONS, "references": LABELS}
    sides = {"left_speakers": SPEAKERS, "right_speakers": OTHERS, "calibrated": True}
    given = {config: items | (sides if config == "verification" else {"speakers": SPEAKERS}) for config in CONFIGS}
    command = [sys.executable, "-c", SCRIPT, str(FOLDER), json.dumps(given)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classification, regression, verification = (json.loads(line) for line in done.stdout.splitlines())
    unit = {"interval_unit": "speaker"}
    assert classification == flat(classification_numbers(LABELS, PREDICTIONS, 2, SPEAKERS)) | unit
    assert regression == flat(regression_numbers(LABELS, PREDICTIONS, "", SPEAKERS)) | unit
    numbers = verification_numbers(LABELS, PREDICTIONS, (SPEAKERS, OTHERS), llrs=PREDICTIONS)
    assert verification == flat(numbers) | {"interval_unit": numbers[0]["interval_unit"]}
    assert {"eer", "min_dcf", "min_dcf_0.05", "act_dcf_0.05", "cllr", "min_cllr_high"} <= set(verification)


def test_class_adds_batches_and_takes_a_seed(tmp_path: Path) -> None:
    metric = SpeechMetric(config_name="classification", cache_dir=str(tmp_path))
    for start in (0, 8):
        metric.add_batch(predictions=PREDICTIONS[start : start + 8], references=LABELS[start : start + 8])
    assert metric.compute(seed=3) == flat(classification_numbers(LABELS[:16], PREDICTIONS[:16], 2, seed=3)) | {
        "interval_unit": "utterance"
    }


def test_trials_take_priors_and_need_no_speakers(tmp_path: Path) -> None:
    metric = SpeechMetric(config_name="verification", cache_dir=str(tmp_path))
    scores = [0.3, 0.9, 0.4, 0.8, 0.85]
    found = metric.compute(predictions=scores, references=[0, 1, 0, 1, 0], p_target=[0.5, 0.2], seed=3)
    # From 0.8 on one of three non-targets is accepted and no target refused; above 0.85 one of two is refused.
    assert found["eer"] == pytest.approx(1 / 3)
    assert found["min_dcf"] == pytest.approx(1 / 3)  # 0.5 / 3 of 0.5
    assert found["min_dcf_0.2"] == pytest.approx(1 / 2)  # 0.2 / 2 of 0.2
    assert found["interval_unit"] == "trial"
    assert "cllr" not in found


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("verification", {"speakers": SPEAKERS}, "give left_speakers and right_speakers"),
        ("verification", {"left_speakers": SPEAKERS}, "give left_speakers and right_speakers"),
        ("verification", {"left_speakers": SPEAKERS, "right_speakers": SPEAKERS}, "trial 0 is a non-target, but"),
        ("verification", {"p_target": 1.5}, "p_target 1.5"),
        ("classification", {"left_speakers": SPEAKERS, "right_speakers": OTHERS}, "are of 'verification' alone"),
        ("regression", {"calibrated": True}, "are of 'verification' alone"),
    ],
)
def test_options_that_do_not_fit_are_refused(config: str, options: dict, message: str, tmp_path: Path) -> None:
    metric = SpeechMetric(config_name=config, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=PREDICTIONS, references=LABELS, **options)


def test_unknown_configuration_lists_the_valid_ones() -> None:
    with pytest.raises(
        ValueError, match="unknown configuration 'default'; valid: classification, regression, verification"
    ):
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
