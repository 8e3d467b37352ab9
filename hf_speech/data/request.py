"""What a reader of rows is asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from .problems import Problems


@dataclass(frozen=True)
class Request:
    """What is to be read, and how.

    Attributes:
        source: a folder, a file, or a name on the Hub.
        columns: column of the schema -> what the source calls it.
        config_name: configuration of a data set with several.
        streaming: rows as they come, where the reader can.
        audio_root: the folder that relative paths count from; None: the reader's own rule.
        problems: takes the rows that can't be used; they are left out.
        preparing: whether the rows are to be measured and written: then each row's file must be there, each split have
            a name that data sets can have, rows of a list say where they stand in it (the columns `LISTED` of
            stored.py), and what is measured (`MEASURED`) is not read.
        labels: the labels that there may be; None: any.
    """

    source: str
    columns: dict[str, str] = field(default_factory=dict)
    config_name: str | None = None
    streaming: bool = False
    audio_root: Path | None = None
    problems: Problems = field(default_factory=Problems)
    preparing: bool = False
    labels: list[str] | None = None
