"""Passwords in texts. Every text that is printed, logged or stored passes `masked` first."""

import re
from collections.abc import Mapping

WORDS = "password|passwd|passphrase|pwd|secret|credential|signature"
SECRET = rf"(?:{WORDS}|(?:api|access|auth|session|tracking)[-_]?(?:key|token))"
# A password may itself have @ or /. So everything up to the last @ is hidden. sqlite:////home/ann@lab has no password
USER_OF_URI = re.compile(r"(?<=:)//(?=[^/\s])\S*@")
USER_OF_HOST = re.compile(r"(?<![\w:/@.+-])[\w.+-]+:[^\s@:/]+@(?!\w+=)(?=\w)")  # of a URI without its scheme
PARAMETER_OF_URI = re.compile(rf"([?&](?:pass|[^=&\s]*(?:token|{SECRET})[^=&\s]*)=)[^&\s'\"]+", re.IGNORECASE)
SETTING = re.compile(rf"([\w-]*{SECRET}[\w-]*(?:=|['\"]\s*:\s*)['\"]?)[^\s'\"&,;]+", re.IGNORECASE)
BEARER = re.compile(r"(\bbearer\s+)\S+", re.IGNORECASE)


def masked(text: str) -> str:
    """The same text with *** in the place of the users and passwords of its URIs and settings."""
    for pattern, shown in (
        (USER_OF_URI, "//***@"),
        (USER_OF_HOST, "***@"),
        (PARAMETER_OF_URI, r"\1***"),
        (SETTING, r"\1***"),
        (BEARER, r"\1***"),
    ):
        text = pattern.sub(shown, text)
    return text


def secret_names(variables: Mapping[str, str]) -> list[str]:
    """The names of the variables that hold a password: by their name, or because their value has one."""
    return [
        name
        for name, value in variables.items()
        if value and (re.search(rf"token|{SECRET}", name, re.IGNORECASE) or masked(value) != value)
    ]
