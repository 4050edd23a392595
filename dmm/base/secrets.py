"""Passwords in texts. Every text that is printed, logged or stored passes `masked` first."""

import re
from collections.abc import Mapping

WORDS = "password|passwd|passphrase|pwd|secret|credential|signature"
SECRET = rf"(?:{WORDS}|(?:api|access|auth|session|tracking)[-_]?(?:key|token))"
# A password may itself have @ or /. So everything up to the last @ is hidden. sqlite:////home/ann@lab has no password
# Repetitions have bounds, because a search without them takes minutes in a long text
USER_OF_URI = re.compile(r"(?<=:)//(?=[^/\s])\S{0,2000}@")
NAME = r"[^=&\s]{0,64}"
PARAMETER_OF_URI = re.compile(rf"([?&](?:pass|{NAME}(?:token|{SECRET}){NAME})=)[^&\s'\"]+", re.IGNORECASE)
SETTING = re.compile(rf"({SECRET}[\w-]{{0,64}}(?:=|['\"]\s{{0,9}}:\s{{0,9}})['\"]?)[^\s'\"&,;]+", re.IGNORECASE)
BEARER = re.compile(r"(\bbearer\s+)\S+", re.IGNORECASE)


def masked(text: str) -> str:
    """The same text with *** in the place of the users and passwords of its URIs and settings."""
    for pattern, shown in (
        (USER_OF_URI, "//***@"),
        (PARAMETER_OF_URI, r"\1***"),
        (SETTING, r"\1***"),
        (BEARER, r"\1***"),
    ):
        text = pattern.sub(shown, text)
    return text


def masked_uri(uri: str) -> str:
    """The same URI with *** in the place of its user and password, also if the URI is written without its //."""
    return masked(uri) if "://" in uri else masked(re.sub(r"^.*@", "***@", uri))


def secret_names(variables: Mapping[str, str]) -> list[str]:
    """The names of the variables that hold a password: by their name, or because their value has one."""
    return [
        name
        for name, value in variables.items()
        if value and (re.search(rf"token|{SECRET}", name, re.IGNORECASE) or masked(value) != value)
    ]
