#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every public call that can fail is made in a test in which memory ends.

usage: oom_covered.py [ROOT]
"""
import re
import sys
from pathlib import Path


def without_comments(path):
    return re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)


def public_calls(root):
    """Those that fill an error: declared by OTIMES_API as int, with an otimes_err among the arguments."""
    pattern = r"OTIMES_API\s+(?:OTIMES_MUST_CHECK\s+)?int\s+(otimes_\w+)\s*\(([^;]*)\)\s*;"
    for header in sorted((root / "lib/include/otimes").glob("*.h")):
        for name, arguments in re.findall(pattern, without_comments(header)):
            if "otimes_err" in arguments:
                yield header.name, name


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    tests = "".join(without_comments(path) for path in sorted((root / "tests").glob("test_oom*.c")))
    calls = list(public_calls(root))
    missing = [(header, name) for header, name in calls if not re.search(rf"\b{name}\s*\(", tests)]
    for header, name in missing:
        print(f"oom_covered.py: {header}: {name}: in no test in which memory ends")
    print(f"oom_covered.py: {len(calls)} calls, {len(missing)} problems")
    return bool(missing) or not calls


if __name__ == "__main__":
    sys.exit(main())
