"""Speech classifiers on the Hugging Face stack: who speaks, emotion, age.

How to read this package, in the order an utterance travels through it:

    audio       bytes or path -> mono float32 waveform; only the wanted crop is read
    corpora     a corpus on disk -> Parquet with card and audit (the scripts are in dataset_scripts/)
    data        rows -> batches: readers, split rules, audit, checks, decoding in the collator
    models      batch -> frames -> vector -> logits, loss (one flat folder, travels to the Hub)
    training    model + batches -> checkpoints
    inference   model + rows -> logits, embeddings
    metrics     predictions -> numbers with intervals
    evidence    where in time a model looked
    verification    model + trials -> scores, calibrated, with numbers; galleries of voices
    demo        web pages to try a model
    serving     model -> ONNX file; file -> labels, without torch
    testing     tiny models and made-up corpora, for tests
    hub         run + numbers -> card
    cli         the command `hf-speech`

Importing it loads neither torch nor transformers: public names come when they are asked for, and the Auto classes of
transformers learn our models when they are, or become, imported.
"""

from ._lazy import lazy
from ._registration import register_auto_classes

__version__ = "0.1.0"

_HOMES = {
    "HfSpeechConfig": "models.configuration",
    "HfSpeechModel": "models.modeling",
    "HfSpeechForSequenceClassification": "models.modeling",
    "HfSpeechForXVector": "models.modeling",
    "from_stock": "models.conversion",
    "from_speechbrain": "models.conversion_foreign",
    "from_fairseq": "models.conversion_foreign",
    "from_system": "models.conversion_foreign",
    "InputError": "errors",
    "read_audio": "audio",
    "load_rows": "data.readers",
    "split_rows": "data.splits",
    "encode_target": "data.targets",
    "SpeechCollator": "data.collator",
    "SpeechTrainer": "training.trainer",
    "infer": "inference",
    "predict": "inference",
}

__all__ = ["__version__", *_HOMES]

__getattr__, __dir__ = lazy(__name__, _HOMES)

register_auto_classes()
