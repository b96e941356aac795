"""Input files of a run, and the facts about the run that templates can use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rompy_hydra.time_range import TimeRange


@dataclass(frozen=True)
class RunFacts:
    """The variable `run` of the templates."""

    run_id: str
    # None for a model that does not depend on it.
    period: TimeRange | None
    workspace: str


@dataclass(frozen=True)
class Input:
    """One input file before it is written: its content, or the file to copy or link."""

    path: str
    content: bytes | None = None
    source: Path | None = None
    link: bool = False
    # Instead of `source`: where it is fetched from when the run is generated.
    url: str = ""
    # Such as `sha256:...`; '' if it is not known before.
    checksum: str = ""
    executable: bool = False

    @property
    def size(self) -> int:
        """Size in bytes."""
        if self.content is not None:
            return len(self.content)
        assert self.source is not None
        return self.source.stat().st_size
