"""Numbers that are typed in a Typst source, where they should be asked for by name."""

from __future__ import annotations

import re

# What may stand as digits: sizes of layers, the values of ternary weights, a data set, and the table that is spoken of.
ALLOWED = (
    "784-500-500-500-10",
    "2312-512-10",
    "256-256-256-10",
    "−1, 0 or +1",  # noqa: RUF001
    "else 0",
    "Table 1",
    "CIFAR-10",
    '"cifar10"',
)
ALLOWED_IN_FORMULAS = {"0", "1", "2", "10^6"}
WORDS = re.compile(
    r"\b(hundred|thousand|million|billion|percent|per cent|half|third|quarter|fifth|tenth|twentieth|dozen)s?\b", re.I
)
ASKED = re.compile(r"\bnum\(\"([^\"]+)\"\)")
# Names of files, tables and figures, labels, references and sizes of layout: read by Typst, not by people.
FOR_TYPST = re.compile(
    r"\b(?:drawn|picture|has|bibliography|wu-table)\([^\")]*(?:\"[^\"]*\")?[^\")]*\)"
    r"|#import \"[^\"]*\"|^\s*\"[a-z-]+\",$|<[\w-]+>|@[\w-]+"
    r"|\b(?:names|size): [\d.]+(?:pt)?,$",
    re.M,
)


def asked_names(source: str) -> list[str]:
    """Names of the numbers that a source asks for."""
    return ASKED.findall(re.sub(r"//.*", "", source))


def typed_numbers(source: str) -> list[str]:
    """Numbers, in digits or in words, of which nobody knows where they come from."""
    text = re.sub(r"//.*", "", source)
    text = FOR_TYPST.sub("", ASKED.sub("", text))
    formulas = re.findall(r"\$[^$]*\$", text)
    text = re.sub(r"\$[^$]*\$", "", text)
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    in_formulas = [number for formula in formulas for number in re.findall(r"\d[\d.^]*\d|\d", formula)]
    found = [number for number in in_formulas if number not in ALLOWED_IN_FORMULAS]
    return found + re.findall(r"[\w.]*\d[\w.,]*", text) + [match.group() for match in WORDS.finditer(text)]
