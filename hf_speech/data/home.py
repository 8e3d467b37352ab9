"""Where prepared corpora lie: `voxceleb/tiny_few` is a folder under `--data-dir`, or under $HF_SPEECH_DATA."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

VARIABLE = "HF_SPEECH_DATA"
HOME = "prepared"  # what the folder is called where none is given: in messages, and on cards


@dataclass(frozen=True)
class Preparation:
    """How a corpus is prepared.

    Attributes:
        words: of the command `hf-speech prepare`, up to the place where it goes.
        option: the flag that chooses the part which the second half of a name means, as `tiny_few` in
            `voxceleb/tiny_few`; empty: there are no parts.
        prefix: how the second half begins beside the flag's value, as `fold` in `iemocap/fold1`.
        default: the flag's value where the name has no second half; empty: the flag is left out then.
    """

    words: str
    option: str = ""
    prefix: str = ""
    default: str = ""

    def command(self, part: str, place: Path) -> str:
        """The whole command.

        Args:
            part: second half of the name; empty: it has none.
            place: where the prepared corpus is to lie.
        """
        value = part.removeprefix(self.prefix) or self.default
        chosen = f" {self.option} {value}" if self.option and value else ""
        return f"hf-speech prepare {self.words}{chosen} --output-dir {place}"


# First half of a name -> how such a folder is made, from the corpus in a folder of the usual name.
PREPARED = {
    "voxceleb": Preparation("voxceleb --data-dir VoxCeleb", "--config-name", default="full"),
    "iemocap": Preparation("iemocap --data-dir IEMOCAP_full_release", "--fold", prefix="fold"),
    "aishell4": Preparation("aishell4 --data-dir AISHELL-4 --sets train_L --channel 0 --split contiguous", "--meeting"),
    "sre": Preparation("kaldi --data-dir data/sre"),
    "common_voice": Preparation(
        "csv --data-dir CommonVoice --label-file common_voice.csv --columns speaker_id=client_id,age_group=age"
    ),
    "emodb": Preparation("csv --data-dir EMO-DB --columns speaker_id=speaker"),
}


def preparation(name: str, home: str | Path) -> str | None:
    """The command that prepares a corpus by its name, such as `voxceleb/tiny_few`; None: it is none of those.

    >>> preparation("iemocap/fold2", "prepared")
    'hf-speech prepare iemocap --data-dir IEMOCAP_full_release --fold 2 --output-dir prepared/iemocap/fold2'

    Args:
        name: of the corpus.
        home: where prepared corpora lie.
    """
    corpus, _, part = name.partition("/")
    return PREPARED[corpus].command(part, Path(home) / name) if corpus in PREPARED else None


def find_dataset(name: str, data_dir: str | None = None) -> str:
    """The place of a data set: what lies at that path, else a prepared corpus, else the name itself (of the Hub's).

    Args:
        name: a path, a prepared corpus such as `voxceleb/tiny_few`, or a name on the Hub.
        data_dir: where prepared corpora lie; None: $HF_SPEECH_DATA.

    Raises:
        InputError: a corpus that is not there; the message says how it is prepared.
    """
    if Path(name).exists():
        return name
    home = data_dir or os.environ.get(VARIABLE)
    if home and (Path(home) / name).exists():
        return str(Path(home) / name)
    how = preparation(name, home or HOME)
    if how is None:
        return name
    looked = f"nothing at {Path(home) / name}" if home else f"neither --data-dir nor ${VARIABLE} says where corpora lie"
    there = "" if home else f", then --data-dir {HOME}"
    raise InputError(f"dataset {name}: {looked}; make it with `{how}`{there}")
