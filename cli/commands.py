"""The subcommands of `steer`: what runs, its name, what it does in a few words, and an example."""

from collections.abc import Callable
from typing import Any

from cli import env
from cli.concepts import discover, extract, import_export, keep, ls, show
from cli.measure import compare, dose, fidelity, report, sweep
from cli.sample import compose, demo, explore

COMMANDS: tuple[tuple[Callable[..., Any], str, str, str], ...] = (
    (compose.command, "compose", "Write texts with concepts switched on.",
     'steer compose "sonnet + 0.8 cat" -n 4 --radius 0.5 --seed 7'),
    (demo.command, "demo", "Take a short tour.",
     "steer demo --seed 8"),
    (explore.command, "explore", "Search by hand: pick texts, stand on them, look on.",
     'steer explore "sonnet + cat" --seed 7'),
    (extract.command, "extract", "Find a concept in texts, and keep it.",
     "steer extract storm --positive storms.txt --background texts.txt"),
    (discover.command, "discover", "Find candidate concepts without labels.",
     "steer discover -k 16"),
    (keep.keep_command, "keep", "Make a candidate a concept of your own.",
     "steer keep 7 --as stormy"),
    (dose.command, "dose", "Show what a concept does at rising doses.",
     "steer dose cat --plot cat.png"),
    (sweep.command, "sweep", "Show what a radius, dose or temperature buys.",
     'steer sweep "sonnet + cat" --radius 0:1:0.25 -n 64 -o sonnet-cat'),
    (fidelity.command, "fidelity", "Show how true steered texts stay to their world.",
     "steer fidelity waterfall -n 5000"),
    (report.command, "report", "Print the figures of saved runs, or make a page of them.",
     "steer report run.jsonl"),
    (compare.command, "compare", "Hold two runs side by side.",
     "steer compare narrow.jsonl wide.jsonl"),
    (ls.list_command, "ls", "List the concepts that are there.",
     "steer ls --model gpt2"),
    (show.show_command, "show", "Show everything that is known of a concept.",
     "steer show cat"),
    (import_export.import_command, "import", "Take in a vector of another library.",
     "steer import mood.gguf --name mood --model gpt2"),
    (import_export.export_command, "export", "Write steering for other libraries and engines.",
     'steer export "sonnet + cat" -o steered-model'),
    (env.command, "env", "Show versions and folders, for bug reports.",
     "steer env --json"),
)  # fmt: skip
