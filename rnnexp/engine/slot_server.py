"""A slot on a node: runs attempts of trials as the local executor does, and exchanges messages with a supervisor.

It knows nothing of the engine that carries the calls. `SlotWorker` does the work, without threads; `SlotServer` runs it
in a thread, while others call `exchange`.
"""

import os
import shutil
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rnnexp.engine.exchange import AttemptId, Batch, Command, Control, Reply, StartAttempt
from rnnexp.engine.executor import Executor, Exited, NotStarted
from rnnexp.engine.trial_files import ChangedFiles, write_state
from rnnexp.home import TrialFolder
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import Event
from rnnexp.trial.job import Place
from rnnexp.trial.process import Heartbeat

_POLL_S = 0.5
_MEASURE_MEMORY_S = 1.0


class Stores(Protocol):
    """The token stores of a node; `NodeCache`."""

    def get(self, store: Path, fetch: Callable[[], bytes]) -> Path:
        """Returns the folder of a store on this node; see `NodeCache.get`."""
        ...


class SlotWorker:
    """One slot, which runs one attempt at a time."""

    def __init__(
        self,
        root: Path,
        stores: Stores,
        fetch: Callable[[Any], bytes],
        executor: Executor,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        root: a folder of this slot alone.
        stores: the token stores of the node.
        fetch: returns what a reference of `StartAttempt` refers to.
        executor: has one slot.
        monotonic: the clock.
        """
        self._monotonic = monotonic
        self._root, self._stores, self._fetch, self._executor = root, stores, fetch, executor
        self._commands: deque[Command] = deque()
        self._last_command = 0
        self._unconfirmed: deque[Batch] = deque()
        self._n_batches = 0
        self._attempt: AttemptId | None = None
        self._files: ChangedFiles | None = None
        self._private_bytes: int | None = None
        self._measured_at = float("-inf")

    def accept(self, commands: Sequence[Command], confirmed: int) -> bool:
        """Takes the new ones of the commands, and forgets the batches that the supervisor has.

        Args:
            commands: those that the slot has not confirmed, in order.
            confirmed: the sequence number of the last batch that the supervisor has.

        Returns:
            Whether a command was new.
        """
        before = self._last_command
        for command in commands:
            if command.sequence == self._last_command + 1:
                self._last_command += 1
                self._commands.append(command)
        while self._unconfirmed and self._unconfirmed[0].sequence <= confirmed:
            self._unconfirmed.popleft()
        return self._last_command > before

    @property
    def has_news(self) -> bool:
        """Whether there is a batch that the supervisor has not confirmed."""
        return bool(self._unconfirmed)

    def reply(self) -> Reply:
        """Returns what the supervisor has not confirmed."""
        return Reply(tuple(self._unconfirmed), self._last_command)

    def next_command(self) -> Command | None:
        """Removes and returns the next command; None if there is none."""
        return self._commands.popleft() if self._commands else None

    def carry_out(self, command: Command) -> list[NotStarted]:
        """Carries out a command; returns a message if it is a start that failed."""
        action, number = command.action, command.attempt.number
        if isinstance(action, StartAttempt):
            return self._start(command.attempt, action)
        if command.attempt != self._attempt:
            return []  # it concerns an attempt that has ended
        if isinstance(action, Answer):
            self._executor.answer(number, action)
        elif action is Control.STOP:
            self._executor.request_stop(number)
        else:
            self._executor.kill(number)
        return []

    def _start(self, attempt: AttemptId, start: StartAttempt) -> list[NotStarted]:
        self._attempt, self._private_bytes = attempt, None
        shutil.rmtree(self._root, ignore_errors=True)
        folder = TrialFolder(self._root / f"{attempt.number:05d}")
        try:
            store = self._stores.get(start.store, lambda: self._fetch(start.store_reference))
            write_state(folder, start.files)
            self._files = ChangedFiles(folder)
            self._executor.submit(start.job, Place(folder, store))
        except Exception as error:  # whatever it is, it is this machine's
            return [NotStarted(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")]
        return []

    def poll(self, timeout_s: float) -> list[Any]:
        """Waits for messages of the attempt's process, and measures its memory."""
        messages = [message for _, message in self._executor.poll(timeout_s)]
        now = self._monotonic()
        if self._attempt is not None and now - self._measured_at > _MEASURE_MEMORY_S:
            self._measured_at, self._private_bytes = now, self._executor.private_bytes(self._attempt.number)
        return messages

    def add(self, messages: Sequence[Any]) -> None:
        """Keeps messages for the supervisor, with the files that belong to them."""
        if self._attempt is None or not messages:
            return
        only_heartbeats = all(isinstance(message, Heartbeat) for message in messages)
        if only_heartbeats and self._unconfirmed:  # the supervisor has something to fetch already
            return
        files: dict[str, bytes | None] = {}
        recorded: tuple[Event, ...] = ()
        if self._files is not None and not only_heartbeats:
            recorded, files = self._files.events(), self._files.files()
        log = b"" if self._files is None else self._files.log()
        self._n_batches += 1
        self._unconfirmed.append(
            Batch(self._n_batches, self._attempt, tuple(messages), recorded, files, log, self._private_bytes)
        )
        if isinstance(messages[-1], Exited | NotStarted):
            self._attempt = self._files = None
            shutil.rmtree(self._root, ignore_errors=True)

    def close(self) -> None:
        """Kills the attempt and removes the folder of the slot."""
        self._executor.close()
        shutil.rmtree(self._root, ignore_errors=True)


class SlotClosedError(Exception):
    """The slot has ended; its process too."""


class SlotServer:
    """Runs a slot in a thread until it is closed."""

    def __init__(
        self, root: Path, stores: Stores, fetch: Callable[[Any], bytes], make_executor: Callable[[int], Executor]
    ) -> None:
        """Args:
        root, stores, fetch: as for `SlotWorker`.
        make_executor: returns an executor with one slot; its argument is a file descriptor that ends `poll` early.
        """
        self._wake_reader, self._wake_writer = os.pipe()
        self._worker = SlotWorker(root, stores, fetch, make_executor(self._wake_reader))
        self._changed = threading.Condition()
        self._newest_call = 0
        self._is_closed, self._fault = False, ""
        self._thread = threading.Thread(target=self._run, name="slot", daemon=True)
        self._thread.start()

    def exchange(self, commands: Sequence[Command], confirmed: int, wait_s: float) -> Reply:
        """Takes the new ones of the commands, and returns the batches after the confirmed one.

        Waits for a batch; a later call ends the waiting of an earlier one. The first call does not wait: its reply says
        that the slot is there.

        Args:
            commands: those that the slot has not confirmed, in order.
            confirmed: the sequence number of the last batch that the supervisor has.
            wait_s: how long to wait for a batch.

        Raises:
            SlotClosedError: if the slot has ended.
        """
        with self._changed:
            self._check_open()
            self._newest_call += 1
            call = self._newest_call
            if self._worker.accept(commands, confirmed):
                os.write(self._wake_writer, b"!")
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._worker.has_news or self._newest_call != call or self._is_closed,
                wait_s if call > 1 else 0.0,
            )
            self._check_open()
            return self._worker.reply()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SlotClosedError(self._fault or "the slot is closed")

    def close(self) -> None:
        """Kills the attempt and removes the folder of the slot."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        os.write(self._wake_writer, b"!")
        self._thread.join()
        for descriptor in (self._wake_reader, self._wake_writer):
            os.close(descriptor)

    def _run(self) -> None:
        try:
            while not self._is_closed:
                with self._changed:
                    command = self._worker.next_command()
                # The worker's own state is changed by this thread alone; only its queues are shared.
                messages = self._worker.poll(_POLL_S) if command is None else self._worker.carry_out(command)
                if messages:
                    with self._changed:
                        self._worker.add(messages)
                        self._changed.notify_all()
        except Exception as error:  # such as a full disk of this machine
            traceback.print_exception(error)
            self._fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        finally:
            self._worker.close()
            with self._changed:
                self._is_closed = True
                self._changed.notify_all()
