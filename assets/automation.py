"""When an asset is made by itself. What starts from outside (an arrival, a turn, an approval) is a sensor's.

Three facts of Dagster shape these conditions. `eager()` on an asset with one partition per turn requests all
old turns whenever something corpus-wide updates. A corpus-wide asset that waits until no arrival's embeddings are
missing waits forever once one arrival is refused. And conditions do not look at blocking checks unless told to.
"""

import dagster as dg

_passed = dg.AutomationCondition.all_deps_blocking_checks_passed()
_idle = ~dg.AutomationCondition.in_progress()

# An arrival's next step, as soon as what it is made from stands and its blocking checks passed.
per_arrival = (dg.AutomationCondition.eager() & _passed).with_label("arrival is ready")

# Corpus-wide, straight above the arrivals: each new arrival, whatever became of the others. An arrival that is
# refused stays missing and must not hold the corpus; a steady stream always has one in progress and must not either.
per_corpus_change = (dg.AutomationCondition.any_deps_updated().since_last_handled() & _idle).with_label(
    "an arrival was embedded"
)

# corpus-wide, above other corpus-wide assets
corpus_wide = (dg.AutomationCondition.eager() & _passed).with_label("what it is made from changed")

# Once per turn, never again: a turn reads what stood when it started.
once_per_turn = (dg.AutomationCondition.on_missing() & _passed & _idle).with_label("the turn lacks it")
