"""Text files of corpora, read without trusting them: encoding, line ends, duplicate ids, empty lines."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.corpus import Scan, Utterance
from local.problems import Problem, Reason

# Full-width letters and digits (U+FF10 and above) lie 0xFEE0 above their ASCII counterparts.
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF10, 0xFF5B) if chr(code).isalnum()}


@dataclass(frozen=True)
class Entry:
    """A line "key value ..." of a file; `value` is None when the line could not be decoded."""

    key: str
    value: str | None
    source: str  # path:line


def normalise(text: str) -> str:
    """Full-width letters and digits become ASCII, letters upper case, white space single spaces.

    This is what Lhotse does to AISHELL's transcripts, for all letters instead of the five that occur there;
    the spaces between words stay, since lexicon-based units need the words.
    """
    return " ".join(text.translate(_HALF_WIDTH).upper().split())


def read_lines(path: Path, problems: list[Problem]) -> list[tuple[str, bytes]]:
    """(path:line, content) of the lines that are not empty, without line ends.

    Appends warnings to `problems` for a byte order mark and for DOS line ends, which are removed. Raises
    FileNotFoundError when there is no such file.
    """
    content = path.read_bytes()
    if content.startswith(b"\xef\xbb\xbf"):
        problems.append(Problem(Reason.BYTE_ORDER_MARK, str(path), warning=True))
        content = content[3:]
    lines = content.split(b"\n")
    carriage_returns = sum(line.endswith(b"\r") for line in lines)
    if carriage_returns:
        detail = f"on {carriage_returns} lines"
        problems.append(Problem(Reason.LINE_ENDS, str(path), detail, warning=True))
    numbered = ((f"{path}:{number}", line.strip()) for number, line in enumerate(lines, start=1))
    return [(source, line) for source, line in numbered if line]


def decode(line: bytes, source: str, utterance: str, problems: list[Problem]) -> str | None:
    """The line as text, or None and a problem of `utterance` when it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        detail = f"byte {line[error.start]:#x} in the line of '{utterance}'"
        problems.append(Problem(Reason.ENCODING, source, detail, utterance))
        return None


def read_entries(path: Path, problems: list[Problem]) -> list[Entry]:
    """The lines of `path` as (first word, rest), in their order; what is wrong with them goes to `problems`."""
    entries = []
    for source, line in read_lines(path, problems):
        key, *rest = line.split(maxsplit=1)
        name = key.decode(errors="replace")
        text = decode(line, source, name, problems)
        entries.append(Entry(name, None if text is None else b"".join(rest).decode(), source))
    return entries


def unique(entries: Iterable[Entry], problems: list[Problem]) -> dict[str, Entry]:
    """Entries by key. A key that occurs again is a problem, and its first entry is the one returned."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.key in found:
            detail = f"'{entry.key}' is also at {found[entry.key].source}"
            problems.append(Problem(Reason.DUPLICATE, entry.source, detail, entry.key))
        else:
            found[entry.key] = entry
    return found


def pair(
    scan: Scan,
    spoken: Sequence[Utterance],
    texts: dict[str, Entry],
    clean: Callable[[str], str] = normalise,
) -> None:
    """Adds the utterances `spoken` to the scan with their texts, `clean`ed; reports what has no counterpart."""
    ids = {utterance.id for utterance in spoken}
    for utterance in spoken:
        entry = texts.get(utterance.id)
        if entry is None:
            scan.problems.append(Problem(Reason.UNTRANSCRIBED, utterance.source, utterance=utterance.id))
        elif entry.value is not None:
            utterance.text = clean(entry.value)
            if not utterance.text:
                scan.problems.append(Problem(Reason.NO_TEXT, entry.source, f"'{entry.key}'", utterance.id))
        scan.utterances.append(utterance)
    for key, entry in texts.items():
        if key not in ids:
            scan.problems.append(Problem(Reason.UNRECORDED, entry.source, f"no audio for '{key}'", key))


def read_lexicon(path: Path, problems: list[Problem]) -> list[str]:
    """Lines "word phone phone ..." with the words normalised as transcripts are, repeated lines once."""
    lines: dict[str, None] = {}
    for entry in read_entries(path, problems):
        if entry.value == "":
            problems.append(Problem(Reason.MALFORMED, entry.source, f"'{entry.key}' has no pronunciation"))
        elif entry.value is not None:
            lines[f"{normalise(entry.key)} {' '.join(entry.value.split())}"] = None
    return list(lines)
