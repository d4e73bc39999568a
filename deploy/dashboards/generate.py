#!/usr/bin/env python3
"""Makes deploy/dashboards/*.json out of the pages in deploy/dashboards/src.

    python3 deploy/dashboards/generate.py            writes them
    python3 deploy/dashboards/generate.py --check    exits 1 if one is not what its page says

Python's standard library alone. A page is a Python file that reads like the dashboard: see src/recorder.py.
"""

import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = ["overview", "ingress", "recorder", "dispatcher", "delivery", "tenant", "nats_postgresql"]


def main() -> int:
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE / "src"))
    wanted = {}
    for page in PAGES:
        made = importlib.import_module(page).page.json()
        wanted[HERE / f"{made['uid']}.json"] = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        return check(wanted)
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
        print(file.name)
    return 0


def check(wanted: dict[Path, str]) -> int:
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    stale += [file for file in HERE.glob("*.json") if file not in wanted]
    for file in stale:
        print(f"{file.name} is not what src says: run python3 deploy/dashboards/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
