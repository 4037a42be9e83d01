"""The page about data: what came in, what was refused and how it looks, expectations and drift.

Like the report it is one HTML file that works from disk, loads nothing and runs nothing; what comes from data is
escaped, and pictures in it are encoded anew.
"""

from collections.abc import Mapping

from flywheel.config import WheelConfig
from flywheel.objects import ObjectStore, Source
from flywheel.raw import current_items
from flywheel.report.data_facts import gather_data, shares
from flywheel.report.page import render
from flywheel.tables import Tables

PATH = "reports/data.html"
SHOWN = 12  # refusals per reason
ARRIVALS = 10  # latest ones told of


def write_data_page(
    tables: Tables,
    sources: Mapping[str, Source],
    files: ObjectStore,
    config: WheelConfig,
    *,
    title: str = "Flywheel data",
) -> str:
    """Write the page and return where a person finds it; one that would not change is not written again.

    Cost: up to 12 refused objects per reason are read.
    """
    data = gather_data(tables, sources, files, current_items(tables), shown=SHOWN, arrivals=ARRIVALS)
    broken = [one for validation in data.validations for one in validation.verdicts if not one.passed]
    content = render(
        "data.html",
        title=title,
        name=config.name,
        data=data,
        modalities=shares(data.counts, "modality"),
        stopped=sum(one.blocking for one in broken),
        warned=sum(not one.blocking for one in broken),
        changed=sum(drift.changes for drift in data.drifts),
    ).encode("utf-8", "replace")
    if not files.exists(PATH) or files.read(PATH) != content:
        files.write(PATH, content)
    return files.address(PATH)
