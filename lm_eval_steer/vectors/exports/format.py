"""What a format is that vectors are exported to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lm_eval_steer.vectors.exports.export import Export


@dataclass(frozen=True)
class ExportFormat:
    """A file, or a folder of files, that another tool reads.

    Attributes:
        words: what it is, with an article: `a control vector of repeng`.
        suffix: of its file, with the dot; empty for a folder.
        write: (export, path of a new file or of an empty folder) -> nothing. The same export gives the same bytes.
        loses: what the file cannot hold, as a phrase; empty where it holds everything.
        use: how the other tool takes it, a line of a shell or of Python in which `{path}` and `{alpha}`, the strength
            that is left to be given there, stand for themselves.
    """

    words: str
    suffix: str
    write: Callable[[Export, Path], None]
    loses: str
    use: str
