"""How each case of kosoku became, one a line: its id, how it went, how it closed. Judges nothing."""

import json
import pathlib
import sys

with open(pathlib.Path(sys.argv[1], "index.json"), encoding="utf-8") as file:
    (cases,) = json.load(file).values()
for name, case in sorted(cases.items(), key=lambda one: [int(part) for part in one[0].split(".")]):
    print(name, case["behavior"], case["behaviorClose"], case.get("remoteCloseCode"))
