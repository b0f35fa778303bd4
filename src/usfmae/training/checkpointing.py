"""What makes a run impossible to lose: states on disk, each written whole, and a flag, no sudden end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import nn

from usfmae.attempts import STOPPED
from usfmae.record import atomic, sha256

#: What a run that was asked to stop says last.
LEAVES = "stopped by TERM"
#: Letters of a state's sha256 in its name. PyTorch's format has checksums and does not look at them: of one
#: changed byte in a state, nine of ten are read without an error, into other weights (docs/reliability.md).
DIGEST = 16
#: States kept: where the newest is cut short, the one before it counts.
KEPT = 2


@dataclass
class Progress:
    """Where a run is: all that is needed to go on beside the weights and the optimiser's state."""

    epoch: int = 0
    step: int = 0
    """Steps of the epoch that are done; all of them: the epoch waits for its validation."""
    losses: float = 0.0
    """Sum over the epoch's steps so far."""
    norms: float = 0.0
    """Sum of the gradients' norms over the epoch's steps so far."""
    skipped: int = 0
    """Steps of the epoch whose loss or gradient was not finite."""
    in_a_row: int = 0
    """The last so many steps were skipped."""
    history: list[dict[str, float]] = field(default_factory=list)


class Kept(Protocol):
    """What a run keeps beside its model: plain data and tensors."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Checkpoints:
    """The newest states of a run in a folder; does nothing without a folder."""

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        kept: Kept | None = None,
    ) -> None:
        self.folder, self.model, self.optimiser, self.kept = folder, model, optimiser, kept

    def save(self, progress: Progress) -> None:
        """Writes the state to a temporary name, to the disk itself, then to its own name, which says epoch,
        step and digest. Raises OSError where there is no room."""
        if self.folder is None:
            return
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(progress),
        }
        if self.kept is not None:
            state["kept"] = self.kept.state_dict()
        written = self.folder / ".state.pt"
        with atomic(written) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        place = f"{progress.epoch:06d}-{progress.step:08d}"
        newest = self.folder / f"{place}-{sha256(written)[:DIGEST]}.pt"
        written.replace(newest)
        for old in set(self.folder.glob(f"{place}-*.pt")) - {newest}:  # of a run that came here before
            old.unlink()
        for old in self._newest_first()[KEPT:]:
            old.unlink()

    def restore(self) -> Progress:
        """Puts the newest whole state back and says where it was; without one, the start."""
        for path in self._newest_first():
            try:
                if sha256(path)[:DIGEST] != path.stem.split("-")[-1]:
                    raise ValueError("its content is not what its name says")
                state = torch.load(path, weights_only=True, map_location="cpu")
            except Exception as error:  # torch raises many kinds for a file of another make
                print(f"{path}: not a whole checkpoint ({error}), trying an older one", file=sys.stderr)
                continue
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.kept is not None:
                self.kept.load_state_dict(state["kept"])
            return Progress(**state["progress"])
        return Progress()

    def _newest_first(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(self.folder.glob("[0-9]*.pt"), reverse=True)


class StopFlag:
    """True once TERM has come inside its `with`; other threads than the main one cannot listen for it.

    The handler only sets the flag: saving inside a handler fails at random.
    """

    def __init__(self) -> None:
        self._set = False
        self._listens = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> StopFlag:
        if self._listens:
            self._previous = signal.signal(signal.SIGTERM, self._on_term)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._previous)
            if self._set and kind is None:  # it came after the last look: whoever listened before hears it
                os.kill(os.getpid(), signal.SIGTERM)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self._set = True

    def __bool__(self) -> bool:
        return self._set


def leave(description: str, progress: Progress) -> None:
    """Ends the process so that it is started again and goes on."""
    print(
        f"{description}: {LEAVES} in epoch {progress.epoch} after step {progress.step}",
        file=sys.stderr,
    )
    raise SystemExit(STOPPED)
