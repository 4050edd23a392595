"""Checksums. Every file that a number passes through carries one, because a flipped bit may still parse."""

import hashlib
import json
from pathlib import Path
from typing import Any

SIZE = hashlib.sha256().digest_size  # bytes


def dump_json(content: Any) -> bytes:
    """JSON with its sha256. Raises ValueError if a number is not finite."""
    return json.dumps({"sha256": json_sha256(content), "content": content}, allow_nan=False).encode()


def load_json(data: bytes) -> Any:
    """The content that `dump_json` was given. Raises ValueError if the data are damaged."""
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    if not isinstance(found, dict) or json_sha256(found.get("content")) != found.get("sha256"):
        raise ValueError("its content does not have its checksum")
    return found["content"]


def json_sha256(content: Any) -> str:
    """The sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seal(data: bytes) -> bytes:
    """The sha256 of the bytes, followed by the bytes."""
    return hashlib.sha256(data).digest() + data


def unseal(data: bytes) -> bytes:
    """The bytes that `seal` was given. Raises ValueError if they are damaged."""
    content = data[SIZE:]
    if hashlib.sha256(content).digest() != data[:SIZE]:
        raise ValueError("its content does not have its checksum")
    return content


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
