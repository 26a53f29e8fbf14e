"""Every file of a folder through the converters: in parallel, in order, with limits.

Each core has a converter process of its own; results come in the order of the files, whoever is
done first. What waits is bounded in number and size, so that memory does not grow with the folder.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from appliance.documents.cache import TextCache
from appliance.documents.capacity import count_converters
from appliance.documents.conversion import Conversion, Limits, Task, has_changed, is_as_listed
from appliance.documents.converter import ConversionFailure, Converter
from appliance.documents.leave_out import LEFT_OUT
from appliance.documents.opening import explain_closed, hash_descriptor, open_below
from appliance.documents.readers.archive import Member
from appliance.documents.walk import Entry, show_name

_WAITING_BYTES = 64 * 2**20
_WAITING_FILES = 4
"""For each converter: enough that none is idle while a slow file is waited for."""

_CHANGED = ("it changed while the folder was read", "run the same command again")


class Conversions:
    """Converters, and the cache behind them."""

    def __init__(
        self,
        root: Path,
        limits: Limits,
        cache: TextCache,
        should_stop: Callable[[], bool],
        *,
        num_converters: int | None = None,
    ) -> None:
        """Nothing starts yet.

        Args:
            root: the folder; no file outside it is ever opened.
            limits: for each file.
            cache: texts of earlier runs.
            should_stop: True when the person wants to stop.
            num_converters: processes; None for one a core, as far as memory allows.
        """
        self._root = root
        self._limits = limits
        self._cache = cache
        self._should_stop = should_stop
        self._num_converters = num_converters or count_converters()

    def convert_all(self, entries: Iterator[Entry]) -> Generator[Conversion, None, None]:
        """Read files, in order; a zip gives one conversion for each member.

        Raises:
            ConverterStopped: the person wants to stop.
            ResourceError: no converter can be started.
        """
        is_over = threading.Event()
        with ExitStack() as stack:
            free: queue.SimpleQueue[Converter] = queue.SimpleQueue()
            for _ in range(self._num_converters):
                converter = Converter(
                    lambda: is_over.is_set() or self._should_stop(),
                    mark_key=self._cache.mark_key,
                )
                stack.callback(converter.close)
                free.put(converter)
            pool = ThreadPoolExecutor(self._num_converters)
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(is_over.set)  # first: nobody waits for a slow file any more
            waiting: deque[tuple[Task, Future[Conversion]]] = deque()
            num_bytes = 0
            for task in self._expand(entries, free):
                waiting.append((task, pool.submit(self._convert, task, free)))
                num_bytes += task.entry.num_bytes
                while waiting and (
                    num_bytes > _WAITING_BYTES
                    or len(waiting) > _WAITING_FILES * self._num_converters
                ):
                    first, future = waiting.popleft()
                    num_bytes -= first.entry.num_bytes
                    yield future.result()
            while waiting:
                yield waiting.popleft()[1].result()

    def _expand(
        self, entries: Iterator[Entry], free: queue.SimpleQueue[Converter]
    ) -> Iterator[Task]:
        """Files as they are, archives as their members."""
        for entry in entries:
            is_archive = entry.name.lower().endswith(".zip")
            if not is_archive or entry.num_bytes > self._limits.max_bytes:
                yield Task(entry=entry)
                continue
            try:
                with self._open(entry) as file:
                    if not is_as_listed(os.fstat(file), Task(entry=entry)):
                        yield Task(entry=entry, failure=_make_failure(_CHANGED))
                        continue
                    sha256 = hash_descriptor(file)
                    with _borrow(free) as converter:
                        reply = converter.list_archive(file, self._limits.seconds)
            except OSError as exc:
                yield Task(entry=entry, failure=_make_failure(explain_closed(exc)))
                continue
            if isinstance(reply, ConversionFailure):
                yield Task(entry=entry, failure=reply)
            elif reply["members"] is None:  # an office file under the name of an archive
                yield Task(entry=entry)
            else:
                members = [Member(**member) for member in reply["members"]]
                yield from self._list_tasks(entry, sha256, members)

    def _list_tasks(self, entry: Entry, sha256: str, members: list[Member]) -> Iterator[Task]:
        for number, member in enumerate(members, start=1):
            inside = replace(
                entry,
                name=f"{entry.name}/{show_name(member.name)}",
                num_bytes=member.num_bytes,
            )
            yield Task(
                entry=inside,
                member=member,
                archive=entry.name,
                archive_sha256=sha256,
                failure=_judge_member(member, self._limits.max_bytes),
                is_last=number == len(members),
            )

    def _convert(self, task: Task, free: queue.SimpleQueue[Converter]) -> Conversion:
        """The conversion of a task; runs in a thread."""
        made = Conversion(
            entry=task.entry,
            reply=task.failure or _make_failure(_CHANGED),
            archive=task.archive,
            archive_sha256=task.archive_sha256,
            is_last=task.is_last,
        )
        if task.failure is not None:
            return made
        try:
            with self._open(task.entry) as file:
                before = os.fstat(file)
                if not is_as_listed(before, task):
                    return made
                sha256 = task.archive_sha256 or hash_descriptor(file)
                if sha256 in self._limits.left_out:
                    return replace(made, reply=LEFT_OUT, sha256="" if task.member else sha256)
                key = self._make_key(task, sha256)
                known = self._cache.find(key)
                reply = known or self._ask(task, file, free)
                if has_changed(before, os.fstat(file)):
                    return made
        except OSError as exc:
            return replace(made, reply=_make_failure(explain_closed(exc)))
        inside = reply.get("sha256", "") if isinstance(reply, dict) else ""
        if inside in self._limits.left_out:
            return replace(made, reply=LEFT_OUT, sha256=inside)
        if known is None:
            self._cache.keep(key, reply)
        return replace(made, reply=reply, sha256=inside if task.member else sha256)

    def _make_key(self, task: Task, sha256: str) -> str:
        name, member = PurePosixPath(task.entry.name).name, task.member
        position = member.position if member else None
        return self._cache.make_key(sha256, name, position, self._limits.policy)

    def _ask(
        self, task: Task, file: int, free: queue.SimpleQueue[Converter]
    ) -> dict[str, Any] | ConversionFailure:
        with _borrow(free) as converter:
            return converter.convert(
                file,
                PurePosixPath(task.entry.name).name,
                max_bytes=self._limits.max_bytes,
                seconds=self._limits.seconds,
                policy=self._limits.policy,
                member=task.member.position if task.member else None,
            )

    @contextmanager
    def _open(self, entry: Entry) -> Iterator[int]:
        file = open_below(self._root, entry.place)
        try:
            yield file
        finally:
            os.close(file)


@contextmanager
def _borrow(free: queue.SimpleQueue[Converter]) -> Iterator[Converter]:
    converter = free.get()
    try:
        yield converter
    finally:
        free.put(converter)


def _make_failure(words: tuple[str, str]) -> ConversionFailure:
    return ConversionFailure(reason=words[0], fix=words[1])


def _judge_member(member: Member, max_bytes: int) -> ConversionFailure | None:
    if member.reason:
        return ConversionFailure(reason=member.reason, fix=member.fix, is_final=True)
    if member.num_bytes > max_bytes:
        return _make_failure(
            ("it is larger than a file may be", "unpack it into the folder, and split it")
        )
    return None
