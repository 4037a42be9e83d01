"""The proof of an erasure: what was removed from where, what was looked at afterwards, what is out of reach.

It holds no erased name or id, only digests under the wheel's salt.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from flywheel.erasure.plan import FOLDER, Plan
from flywheel.objects import ObjectStore

SOURCE = (
    "The objects in the sources belong to their owner and are not touched. While they lie there they stay out: "
    "their digests are remembered, and neither a sweep nor a registration stores them again."
)
OTHERS = (
    "Backups and copies of the tables, of the files and of the index, made by others.",
    "Orders and answers that lie at annotation vendors; they are listed with their native ids.",
    "Models that were trained on it, and numbers that were computed over it (metrics, cluster centers): train anew.",
    "The event log of the orchestrator (`dagster/` in the cache): previews in its metadata may list keys; wipe those "
    "assets' materializations there.",
)


@dataclass(frozen=True)
class Proof:
    """What one erasure did."""

    erasure_id: str
    kind: str
    reason: str
    author: str
    started_at: str  # ISO 8601
    finished_at: str
    digests: list[str]  # of the erased names
    rows_removed: dict[str, int]  # by table
    lists_changed: dict[str, int]
    shared_contents_kept: int
    versions_removed: dict[str, int]  # table -> the only version left
    vectors_removed: int
    files_removed: list[str]
    tasks_removed: int
    alerts_removed: int
    turns_pinned_anew: list[int]
    left: list[str]  # files that still show it; none when verified
    verified: bool
    out_of_reach: list[str]
    beyond: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def out_of_reach(plan: Plan, server: bool) -> list[str]:
    """Return what no erasure can reach, in words."""
    lines = [SOURCE, *OTHERS]
    if plan.shared:
        lines.append(
            f"{plan.shared} contents belong to other items too: their vectors and labels stay with those, only the "
            "erased items' own rows are gone."
        )
    if server:
        lines.append("Segments of the Qdrant server until its optimizer has run, and snapshots made on the server.")
    return lines


def write_proof(files: ObjectStore, proof: Proof) -> str:
    """Write the proof as JSON and as Markdown; return where a person finds it."""
    base = f"{FOLDER}/{proof.erasure_id}"
    files.write(f"{base}.json", json.dumps(proof.as_json(), indent=1, ensure_ascii=False).encode())
    files.write(f"{base}.md", _markdown(proof).encode())
    return files.address(f"{base}.md")


def _markdown(proof: Proof) -> str:
    result = "nothing of it is left" if proof.verified else f"{len(proof.left)} files still show it"
    why = proof.reason or "none given"
    lines = [
        f"# Erasure {proof.erasure_id}",
        "",
        f"By {proof.author}, begun {proof.started_at}, done {proof.finished_at}. Reason: {why}.",
        f"One {proof.kind}; {len(proof.digests)} names, known by their salted digests: {', '.join(proof.digests)}.",
        "",
        f"**Verified**: every file under the tables was read after the removal; {result}.",
        *(f"- {path}" for path in proof.left),
        "",
        "| table | rows removed | rows whose lists changed | only version left |",
        "|---|---:|---:|---:|",
        *(
            _line(proof, table)
            for table in sorted({*proof.rows_removed, *proof.lists_changed, *proof.versions_removed})
        ),
        "",
        f"{proof.vectors_removed} vectors, {proof.tasks_removed} tasks in vendors' folders and "
        f"{proof.alerts_removed} alerts were removed, and these files:",
        *(f"- {path}" for path in proof.files_removed or ["none"]),
        "",
        f"Open turns that now read the newest versions: {', '.join(map(str, proof.turns_pinned_anew)) or 'none'}.",
        "",
        "## Out of reach",
        *(f"- {line}" for line in proof.out_of_reach),
        "",
        *(f"- {name}: `{json.dumps(value, ensure_ascii=False)}`" for name, value in proof.beyond.items()),
    ]
    return "\n".join(lines) + "\n"


def _line(proof: Proof, table: str) -> str:
    removed, changed = proof.rows_removed.get(table, 0), proof.lists_changed.get(table, 0)
    return f"| {table} | {removed} | {changed} | {proof.versions_removed.get(table, '–')} |"
