"""The page for people, which is the same for all models: files that load nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # the files change together, with the package
}


class Page(StaticFiles):
    """The files in the folder `page`."""

    def __init__(self) -> None:
        super().__init__(directory=str(files("gru_native.serve") / "page"), html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
