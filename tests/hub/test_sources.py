"""Papers: every part by its registered name, and the lines of a card."""

import re
from collections import Counter

import pytest

from hf_speech.data.drawing import EFFECTS
from hf_speech.hub.sources import PAPERS, SOURCES, sources_of
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.training.parts import PARTS
from hf_speech.training.regularization import REGULARIZATIONS

from ..test_results import example

REGISTRIES = {
    **{kind: set(registry) for kind, registry in PARTS.items()},
    "encoder": set(SSL_BACKBONES),
    "regularization": set(REGULARIZATIONS),
    "augmentation": {*EFFECTS, "speeds", "speed_classes"},
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_part_says_where_it_comes_from_or_that_it_needs_no_source(kind: str) -> None:
    assert set(SOURCES[kind]) == REGISTRIES[kind]


def test_all_papers_are_cited_and_can_be_found() -> None:
    cited = Counter(paper for parts in SOURCES.values() for papers in parts.values() for paper in papers)
    assert set(cited) == set(PAPERS)
    for paper in PAPERS.values():
        assert re.fullmatch(
            r"https://(arxiv\.org/abs/\d{4}\.\d{5}|doi\.org/10\.\S+|www\.isca-archive\.org/\S+)", paper.link
        )
        assert re.search(r"(19|20)\d\d$", paper.venue)
    assert len({paper.link for paper in PAPERS.values()}) == len(PAPERS)


def test_a_card_cites_what_was_used_and_nothing_else() -> None:
    content = example()
    content["model"] |= {"layer": "weighted_sum", "loss": "aam_softmax", "head": "cosine", "pooling": "mean"}
    content["model"]["adapter"] = {"kind": "lora", "r": 8}
    content["run"]["recipe"] |= {"optimizer": "adafactor", "schedule": "tri-stage", "augment": {"speeds": [0.9, 1.0]}}
    content["run"]["arguments"] |= {"regularization": "masking", "layer_decay": 0.8}
    titles = [line.partition(":")[0] for line in sources_of(content)]
    assert titles == [
        "head `cosine`", "loss `aam_softmax`", "weighted sum of layers", "LoRA", "schedule `tri-stage`",
        "regularization `masking`", "augmentation `speeds`", "learning rates by layer",
    ]  # fmt: skip
    assert "[ArcFace](https://arxiv.org/abs/1801.07698), CVPR 2019" in sources_of(content)[1]


def test_parts_with_their_options() -> None:
    content = example()
    content["model"]["parts"] = {
        "backbone": {"name": "residual-vgg", "options": {}},
        "front end": {"name": "log-mel", "options": {}},
        "neck": {"name": "none", "options": {}},
        "pooling": {"name": "double-multi-head", "options": {}},
    }
    task = {"name": "emotion", "problem_type": "single_label_classification", "labels": ["a"], "unit": ""}
    task |= {"head": "cosine", "head_config": {"sub_centers": 3}, "loss": "cross_entropy"}
    content["model"]["tasks"] = [task | {"loss_config": {"label_smoothing": 0.1}}]
    titles = [line.partition(":")[0] for line in sources_of(content)]
    assert titles == [
        "network `residual-vgg`", "pooling `double-multi-head`", "head `cosine`", "label smoothing",
        "several centres a class", "AdamW",
    ]  # fmt: skip
