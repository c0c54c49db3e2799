"""Problem documents (RFC 9457): a status, a stable code and facts for everything that is no success."""

import json
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from inventory_es import ConflictError, InventoryError, errors

MEDIA_TYPE = "application/problem+json"
REFUSALS: Mapping[type[InventoryError], int] = {
    errors.InvalidInputError: 422,
    errors.NotFoundError: 404,
    errors.RefusedError: 409,
    ConflictError: 409,
}
"""Statuses of errors that the caller can act on. All others are faults."""


class Problem(Exception):  # noqa: N818  # an answer, not an error of this program
    """An answer that is no success.

    Args:
        status: the HTTP status.
        code: a stable, lower-case name of the condition.
        detail: one sentence for a person.
        facts: JSON-ready values that explain it.
        retryable: True if the same request, sent again unchanged, may succeed.
        retry_after: the seconds to wait before that.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        facts: Mapping[str, Any] | None = None,
        *,
        retryable: bool = False,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "code": code,
            "retryable": retryable,
            "facts": dict(facts or {}),
        }

    @classmethod
    def of(cls, error: InventoryError) -> "Problem":
        """Return the answer to an error of the package. A fault has no facts: they are for the operator."""
        for kind, status in REFUSALS.items():
            if isinstance(error, kind):
                told = error.to_dict()
                facts = {name: told[name] for name in told if name not in {"code", "message", "retryable"}}
                return cls(status, error.code, error.message, facts, retryable=error.retryable)
        if type(error).retryable:  # the class says it: an error may be of such a kind, and need a person first
            wait = max(1, math.ceil(getattr(error, "retry_after", None) or 1))
            again = "The service can't answer now. Send the same request again, with the same Idempotency-Key."
            return cls(503, error.code, again, retryable=error.retryable, retry_after=wait)
        return cls(500, error.code, "The service can't answer. Its operator has the details.")

    def response(self) -> HttpResponse:
        """Return the document as a response."""
        status = self.document["status"]
        return JsonResponse(self.document, status=status, headers=self.headers, content_type=MEDIA_TYPE)


class ProblemDetails:
    """The middleware that makes every answer without success a problem document, also Django's own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code < 400 or response["Content-Type"] == MEDIA_TYPE:
            return response
        status = HTTPStatus(response.status_code)
        problem = Problem(status, status.name.lower(), f"{status.description or status.phrase}.")
        response.content = json.dumps(problem.document)  # the other headers stay, such as Allow
        response["Content-Type"] = MEDIA_TYPE
        response["Content-Length"] = str(len(response.content))
        return response

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer a view that raised a refusal or a fault. Django answers and logs every other exception."""
        if isinstance(error, InventoryError):
            error = Problem.of(error)
        return error.response() if isinstance(error, Problem) else None
