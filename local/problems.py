"""Bad input: its kinds, the way out of each, and the one table that reports them all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from utils import atomic

SHOWN = 5  # files of each kind in the table; bad_data.tsv has all of them


class Reason(Enum):
    """A kind of bad input, in words, and what the user can do about it."""

    MISSING = "missing audio", "correct the path, or remove the utterance"
    UNREADABLE = "unreadable audio", "convert it to WAV or FLAC, or fetch it again"
    EMPTY = "audio without samples", "fetch or record it again"
    TRUNCATED = "truncated audio", "fetch it again: the file is shorter than its header says"
    NOT_FINITE = "NaN or infinite samples", "convert the original again; integer formats cannot hold NaN"
    RATE = "wrong sampling rate", "ffmpeg -i IN -ar 16000 OUT.wav, or sox IN -r 16000 OUT.wav"
    CHANNELS = "not mono", "ffmpeg -i IN -ac 1 OUT.wav, or sox IN OUT.wav remix 1 for the first channel"
    SILENT = "silence only", "remove the utterance, or look for the recording that belongs to it"
    NO_TEXT = "empty transcript", "write the transcript, or remove the utterance"
    ENCODING = "not UTF-8", "iconv -f GB18030 -t UTF-8 IN > OUT, if the file is in a Chinese code page"
    UNTRANSCRIBED = "audio without transcript", "add its transcript, or remove the audio"
    UNRECORDED = "transcript without audio", "add the audio, or remove the line"
    DUPLICATE = "duplicate id", "give each utterance an id of its own; all copies are dropped when skipping"
    SHARED_SPEAKER = "speaker in two splits", "move the speaker, or rename it if these are two people"
    NO_SPEAKER = "no speaker", "name the speaker in utt2spk"
    UNKNOWN = "unknown id in a list", "correct the id in the list, or add the utterance"
    MALFORMED = "malformed line", "see the file's format in README"
    COMMAND = "command instead of a file", "run the command once, and list the file that it writes"
    LINE_ENDS = "DOS line ends", "nothing to do, they are removed; dos2unix FILE mends the file itself"
    BYTE_ORDER_MARK = "byte order mark", "nothing to do, it is removed"

    def __init__(self, title: str, way_out: str):
        self.title = title
        self.way_out = way_out


@dataclass(frozen=True)
class Problem:
    """One fault. `utterance` is the id that cannot be used because of it; warnings cost nothing."""

    reason: Reason
    file: str  # path, or path:line
    detail: str = ""
    utterance: str = ""
    warning: bool = False


class BadDataError(ValueError):
    """The corpus has faults and the user asked to stop at them."""


def table(problems: Sequence[Problem], everything: Path) -> str:
    """The report: for each reason its count, the first files, and the way out. `everything` is the full list."""
    counts = Counter((problem.warning, problem.reason) for problem in problems)
    lines = [f"{'count':>7}  {'reason':<26}  file (at most {SHOWN} of a kind; all of them: {everything})"]
    for (warning, reason), count in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1].title)):
        of_a_kind = [p for p in problems if p.reason is reason and p.warning == warning]
        title = f"{reason.title} (warning)" if warning else reason.title
        for number, problem in enumerate(of_a_kind[:SHOWN]):
            head = f"{count:>7}  {title:<26}" if number == 0 else " " * 35
            lines.append(f"{head}  {problem.file}{f': {problem.detail}' if problem.detail else ''}")
        if count > SHOWN:
            lines.append(" " * 37 + f"and {count - SHOWN} more")
        lines.append(" " * 37 + f"-> {reason.way_out}")
    bad = sum(not problem.warning for problem in problems)
    lines.append(f"{bad:>7}  in all{f', and {len(problems) - bad} warnings' if bad < len(problems) else ''}")
    return "\n".join(lines)


def write(problems: Sequence[Problem], path: Path) -> None:
    """Writes one line for each problem, tab-separated under a header; without problems an old list is removed."""
    if not problems:
        path.unlink(missing_ok=True)
        return
    rows = ["severity\tutterance\tfile\treason\tdetail"]
    rows += [
        "\t".join(("warning" if p.warning else "bad", p.utterance, p.file, p.reason.title, p.detail)) for p in problems
    ]
    atomic.write_text(path, "\n".join(rows) + "\n")
