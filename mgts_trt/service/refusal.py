"""Answers that say no."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import HTTPException
from fastapi.responses import JSONResponse


class Refusal(HTTPException):
    """A request that is turned away; its sentence is shown to the client.

    Args:
        status: Of the answer.
        sentence: What is wrong, what was expected, and what to do; nothing about the server's insides.
        reason: One word for `/metrics`.
        headers: To send with it.
    """

    def __init__(self, status: int, sentence: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, sentence, headers)
        self.reason = reason


def answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The form every error has: `{"error": "sentence"}`."""
    return JSONResponse({"error": sentence or HTTPStatus(status).phrase}, status, headers)
