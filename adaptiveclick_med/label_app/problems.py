"""What went wrong with a request, as an HTTP answer that says why."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests  # type: ignore[import-untyped]
from fastapi import HTTPException
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)

from adaptiveclick_med.data.files import UnreadableFileError

__all__ = ["answered", "problem"]

logger = logging.getLogger(__name__)

_OF_MONAI_LABEL = {MONAILabelError.INVALID_INPUT: 400, MONAILabelError.APP_INIT_ERROR: 404}


def problem(status: int, detail: str, *, retry_after: int | None = None) -> HTTPException:
    """Return the exception that makes an HTTP answer.

    Args:
        status: HTTP status.
        detail: what was wrong and what is allowed.
        retry_after: seconds after which it is worth trying again.
    """
    return HTTPException(status, detail, None if retry_after is None else {"Retry-After": str(retry_after)})


@contextmanager
def answered() -> Iterator[None]:
    """Turn errors that a request can cause into HTTP answers; anything else is a defect and stays as it is.

    - 400: the request is malformed;
    - 404: the image, label or model does not exist, or not any more;
    - 422: it exists and cannot be used;
    - 502, 504: the PACS does not answer as it should, or not in time;
    - 507: the disk is full.

    Raises:
        HTTPException: in the place of the error.
    """
    try:
        yield
    except (ImageNotFoundException, LabelNotFoundException) as error:
        raise problem(404, str(error.msg)) from error
    except MONAILabelException as error:
        raise problem(_OF_MONAI_LABEL.get(error.error, 422), str(error.msg)) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise problem(400, f"The parameters are not JSON: {error}.") from error
    except requests.Timeout as error:
        raise problem(504, "The PACS did not answer in time.") from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (404, 410):
            raise problem(404, "The PACS does not have that image or label (any more).") from error
        raise problem(502, f"The PACS answered {status or error}.") from error
    except requests.RequestException as error:
        logger.warning("The PACS cannot be reached: %s", error)
        raise problem(502, "The PACS cannot be reached.") from error
    except FileNotFoundError as error:
        raise problem(404, f"There is no such file (any more): {error}.") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise problem(507, "The disk of the server is full; nothing was saved.") from error
    except MemoryError as error:
        raise problem(422, "The image does not fit into the server's memory.") from error
    except UnreadableFileError as error:
        folder = f"{Path(error.path).parent}/" if error.path else ""
        raise problem(422, str(error).replace(folder, "") if folder else str(error)) from error
    except ValueError as error:
        raise problem(422, str(error)) from error
