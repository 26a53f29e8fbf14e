"""The watch folder: a folder of documents dropped into it becomes a job when it stops changing.

A look compares each folder's fingerprint (names, sizes, times; nothing is opened) with the last
one. What was seen is kept in the queue's database, so that a restart starts nothing twice.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.daemon.orders import Order, require_own_text, submit_order
from appliance.daemon.settings import InboxSettings
from appliance.documents.walk import RECIPE_NAME, scan_folder
from appliance.errors import ApplianceError, RecipeError
from appliance.jobs import choose_kind
from appliance.queue.states import Drop, Ended
from appliance.queue.store import Store
from appliance.recipe import Recipe, load_recipe

LOOK_SECONDS = 5.0
"""Between two looks, at least; after a long look longer, so that looking stays below 0.5 %."""

LOOK_SHARE = 0.005
"""Share of the time that looking may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look found: jobs submitted, and folders that cannot be used."""

    submitted: tuple[int, ...] = ()
    num_faults: int = 0


def look_into(inbox: Path, runs: Path, store: Store, now: float, settings: InboxSettings) -> Look:
    """Look at every folder in the inbox once; submit those that are ready.

    Args:
        inbox: the watch folder.
        runs: where runs are kept.
        store: the queue.
        now: seconds since 1970.
        settings: how long a folder must rest, and when changed ones are tuned again.
    """
    submitted, faults = [], 0
    names = sorted(item.name for item in os.scandir(inbox) if _is_drop(item))
    for drop in store.list_drops():
        if drop.name not in names:
            store.forget_drop(drop.name)
    for name in names:
        before = store.find_drop(name)
        after = _consider(inbox / name, runs, before, store, now, settings)
        if after == before:
            continue
        store.keep_drop(after)
        faults += bool(after.fault)
        if after.job_id is not None and (before is None or after.job_id != before.job_id):
            submitted.append(after.job_id)
    return Look(submitted=tuple(submitted), num_faults=faults)


def _is_drop(item: os.DirEntry[str]) -> bool:
    return not item.name.startswith(".") and item.is_dir(follow_symlinks=False)


def _consider(
    folder: Path,
    runs: Path,
    drop: Drop | None,
    store: Store,
    now: float,
    settings: InboxSettings,
) -> Drop:
    """What is remembered of a folder after this look; submits it if its time has come."""
    fingerprint, fault = _scan(folder)
    if drop is None:
        return Drop(name=folder.name, fingerprint=fingerprint, since=now)
    if drop.fingerprint != fingerprint or now < drop.since:  # changed, or the clock was
        return replace(drop, fingerprint=fingerprint, since=now, fault="")
    if now - drop.since < settings.settle_seconds:
        return drop
    if fault:
        return replace(drop, fault=fault)
    if drop.fault or drop.submitted == fingerprint:  # refused as it is, or known as it is
        return drop
    if drop.job_id is not None:
        is_busy = not isinstance(store.find(drop.job_id).state, Ended)
        if is_busy or not is_time(drop.since, now, settings.retune_at):
            return drop
    return _submit(folder, runs, drop, store)


def _scan(folder: Path) -> tuple[str, str]:
    """Fingerprint of a folder; or none, and why it cannot be used: perhaps it is still copied."""
    try:
        return scan_folder(folder).fingerprint, ""
    except ApplianceError as exc:
        return "", exc.why
    except OSError as exc:
        return "", exc.strerror or type(exc).__name__


def _submit(folder: Path, runs: Path, drop: Drop, store: Store) -> Drop:
    try:
        folder.name.encode()
        recipe = _read_recipe(folder / RECIPE_NAME)
        order = Order(
            # with the time: the same folder, taken away and dropped again, is another order
            key=f"inbox:{folder.name}:{drop.fingerprint}:{drop.since}",
            documents=folder.parent.resolve() / folder.name,
            base=None,
            recipe=recipe,
            owner=folder.stat().st_uid,
            kind=choose_kind(recipe),
        )
    except ApplianceError as exc:
        return replace(drop, fault=f"its {RECIPE_NAME} cannot be used: {exc.why}")
    except OSError as exc:
        return replace(drop, fault=exc.strerror or type(exc).__name__)
    except UnicodeEncodeError:
        return replace(drop, fault="its name is not valid text (UTF-8): rename it")
    job, _ = submit_order(order, runs, store)
    return replace(drop, submitted=drop.fingerprint, job_id=job.id, fault="")


def _read_recipe(path: Path) -> Recipe:
    if path.is_symlink():  # it could lead to a file that its owner may not read
        raise RecipeError("a link is not followed", why="it is a link", fix="copy the file")
    recipe = load_recipe(path) if path.is_file() else Recipe()
    require_own_text(recipe)
    return recipe


def is_time(since: float, now: float, retune_at: str | None) -> bool:
    """Whether the time of day for changed folders has come since a folder last changed.

    Args:
        since: when it last changed, seconds since 1970.
        now: seconds since 1970.
        retune_at: local time of day, HH:MM; None for never.
    """
    if retune_at is None:
        return False
    hour, minute = map(int, retune_at.split(":"))
    changed = datetime.datetime.fromtimestamp(since)
    due = changed.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if due < changed:
        due += datetime.timedelta(days=1)
    return now >= due.timestamp()
