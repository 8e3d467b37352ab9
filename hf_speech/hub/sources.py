"""Papers that the parts of a model, and the ways of training it, come from: what a card cites."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .words import Facts, tasks_of


@dataclass(frozen=True)
class Paper:
    """A publication.

    Attributes:
        authors: one or two names, or the first "et al."
        title: short, where it has a name.
        venue: with the year.
        link: where it can be read.
    """

    authors: str
    title: str
    venue: str
    link: str

    def __str__(self) -> str:
        return f"{self.authors}, [{self.title}]({self.link}), {self.venue}"


def _arxiv(authors: str, title: str, venue: str, number: str) -> Paper:
    return Paper(authors, title, venue, f"https://arxiv.org/abs/{number}")


def _doi(authors: str, title: str, venue: str, number: str) -> Paper:
    return Paper(authors, title, venue, f"https://doi.org/{number}")


PAPERS: dict[str, Paper] = {
    "adamw": _arxiv("Loshchilov & Hutter", "Decoupled weight decay regularization", "ICLR 2019", "1711.05101"),
    "arcface": _arxiv("Deng et al.", "ArcFace", "CVPR 2019", "1801.07698"),
    "attentive": _arxiv("Okabe et al.", "Attentive statistics pooling", "Interspeech 2018", "1803.10963"),
    "batchnorm": _arxiv("Ioffe & Szegedy", "Batch normalization", "ICML 2015", "1502.03167"),
    "beit": _arxiv("Bao et al.", "BEiT", "ICLR 2022", "2106.08254"),
    "ccc": _doi("Lin", "A concordance correlation coefficient", "Biometrics 1989", "10.2307/2532051"),
    "chen": _arxiv(
        "Chen & Rudnicky", "Exploring wav2vec 2.0 fine-tuning for speech emotion", "ICASSP 2023", "2110.06309"
    ),
    "conformer": _arxiv("Gulati et al.", "Conformer", "Interspeech 2020", "2005.08100"),
    "coral": _arxiv(
        "Cao et al.", "Rank consistent ordinal regression", "Pattern Recognition Letters 2020", "1901.07884"
    ),
    "cosface": _arxiv("Wang et al.", "CosFace", "CVPR 2018", "1801.09414"),
    "cyclic": _arxiv("Smith", "Cyclical learning rates", "WACV 2017", "1506.01186"),
    "data2vec": _arxiv("Baevski et al.", "data2vec", "ICML 2022", "2202.03555"),
    "dldl": _doi(
        "Gao et al.", "Age estimation using expectation of label distribution learning", "IJCAI 2018",
        "10.24963/ijcai.2018/99",
    ),
    "dmha": _arxiv("India et al.", "Double multi-head attention for speaker verification", "ICASSP 2021", "2007.13199"),
    "ecapa": _arxiv("Desplanques et al.", "ECAPA-TDNN", "Interspeech 2020", "2005.07143"),
    "electra": _arxiv("Clark et al.", "ELECTRA", "ICLR 2020", "2003.10555"),
    "focal": _arxiv("Lin et al.", "Focal loss for dense object detection", "ICCV 2017", "1708.02002"),
    "hubert": _arxiv("Hsu et al.", "HuBERT", "IEEE/ACM TASLP 2021", "2106.07447"),
    "huber": _doi(
        "Huber", "Robust estimation of a location parameter", "Annals of Mathematical Statistics 1964",
        "10.1214/aoms/1177703732",
    ),
    "layerdrop": _arxiv("Fan et al.", "Reducing Transformer depth with structured dropout", "ICLR 2020", "1909.11556"),
    "limited": _arxiv(
        "Vaessen & van Leeuwen", "Training speaker recognition systems with limited data", "Interspeech 2022",
        "2203.14688",
    ),
    "logit": _arxiv("Menon et al.", "Long-tail learning via logit adjustment", "ICLR 2021", "2007.07314"),
    "lora": _arxiv("Hu et al.", "LoRA", "ICLR 2022", "2106.09685"),
    "musan": _arxiv("Snyder et al.", "MUSAN", "2015", "1510.08484"),
    "prelayernorm": _arxiv("Xiong et al.", "On layer normalization in the Transformer", "ICML 2020", "2002.04745"),
    "rare": _doi(
        "King & Zeng", "Logistic regression in rare events data", "Political Analysis 2001",
        "10.1093/oxfordjournals.pan.a004868",
    ),
    "resnet": _arxiv("He et al.", "Deep residual learning", "CVPR 2016", "1512.03385"),
    "reverb": _doi(
        "Ko et al.", "Data augmentation of reverberant speech", "ICASSP 2017", "10.1109/ICASSP.2017.7953152"
    ),
    "seamless": _arxiv("Seamless Communication et al.", "Seamless", "2023", "2312.05187"),
    "sgdr": _arxiv("Loshchilov & Hutter", "SGDR", "ICLR 2017", "1608.03983"),
    "smoothing": _arxiv("Szegedy et al.", "Rethinking the Inception architecture", "CVPR 2016", "1512.00567"),
    "specaugment": _arxiv("Park et al.", "SpecAugment", "Interspeech 2019", "1904.08779"),
    "speechbrain": _arxiv("Ravanelli et al.", "SpeechBrain", "2021", "2106.04624"),
    "speeds": _doi("Ko et al.", "Audio augmentation", "Interspeech 2015", "10.21437/Interspeech.2015-711"),
    "speedspeakers": Paper(
        "Yamamoto et al.", "Speaker augmentation", "Interspeech 2019",
        "https://www.isca-archive.org/interspeech_2019/yamamoto19_interspeech.html",
    ),
    "subcenter": _doi("Deng et al.", "Sub-center ArcFace", "ECCV 2020", "10.1007/978-3-030-58621-8_43"),
    "superb": _arxiv("Yang et al.", "SUPERB", "Interspeech 2021", "2105.01051"),
    "superconvergence": _arxiv("Smith & Topin", "Super-convergence", "2019", "1708.07120"),
    "transformer": _arxiv("Vaswani et al.", "Attention is all you need", "NeurIPS 2017", "1706.03762"),
    "speechtransformer": _doi("Dong et al.", "Speech-Transformer", "ICASSP 2018", "10.1109/ICASSP.2018.8462506"),
    "ulmfit": _arxiv("Howard & Ruder", "ULMFiT", "ACL 2018", "1801.06146"),
    "unispeech": _arxiv("Chen et al.", "UniSpeech-SAT", "ICASSP 2022", "2110.05752"),
    "vaessen": _arxiv(
        "Vaessen & van Leeuwen", "Fine-tuning wav2vec2 for speaker recognition", "ICASSP 2022", "2109.15053"
    ),
    "w2vbert": _arxiv("Chung et al.", "w2v-BERT", "ASRU 2021", "2108.06209"),
    "wav2vec": _arxiv("Schneider et al.", "wav2vec", "Interspeech 2019", "1904.05862"),
    "wav2vec2": _arxiv("Baevski et al.", "wav2vec 2.0", "NeurIPS 2020", "2006.11477"),
    "wavlm": _arxiv("Chen et al.", "WavLM", "IEEE JSTSP 2022", "2110.13900"),
    "xvector": _doi("Snyder et al.", "X-vectors", "ICASSP 2018", "10.1109/ICASSP.2018.8461375"),
}  # fmt: skip

# Kind of part -> name in its registry -> papers; none where a part is common knowledge, and needs no source.
SOURCES: dict[str, dict[str, tuple[str, ...]]] = {
    "objective": {"contrastive": ("wav2vec2",), "clusters": ("hubert", "chen"), "labels": ("chen",)},
    "encoder": {
        "wav2vec2": ("wav2vec2",),
        "hubert": ("hubert",),
        "wavlm": ("wavlm",),
        "data2vec-audio": ("data2vec",),
        "unispeech-sat": ("unispeech",),
        "wav2vec2-conformer": ("wav2vec2", "conformer"),
        "wav2vec2-bert": ("w2vbert", "seamless"),
    },
    "network": {
        "x-vector": ("xvector",),
        "ecapa-tdnn": ("ecapa",),
        "vgg": ("dmha",),
        "residual-vgg": ("dmha", "resnet"),
        "wav2vec": ("wav2vec",),
        "spectrum": (),
    },
    "front end": {
        "log-mel": (),
        "kaldi-fbank": (),
        "mfcc": (),
        "speechbrain-fbank": ("speechbrain",),
        "w2v-bert-fbank": (),
    },
    "neck": {
        "none": (),
        "relu": (),
        "transformer": ("speechtransformer", "prelayernorm"),
        "tdnn": ("xvector", "superb"),
    },
    "pooling": {
        "mean": (),
        "mean+std": ("xvector",),
        "max": (),
        "quantile": ("vaessen",),
        "first": (),
        "first+cls": ("vaessen",),
        "first+cls-learned": ("vaessen",),
        "last": (),
        "middle": (),
        "random": (),
        "self-attention": ("dmha",),
        "multi-head": ("dmha",),
        "double-multi-head": ("dmha",),
        "attentive": ("attentive", "ecapa"),
    },
    "projection": {
        "none": (),
        "linear": ("xvector",),
        "batchnorm+linear": ("ecapa",),
        "linear+batchnorm": (),
        "dmha": ("dmha",),
    },
    "head": {
        "linear": (),
        "projector": (),
        "tanh": ("chen",),
        "mlp": (),
        "batchnorm": ("batchnorm",),
        "cosine": ("cosface",),
        "ordinal": ("coral",),
        "distribution": ("dldl",),
    },
    "loss": {
        "cross_entropy": (),
        "focal": ("focal",),
        "logit_adjusted": ("logit",),
        "am_softmax": ("cosface",),
        "aam_softmax": ("arcface",),
        "coral": ("coral",),
        "binary_cross_entropy": (),
        "mse": (),
        "l1": (),
        "huber": ("huber",),
        "ccc": ("ccc",),
        "label_distribution": ("dldl",),
    },
    "schedule": {
        "constant": (),
        "linear": (),
        "cosine": ("sgdr",),
        "exponential": ("limited",),
        "triangular": ("cyclic",),
        "triangular2": ("cyclic",),
        "one-cycle": ("superconvergence",),
        "tri-stage": ("specaugment",),
        "warmup-flat-linear": ("chen",),
        "inverse-sqrt": ("transformer",),
        "plateau": ("vaessen",),
    },
    "regularization": {
        "default": ("limited", "specaugment", "layerdrop"),
        "none": (),
        "dropout": ("limited",),
        "masking": ("limited", "specaugment"),
        "layerdrop": ("limited", "layerdrop"),
    },
    "augmentation": {
        "speeds": ("speeds",),
        "speed_classes": ("speedspeakers",),
        "reverb": ("reverb",),
        "noise": ("xvector", "musan"),
        "babble": ("xvector", "musan"),
        "telephone": (),
        "lowpass": (),
        "mu_law": (),
        "gain": (),
    },
    # Ways of training that are no part of a registry.
    "method": {
        "weighted sum of layers": ("superb",),
        "LoRA": ("lora",),
        "layer drop": ("layerdrop",),
        "masks of SpecAugment": ("specaugment",),
        "gradual unfreezing": ("ulmfit",),
        "learning rates by layer": ("electra", "beit"),
        "class weights": ("rare",),
        "label smoothing": ("smoothing",),
        "several centres a class": ("subcenter",),
        "AdamW": ("adamw",),
    },
}


def sources_of(results: Facts) -> list[str]:
    """A line for each part of a model, or way of training it, that comes from a paper: what it is, and the papers."""
    lines = []
    for kind, name in dict.fromkeys((*_parts(results["model"], tasks_of(results)), *_learning(results["run"]))):
        papers = SOURCES[kind].get(name, ())
        if papers:
            what = name if kind == "method" else f"{kind} `{name}`"
            lines.append(f"{what}: {'; '.join(str(PAPERS[paper]) for paper in papers)}")
    return lines


def _parts(model: Facts, tasks: list[Facts]) -> Iterator[tuple[str, str]]:
    for what, part in (model.get("parts") or {}).items():
        kind = what
        if what == "backbone":
            kind = "encoder" if part["name"] in SOURCES["encoder"] else "network"
        if kind in SOURCES:
            yield kind, part["name"]
    if not model.get("parts") and model["pooling"]:
        yield "pooling", model["pooling"]
    for task in tasks:
        options = {**(task.get("head_config") or {}), **(task.get("loss_config") or {})}
        for kind in ("head", "loss"):
            if task.get(kind):
                yield kind, task[kind]
        if options.get("label_smoothing"):
            yield "method", "label smoothing"
        if options.get("sub_centers", 1) > 1:
            yield "method", "several centres a class"
    if model["layer"] == "weighted_sum":
        yield "method", "weighted sum of layers"
    if (model.get("adapter") or {}).get("kind") == "lora":
        yield "method", "LoRA"


def _learning(run: Facts) -> Iterator[tuple[str, str]]:
    recipe, arguments = run["recipe"], run["arguments"]
    options: Mapping[str, Any] = arguments.get("backbone_config") or {}
    augment = recipe.get("augment") or {}
    found = {
        "gradual unfreezing": arguments.get("unfreeze_every"),
        "learning rates by layer": arguments.get("layer_decay", 1) != 1,
        "layer drop": arguments.get("layerdrop"),
        "masks of SpecAugment": options.get("spec_augment") or options.get("mask_time_prob"),
        "class weights": recipe.get("class_weights"),
        "AdamW": str(recipe.get("optimizer", "")).startswith("adamw"),
    }
    yield "objective", str(recipe.get("objective"))
    yield "schedule", str(recipe.get("schedule"))
    yield "regularization", str(arguments.get("regularization"))
    yield from (("augmentation", name) for name in SOURCES["augmentation"] if augment.get(name))
    yield from (("method", name) for name, used in found.items() if used)
