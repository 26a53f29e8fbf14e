"""What goes wrong with a request, in the shape that clients of OpenAI's API know."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: for people; never quotes what was sent.
        code: for programs; None where there is none.
        param: the part of the request that is at fault.
        headers: that go with the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Keep the parts."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        """The error object.

        Source: OpenAI API reference, "Error codes", https://platform.openai.com/docs/guides/error-codes.
        """
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def respond(self) -> JSONResponse:
        """The answer to the request."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def make_overload_error(retry_seconds: int) -> ApiError:
    """As many requests wait as may."""
    return ApiError(
        429,
        f"The server is busy: all places in its queue are taken. Try again in {retry_seconds} s.",
        code="server_busy",
        headers={"retry-after": str(retry_seconds)},
    )


def make_context_error(context: int, num_tokens: int, param: str) -> ApiError:
    """The prompt leaves no room for an answer."""
    return ApiError(
        400,
        f"This model's maximum context length is {context} tokens. However, your {param} resulted "
        f"in {num_tokens} tokens. Please reduce the length of the {param}.",
        code="context_length_exceeded",
        param=param,
    )


def make_grammar_error(why: str) -> ApiError:
    """The grammar is not valid, or needs too much."""
    message = f"The grammar is refused: {why}"
    return ApiError(400, message, param="response_format", code="invalid_grammar")


def make_fault_error() -> ApiError:
    """The model could not go on."""
    return ApiError(500, "The model could not answer this request.", code="model_fault")


def make_timeout_error(seconds: float) -> ApiError:
    """The answer did not begin in time."""
    return ApiError(
        503,
        f"The answer did not begin within {seconds:g} s. Try again when the server is less busy.",
        code="timeout",
        headers={"retry-after": "30"},
    )
