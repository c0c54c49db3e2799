"""Bearer tokens: the gateway asks a replica about one before it passes a request on."""

import os
import re
from typing import Annotated, Any

import jwt
from fastapi import APIRouter, Header, Response

from .problems import Problem

SECRET = "SHOP_TOKEN_SECRET"  # the name of a variable
AUDIENCE = "shop-stock"
CLIENT = re.compile(r"[\w.@-]{1,64}", re.ASCII)

tokens = APIRouter(include_in_schema=False)  # the gateway has no location for it


@tokens.get("/token")
async def verify(
    authorization: Annotated[str, Header()] = "", x_needs: Annotated[str, Header()] = ""
) -> Response:
    """Answer 204 with the client of the token, 401 if the token is not valid, 403 if it lacks the scope."""
    claims = claims_of(authorization)
    client, scopes = str(claims["sub"]), str(claims["scope"]).split()
    if not CLIENT.fullmatch(client):
        raise unauthorized()
    if x_needs not in scopes:
        raise Problem(403, "missing_scope", f"The operation needs the scope {x_needs!r}.")
    return Response(status_code=204, headers={"X-Client": client})


def claims_of(authorization: str) -> dict[str, Any]:
    """Return the claims of a token that is signed by our issuer, made for this service, and not over."""
    scheme, _, token = authorization.partition(" ")
    secret = os.environ.get(SECRET)
    if scheme.lower() != "bearer" or not secret:  # without a secret, no token is valid
        raise unauthorized()
    try:
        return jwt.decode(  # the algorithm is ours to name: a token that names its own would be its own issuer
            token,
            secret,
            algorithms=["HS256"],
            audience=AUDIENCE,
            options={"require": ["aud", "exp", "sub", "scope"]},
        )
    except jwt.InvalidTokenError:
        raise unauthorized() from None


def unauthorized() -> Problem:
    """Return the answer to a request whose token is not valid. It doesn't say why."""
    return Problem(401, "unauthorized", "Send a valid bearer token.")
