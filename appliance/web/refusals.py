"""Requests that are refused: the status of HTTP, and an error with a way out."""

from __future__ import annotations

from pydantic import ValidationError

from appliance.daemon.client import ServiceSilentError
from appliance.daemon.views import view_error
from appliance.errors import ApplianceError, ServiceError
from appliance.queue.states import UnknownJobError, WrongStateError
from appliance.web.plans import UnknownPlanError
from appliance.web.uploads import TooMuchError


class Refusal(Exception):  # noqa: N818  (an answer, not a fault)
    """A request that gets another answer than it asked for.

    Args:
        status: of HTTP.
        error: what a person or a program is told.
        retry_seconds: when to come back; 0 for no such time.
    """

    def __init__(self, status: int, error: ApplianceError, *, retry_seconds: int = 0) -> None:
        """Keep the parts."""
        super().__init__(error.what)
        self.status = status
        self.error = error
        self.retry_seconds = retry_seconds

    @property
    def headers(self) -> dict[str, str]:
        """That go with the answer."""
        headers = {"retry-after": str(self.retry_seconds)} if self.retry_seconds else {}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})

    @property
    def body(self) -> dict[str, object]:
        """As JSON."""
        return dict(view_error(self.error))


def refuse(
    status: int, what: str, *, why: str = "", fix: str = "", retry_seconds: int = 0
) -> Refusal:
    """A refusal of our own."""
    return Refusal(status, ServiceError(what, why=why, fix=fix), retry_seconds=retry_seconds)


def explain(error: ApplianceError) -> Refusal:
    """The status that an error has."""
    if isinstance(error, UnknownJobError | UnknownPlanError):
        return Refusal(404, error)
    if isinstance(error, WrongStateError):
        return Refusal(409, error)
    if isinstance(error, TooMuchError):
        return Refusal(413, error)
    if isinstance(error, ServiceSilentError):
        return Refusal(503, error, retry_seconds=5)
    return Refusal(400, error)


def explain_fields(exc: ValidationError, path_fields: frozenset[str]) -> Refusal:
    """What is wrong with the fields of a request; what was sent is not quoted."""
    names = {str(fault["loc"][0]) if fault["loc"] else "" for fault in exc.errors()}
    if names & path_fields:
        return refuse(404, "there is nothing here", fix="go back, or begin at /jobs")
    faults = "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg'].lower()}"
        for fault in exc.errors(include_input=False, include_url=False)
    )
    return refuse(
        400, "the request is not understood", why=faults[:500], fix="see /api/openapi.json"
    )


def ask_to_log_in() -> Refusal:
    """For whoever brings nothing that is known."""
    return refuse(
        401,
        "you are not logged in",
        why="there is no session and no token, or it has ended or was revoked",
        fix="appliance tokens create makes one; a program sends it as Authorization: Bearer TOKEN",
    )


def explain_scope(needed: str, held: str) -> Refusal:
    """The token is good, but not for this."""
    return refuse(
        403,
        "this login may not do that",
        why=f"it has the scope {held}; {needed} is needed",
        fix=f"log in with a token of that scope: appliance tokens create --scope {needed}",
    )


def explain_jobs(jobs: tuple[int, ...]) -> Refusal:
    """The token is good, but for other jobs; whether this one is there is not told."""
    named = ", ".join(map(str, jobs))
    return refuse(
        403,
        "this login opens some jobs alone",
        why=f"its token was made for {'job' if len(jobs) == 1 else 'jobs'} {named}",
        fix=f"begin at /jobs/{jobs[0]}",
    )


def explain_fault() -> Refusal:
    """What nobody expected is not described: it may quote what was sent."""
    return refuse(
        500,
        "the dashboard failed",
        why="a fault of its own; the terminal that runs it says which kind, without any text",
        fix="try again; if it fails again, report it",
    )
