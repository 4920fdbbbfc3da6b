# SPDX-License-Identifier: MIT
"""python -m otimes.plot FILE.h5 [--what NAME] -o OUT.png: what `otimes plot` runs."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any, NoReturn

PROGRAM = "otimes plot"


class Parser(argparse.ArgumentParser):
    """Errors of usage in the program's own form."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{PROGRAM}: {' '.join(message.split())}\n")
        sys.exit(2)


def inches(text: str) -> tuple[float, float]:
    """Of --size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)", text)
    size = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    if not all(1 <= side <= 100 for side in size):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in inches, 1 to 100, as 7x4, got '{text}'")
    return size


def dots(text: str) -> float:
    """Of --dpi."""
    if not re.fullmatch(r"\d{1,4}", text) or not 20 <= int(text) <= 2400:
        raise argparse.ArgumentTypeError(f"expected 20 to 2400, got '{text}'")
    return float(text)


def choice(text: str) -> tuple[str, str]:
    """Of --select."""
    axis, equals, label = text.partition("=")
    if not axis or not equals:
        raise argparse.ArgumentTypeError(f"expected AXIS=LABEL, got '{text}'")
    return axis, label


def parser() -> Parser:
    """The options, as the program's own table has them."""
    options = Parser(
        prog=PROGRAM, description="The standard picture of a result of otimes.", allow_abbrev=False
    )
    options.add_argument("file", metavar="FILE.h5")
    options.add_argument(
        "-o", "--output", metavar="OUT", help="the picture: a name that ends in .png, .svg or .pdf"
    )
    options.add_argument("--what", metavar="NAME", help="which picture (default: the standard one)")
    options.add_argument(
        "--list", action="store_true", help="say which pictures the file has and what each shows"
    )
    options.add_argument("--layer", metavar="LIST", help="layers alone, e.g. 0,3-5")
    options.add_argument("--head", metavar="LIST", help="heads alone")
    options.add_argument("--text", type=int, metavar="N", help="which text, from 0")
    options.add_argument(
        "--position", type=int, metavar="N", help="which position; negative ones from the end"
    )
    options.add_argument("--target", type=int, metavar="N", help="which target, from 0")
    options.add_argument("--array", metavar="NAME", help="which array")
    options.add_argument("--top", type=int, metavar="K", help="how many entries of a list")
    options.add_argument(
        "--select",
        type=choice,
        action="append",
        default=[],
        metavar="AXIS=LABEL",
        help="a label along any axis",
    )
    options.add_argument("--dark", action="store_true", help="light on dark")
    options.add_argument("--dpi", type=dots, metavar="N", help="dots per inch of a png (default: 200)")
    options.add_argument(
        "--size", type=inches, metavar="WxH", help="of the picture in inches (default: what it needs)"
    )
    return options


def run(arguments: argparse.Namespace) -> None:
    """One picture, or the list."""
    from otimes.plot._api import describe, draw, save
    from otimes.plot._data import open_result, schema_of
    from otimes.plot._errors import PlotError
    from otimes.plot._registry import kinds_of

    data = open_result(arguments.file)
    try:
        if arguments.list:
            print(describe(kinds_of(schema_of(data)), data))
            return
        if arguments.output is None:
            raise PlotError("--output: expected a name that ends in .png, .svg or .pdf, got none")
        names = ("layer", "head", "text", "position", "target", "array", "top")
        selection: dict[str, Any] = {name: getattr(arguments, name) for name in names}
        figure = draw(
            data,
            arguments.what,
            dark=arguments.dark,
            size=arguments.size,
            select=dict(arguments.select),
            **selection,
        )
        save(figure, arguments.output, dpi=arguments.dpi)
    finally:
        data.close()


def failed(arguments: argparse.Namespace, error: BaseException) -> str:
    """One line: which file, and what is wrong."""
    from otimes.plot._data import one_line
    from otimes.plot._errors import PlotError
    from otimes.plot._text import plain

    if isinstance(error, PlotError):
        message = str(error)
        known = plain(arguments.file), plain(arguments.output or "")
        return (
            message
            if message.startswith(tuple(f"{name}: " for name in known if name))
            else f"{known[0]}: {message}"
        )
    if isinstance(error, MemoryError):
        advice = "choose a part, or a smaller --dpi or --size"
        return f"{plain(arguments.file)}: not enough memory for this picture; {advice}"
    return f"{plain(arguments.file)}: {type(error).__name__}: {one_line(error)}"


def main() -> int:
    """An exit status."""
    arguments = parser().parse_args()
    sys.unraisablehook = lambda _: None  # readers of HDF5 talk when they are freed
    try:
        run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:  # a traceback would tell the user nothing
        sys.stderr.write(f"{PROGRAM}: {failed(arguments, error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
