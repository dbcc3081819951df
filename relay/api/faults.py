"""The one place where refusals and accidents become answers: `{"errCode", "errMsg"}`, never a traceback."""

import logging
import math
from collections.abc import Awaitable, Callable

from aiohttp import web

from relay.errors import ApiError, Code
from relay.media.messages import MediaError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


ORIGINAL = ("/wxa/", "/cgi-bin/")  # these paths have names of their own for the code and its text


def refusal(path: str, status: int, code: int, message: str, retry_s: float = 1.0) -> web.Response:
    names = ("errcode", "errmsg") if path.startswith(ORIGINAL) else ("errCode", "errMsg")
    response = web.json_response(dict(zip(names, (code, message), strict=True)), status=status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"  # RFC 6750 §3
    if status in (429, 503):
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_s)))
    return response


@web.middleware
async def faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as fault:
        return refusal(request.path, fault.status, fault.code, fault.message, fault.retry_s)
    except MediaError as fault:
        return refusal(request.path, fault.status, fault.code, fault.message)
    except web.HTTPException as fault:
        if fault.status < 400:
            raise
        answer = refusal(request.path, fault.status, Code.WRONG_PARAMETER, fault.reason)
        if "Allow" in fault.headers:
            answer.headers["Allow"] = fault.headers["Allow"]
        return answer
    except ConnectionError:
        raise  # the client is gone; aiohttp closes its side
    except Exception:
        # The path stays out of the log: it names rooms.
        log.exception("a request failed", extra={"method": request.method})
        return refusal(request.path, 500, Code.REQUEST_FAILED, "the request failed inside the server")
