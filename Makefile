# `make quickstart` trains and tries a small model; `make test` checks everything. Both install what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test test-slow lint bench samples docs clean
.DEFAULT_GOAL := quickstart

# Anew when the dependencies have changed. The doctor mends a torchaudio that was built for another torch.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hf_speech needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	$(BIN)/python -m hf_speech.doctor --fix
	touch $@

quickstart: $(STAMP)
	$(BIN)/hf-speech quickstart --output-dir quickstart-model --overwrite

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical -m 'not slow'

# The tests of Slurm start a cluster of one node; without its packages, or DeepSpeed, tests are skipped and say so.
test-slow: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation deepspeed -c constraints.txt \
		|| echo "DeepSpeed could not be installed"
	command -v slurmctld >/dev/null || (apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends slurm-wlm munge) >/dev/null || echo "Slurm could not be installed"
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Speed, side by side with other tools, into the README's table; within an hour. (`python -m benchmarks results`: what
# docs/results.md and the rest of docs/cost.md say, some five hours; `python -m benchmarks.speaker_choices`: one more.)
bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Makes hf_speech/samples/audio again (needs espeak-ng).
samples: $(STAMP)
	$(BIN)/python -m hf_speech.samples.make_samples hf_speech/samples

# The pages of docs/, cards and the reference of the Python names, into site/; any warning is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) site quickstart-model .pytest_cache .mypy_cache .ruff_cache
