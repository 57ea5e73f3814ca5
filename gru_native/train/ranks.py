"""Processes that MPI joins: they end together, and each hears what all of them have to say."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gru_native.arguments import Array, T, instance
from gru_native.train.identity import differences

OBJECTS, ARRAYS = 0, 1  # tags of messages
PATIENCE, NAP = 0.002, 0.0001  # seconds for which a rank that waits looks all the time, and then between two looks


class Ranks:
    """The processes of a communicator, or this process alone.

    Parameters
    ----------
    communicator : MPI.Intracomm or None

    Attributes
    ----------
    rank, size : int
        Which of them this one is, and how many there are.
    """

    def __init__(self, communicator: Any) -> None:
        self.rank, self.size = 0, 1
        self._silent: set[int] = set()  # from whom a message is waited for
        if communicator is not None:
            expected = "a communicator of mpi4py, such as MPI.COMM_WORLD"
            given: Any = instance("communicator", communicator, _mpi().Intracomm, expected)
            self._communicator = given.Dup()  # whose messages nobody else gets
            self.rank, self.size = given.Get_rank(), given.Get_size()

    def __deepcopy__(self, memo: object) -> Ranks:
        return self

    def gathered(self, value: T) -> list[T]:
        """Return what each rank gives, in their order.

        An error that ended the block `together` of another rank ends this one's.
        """
        if self.size == 1:
            return [value]
        words = self._told((value, None))
        for rank, (_, error) in enumerate(words):
            if error is not None:
                raise _Elsewhere(rank, error)
        return [found for found, _ in words]

    def of_first(self, value: T) -> T:
        """Return what rank 0 gives."""
        words: list[Any] = self.gathered(value if self.rank == 0 else None)
        found: T = words[0]
        return found

    def refuse_others(self, plan: Mapping[str, Any]) -> None:
        """Refuse ranks that are about to do something else; `plan` is what this one does."""
        refuse_different(self.gathered(plan))

    def exchange(self, given: Sequence[Array], taken: Sequence[Array]) -> None:
        """Hand an array to each rank, and fill one with what each of them gives; all are contiguous."""
        requests = {
            rank: (
                self._communicator.Irecv(taken[rank], rank, ARRAYS),
                self._communicator.Isend(given[rank], rank, ARRAYS),
            )
            for rank in self._others()
        }
        taken[self.rank][...] = given[self.rank]
        self._wait(lambda rank: all(request.Test() for request in requests[rank]))

    @contextmanager
    def together(self, advice: str) -> Iterator[None]:
        """Leave the block with the other ranks: an error of one of them is raised on all.

        When the job is ended meanwhile, as ``mpirun`` does when a rank is lost, `advice` stands on standard error.
        """
        if self.size == 1:
            yield
            return
        with self._last_words(advice):
            try:
                yield
                self.gathered(None)
            except _Elsewhere as found:
                raise found.error from RuntimeError(f"it was raised on rank {found.rank} of {self.size}")
            except BaseException as error:
                self._told((None, _portable(error)))
                raise

    def _others(self) -> set[int]:
        return {*range(self.size)} - {self.rank}

    def _told(self, word: Any) -> list[Any]:
        """Return what all ranks say, in their order."""
        words = [word] * self.size
        sent = {rank: self._communicator.isend(word, rank, OBJECTS) for rank in self._others()}

        def arrived(rank: int) -> bool:
            message = self._communicator.improbe(rank, OBJECTS)
            if message is not None:
                words[rank] = message.recv()
            return message is not None

        self._wait(arrived)
        self._wait(lambda rank: bool(sent[rank].Test()))
        return words

    def _wait(self, arrived: Callable[[int], bool]) -> None:
        """Wait for all others, in Python: so signals are seen, and it is known who is silent."""
        self._silent, began = self._others(), time.perf_counter()
        while self._silent:
            self._silent = {rank for rank in self._silent if not arrived(rank)}
            if time.perf_counter() - began < PATIENCE:
                os.sched_yield()
            else:
                time.sleep(NAP)

    @contextmanager
    def _last_words(self, advice: str) -> Iterator[None]:
        """Say what to do before SIGTERM ends this process, unless the program has something else done then."""
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            yield
            return

        def speak(number: int, frame: FrameType | None) -> None:
            if not self._silent or {*range(self.rank)} <= self._silent:  # the first one that is left, where it is known
                lost = " and ".join(map(str, sorted(self._silent)))
                found = f"no word from rank {lost}" if lost else "a rank may be lost, which mpirun names"
                os.write(2, f"gru_native: the job of {self.size} ranks was ended: {found}. {advice}\n".encode())
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        signal.signal(signal.SIGTERM, speak)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def refuse_different(plans: Sequence[Mapping[str, Any]]) -> None:
    """Refuse nests, one of each rank, that are not the same."""
    first, *others = plans
    for rank, other in enumerate(others, 1):
        for place, own, found in differences(first, other):
            raise ValueError(f"{place}: expected the same on all ranks, got {own!r} on 0 and {found!r} on {rank}")


class _Elsewhere(Exception):
    """An error of another rank."""

    def __init__(self, rank: int, error: BaseException) -> None:
        self.rank, self.error = rank, error


def _portable(error: BaseException) -> BaseException:
    """Return an error that can be sent."""
    try:
        found: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return found


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(f"communicator needs mpi4py ({error}): pip install 'gru_native[mpi]'") from error
    return MPI
