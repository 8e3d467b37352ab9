"""What a sweep tries, from flags and from files, and which sweeps are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hf_speech.errors import InputError
from hf_speech.experiments.grid import Sweep, read_sweep, sweep_names
from hf_speech.training.arguments import read_config


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text("backbone_config: {model_type: wav2vec2}\n")
    return str(path)


def test_a_grid_is_every_combination(run: str) -> None:
    plan = read_sweep(run, ["learning-rate=1e-4,0.001", "pooling=mean,mean+std"], "1,2")
    assert plan.grid == {"learning_rate": [1e-4, 1e-3], "pooling": ["mean", "mean+std"]}
    assert [fields for _, fields in plan.points()] == [
        {"learning_rate": rate, "pooling": pooling} for rate in (1e-4, 1e-3) for pooling in ("mean", "mean+std")
    ]
    assert plan.seeds == [1, 2] and plan.configs == [run] and plan.axes == ["learning_rate", "pooling"]


def test_settings_are_fields_that_belong_together(tmp_path: Path, run: str) -> None:
    path = tmp_path / "sweep.yaml"
    settings = {"as it is": {}, "constant": {"schedule": "constant", "freeze_steps": 0}}
    content = {"config": "run.yaml", "settings": settings, "grid": {"max_steps": [5, 6]}, "fields": {"layer": 2}}
    path.write_text(yaml.safe_dump({**content, "seeds": [3]}))
    plan = read_sweep(str(path), fields={"max_seconds": 4})
    assert plan.configs == [run] and plan.fields == {"layer": 2, "max_seconds": 4} and plan.seeds == [3]
    marks, fields = plan.points()[3]
    assert marks == {"setting": "constant", "max_steps": 6}
    assert fields == {"schedule": "constant", "freeze_steps": 0, "max_steps": 6}


REFUSED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "nothing is varied": ([], {}, "nothing is varied: give --grid"),
    "no values": (["layer"], {}, "--grid layer: write a field and its values"),
    "twice": (["layer=1,2,1"], {}, "--grid layer: 1 is there twice"),
    "seeds in words": (["layer=1,2"], {"seeds": "one"}, "seeds are one; give whole numbers"),
    "a field twice": (["layer=1", "pooling=mean", "layer=2"], {}, "--grid: layer is there twice"),
    "seed": (["seed=1,2"], {}, "seed can't be varied: give --seeds 1,2,3"),
    "folders": (["output_dir=a,b"], {}, "output_dir can't be varied: each run has a folder of its own"),
    "varied, and not": (["layer=1,2"], {"fields": {"layer": 3}}, "layer is varied and has one value as well"),
    "not YAML": (["layer=[1"], {}, "can't be read as values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sweep_is_refused(run: str, case: str) -> None:
    grid, others, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        read_sweep(run, grid, **others)
    assert words in str(caught.value)


def test_a_key_that_no_sweep_has_is_named(tmp_path: Path, run: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"config": "run.yaml", "gird": {"layer": [1, 2]}}))
    with pytest.raises(InputError, match=r"sweep\.yaml: unknown key of a sweep file 'gird' \(did you mean 'grid'\?\)"):
        read_sweep(str(path))


def test_a_file_without_a_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"grid": {"layer": [1, 2]}}))
    with pytest.raises(InputError, match=r"sweep\.yaml: has no config, the recipe or file of the runs"):
        read_sweep(str(path))


@pytest.mark.parametrize("name", sweep_names())
def test_every_shipped_sweep_is_of_recipes_that_take_its_fields(name: str) -> None:
    plan = read_sweep(name)
    assert isinstance(plan, Sweep) and len(plan.points()) > 1
    for config in plan.configs:
        for _, fields in plan.points():
            read_config(config, {**plan.fields, **fields})
