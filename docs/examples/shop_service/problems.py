"""Problem details (RFC 9457): one table from errors to statuses, and one form for what is no success.

A refusal of the domain tells its code, a sentence and its facts. A fault tells its code alone: its facts are
for the operator's log.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from inventory_es import ConflictError, InventoryError, errors

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[InventoryError], int] = {
    # The caller can act on these.
    errors.InvalidInputError: 422,
    errors.NotFoundError: 404,
    errors.RefusedError: 409,
    ConflictError: 409,
    # These pass: the same request, with the same key, may succeed later.
    errors.UnavailableError: 503,
    errors.AppendOutcomeUnknownError: 503,
    errors.ReadModelBehindError: 503,
    errors.LaneFullError: 503,
    errors.ClockSkewError: 503,
    errors.ClockJumpError: 503,
    # These need a person.
    errors.AppendTooLargeError: 500,
    errors.CorruptStoreError: 500,
    errors.CorruptStreamError: 500,
    errors.EventDecodeError: 500,
    errors.EventIdCollisionError: 500,
    errors.FeedRewoundError: 500,
    errors.HostFunctionError: 500,
    errors.IncompatibleStoreError: 500,
    errors.NotACopyError: 500,
    errors.ProjectionNotFoundError: 500,
    errors.StoreClosedError: 500,
    errors.UnsupportedCapabilityError: 500,
}
"""Statuses of classes and their subclasses. No row stands for all faults: a new one needs a decision."""


class Problem(HTTPException):
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
        super().__init__(status, detail, {} if retry_after is None else {"Retry-After": str(retry_after)})
        self.document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "code": code,
            "retryable": retryable,
            "facts": dict(facts or {}),  # apart: a fact may be called `status`, which is a member of its own
        }

    @classmethod
    def of(cls, error: InventoryError) -> "Problem":
        """Return the answer to an error of the package."""
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
        if status == 503:
            wait = max(1, math.ceil(getattr(error, "retry_after", None) or 1))
            again = "The service can't answer now. Send the same request again, with the same Idempotency-Key."
            return cls(status, error.code, again, retryable=error.retryable, retry_after=wait)
        if status == 500:
            return cls(status, error.code, "The service can't answer. Its operator has the details.")
        told = error.to_dict()
        facts = {name: told[name] for name in told if name not in {"code", "message", "retryable"}}
        return cls(status, error.code, error.message, facts, retryable=error.retryable)

    def response(self) -> JSONResponse:
        """Return the document as a response."""
        return JSONResponse(self.document, self.status_code, self.headers, MEDIA_TYPE)


class ProblemDetails(BaseModel):
    """A reason by RFC 9457. Decide by `code`: `detail` is for people, and `facts` depend on the code."""

    type: str = Field(description="Always `about:blank`: `title` is the phrase of the status.")
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable name of the condition.")
    retryable: bool = Field(description="True if the same request, sent again unchanged, may succeed.")
    facts: dict[str, Any]


def documented(*problems: InventoryError | Problem) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation in OpenAPI: by status, an example of each problem."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in (one if isinstance(one, Problem) else Problem.of(one) for one in problems):
        status = problem.status_code
        schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
        response = responses.setdefault(
            status,
            {
                "description": HTTPStatus(status).phrase,
                "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][problem.document["code"]] = {"value": problem.document}
        if status == 503:
            response["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
            }
    return dict(sorted(responses.items(), key=lambda one: int(one[0])))


def answer_with_problems(app: FastAPI) -> None:
    """Make every answer of the application that is no success a problem document."""

    @app.exception_handler(InventoryError)
    async def refused(_request: Request, error: InventoryError) -> JSONResponse:
        return Problem.of(error).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = [{"where": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()]
        return invalid_request(found).response()

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error, Problem):
            return error.response()
        if error.status_code == 400:  # a body that FastAPI could not read: no UTF-8, too deep
            return invalid_request([{"where": "body", "problem": "can't be read as JSON"}]).response()
        problem = Problem(
            error.status_code,
            HTTPStatus(error.status_code).name.lower(),
            f"{HTTPStatus(error.status_code).description}.",
        )
        problem.headers = error.headers
        return problem.response()

    @app.exception_handler(Exception)
    async def bug(_request: Request, _error: Exception) -> JSONResponse:  # the server logs its traceback
        return Problem(
            500, "internal_error", "The service can't answer. Its operator has the details."
        ).response()


def invalid_request(found: list[dict[str, str]]) -> Problem:
    """Return the answer to a request that breaks the schema. It names places, and never repeats input."""
    return Problem(422, "invalid_request", f"{found[0]['where']}: {found[0]['problem']}", {"errors": found})
