"""Turns recorded exchanges into `recorded.txt`.

Usage: convert.py RECORDED_FOLDER > recorded.txt

RECORDED_FOLDER holds one folder per scenario with `NNN-cK-OPCODE.req` and `.rsp` (raw bytes, may be
gzip-compressed as `.gz`) and `trace.txt` (the time line). The output keeps the order of connects,
requests, replies and closes; bytes are written as hex, a run of one byte as `xx*COUNT`; `absent`
stands for bytes that were not kept.
"""

import gzip
import pathlib
import re
import sys

RUN_BYTES_MIN = 5


def text_of(data: bytes) -> str:
    """Hex with runs: `00 11*300 2233` is 00, then 300 times 11, then 22 and 33."""
    words, plain, at = [], "", 0
    while at < len(data):
        end = at
        while end < len(data) and data[end] == data[at]:
            end += 1
        if end - at >= RUN_BYTES_MIN:
            if plain:
                words.append(plain)
                plain = ""
            words.append(f"{data[at]:02x}*{end - at}")
        else:
            plain += data[at:end].hex()
        at = end
    if plain:
        words.append(plain)
    return " ".join(words)


def content(folder: pathlib.Path, number: str, kind: str):
    for path in folder.glob(f"{number}-*.{kind}"):
        return path.read_bytes()
    for path in folder.glob(f"{number}-*.{kind}.gz"):
        return gzip.decompress(path.read_bytes())
    return None


def convert(folder: pathlib.Path) -> str:
    lines = []
    for line in (folder / "trace.txt").read_text().splitlines():
        event = re.match(r"\s*[\d.]+ c(\d+) (?:#(\d+) )?(\+\+\+|>>>|<<<|---)(.*)", line)
        if not event:
            raise SystemExit(f"{folder.name}: not understood: {line}")
        connection, number, mark, rest = event.groups()
        if mark == "+++":
            lines.append(f"open {connection}")
        elif mark == "---":
            if "client closed" in rest:
                lines.append(f"close {connection}")
        else:
            kind, word = ("req", "request") if mark == ">>>" else ("rsp", "reply")
            data = content(folder, number, kind)
            shown = "absent" if data is None else text_of(data)
            lines.append(f"{word} {connection} {number} {shown}")
    return "\n".join(lines) + "\n"


def main() -> None:
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        if folder.is_dir():
            print(f"scenario {folder.name}")
            print(convert(folder))


main()
