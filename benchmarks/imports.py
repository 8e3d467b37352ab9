"""How long the commonest imports take, and the command line's first answer: whole processes, by turns.

python -m benchmarks imports        # two minutes
"""

import subprocess
import sys
from pathlib import Path

from .rows import Row
from .sample import Sample
from .turns import by_turns, ratio

ROUNDS = 11
OURS, STOCK, BARE, PACKAGE, HELP = "ours", "stock", "bare", "package", "help"
COMMANDS = {
    OURS: [sys.executable, "-c", "from hf_speech import HfSpeechForSequenceClassification"],
    STOCK: [sys.executable, "-c", "from transformers import AutoModelForAudioClassification, Wav2Vec2Model"],
    PACKAGE: [sys.executable, "-c", "import hf_speech"],
    HELP: [str(Path(sys.executable).with_name("hf-speech")), "--help"],
    BARE: [sys.executable, "-c", "pass"],
}
AT_LEAST = 1 / 1.1
MOST = {"import hf_speech, seconds": 0.3, "hf-speech --help, seconds": 0.5}


def rows(sample: Sample, rounds: int = ROUNDS) -> list[Row]:
    """The row of this file; the sample has no part in it."""
    ways = {
        name: lambda words=words: subprocess.run(words, check=True, capture_output=True)
        for name, words in COMMANDS.items()
    }
    times = by_turns(ways, rounds)
    median = {name: sorted(values)[rounds // 2] for name, values in times.items()}
    return [
        Row(
            "import",
            "`from hf_speech import HfSpeechForSequenceClassification`",
            "`from transformers import AutoModelForAudioClassification, Wav2Vec2Model`",
            ratio(times[OURS], times[STOCK]),
            AT_LEAST,
            facts={
                "seconds": times[OURS],
                "other_seconds": times[STOCK],
                "import hf_speech, seconds": median[PACKAGE],
                "hf-speech --help, seconds": median[HELP],
                "bare interpreter, seconds": median[BARE],
            },
            most=MOST,
        )
    ]
