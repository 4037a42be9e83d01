"""The tables: one polars schema each. What one row is stands beside it.

`PARTITION` names the column whose values writers replace whole.
`VOLATILE` lists columns that may differ between two runs that did the same (times, run ids, versions);
writing a partition that differs only in them is no write at all.
"""

import polars as pl

TIME = pl.Datetime("us", "UTC")
TEXTS = pl.List(pl.String)

SCHEMAS: dict[str, dict[str, pl.DataType | type[pl.DataType]]] = {
    # one object version seen in a source: the inventory that sensors compare a listing with
    "objects": {
        "source": pl.String,
        "key": pl.String,
        "version": pl.String,  # etag, or size and time for a folder
        "size": pl.Int64,
        "modified_at": TIME,
        "state": pl.String,  # active | deleted
        "arrival": pl.String,
    },
    # one datum
    "items": {
        "item_id": pl.String,
        "source": pl.String,
        "key": pl.String,
        "part": pl.String,  # row of a table file; "" for a file that is one item
        "subject_id": pl.String,
        "modality": pl.String,  # image | text
        "content_id": pl.String,
        "size": pl.Int64,
        "attributes": pl.String,  # JSON object, keys sorted, values are strings, numbers, booleans or null
        "split": pl.String,  # pool | train | eval
        "license": pl.String,
        "provenance": pl.String,
        "status": pl.String,  # active | retired
        "version": pl.String,
        "arrival": pl.String,
    },
    # one refused object or row
    "quarantine": {
        "source": pl.String,
        "key": pl.String,
        "part": pl.String,
        "content_id": pl.String,  # "" when nothing could be decoded
        "reason": pl.String,  # a reason code of `flywheel.raw`
        "message": pl.String,
        "version": pl.String,
        "arrival": pl.String,
    },
    # one vector of one content by one encoder
    "embeddings": {
        "content_id": pl.String,
        "encoder_id": pl.String,
        "vector": pl.List(pl.Float32),  # unit length
        "arrival": pl.String,
    },
    # one content's nearest neighbors, nearest first, itself left out
    "neighbors": {
        "generation": pl.String,
        "modality": pl.String,
        "content_id": pl.String,
        "ids": TEXTS,
        "similarities": pl.List(pl.Float32),  # cosine
    },
    # one content that is in a group of duplicates
    "duplicates": {
        "generation": pl.String,
        "modality": pl.String,
        "item_id": pl.String,
        "content_id": pl.String,
        "group_id": pl.String,
        "kind": pl.String,  # exact | near
        "kept": pl.Boolean,
        "reason": pl.String,
    },
    # one content's place at one level
    "clusters": {
        "generation": pl.String,
        "modality": pl.String,
        "content_id": pl.String,
        "level": pl.Int64,  # 0 is the coarsest
        "cluster_id": pl.String,
        "distance": pl.Float32,  # 1 - cosine to the cluster's center
    },
    # one cluster
    "cluster_names": {
        "generation": pl.String,
        "modality": pl.String,
        "level": pl.Int64,
        "cluster_id": pl.String,
        "name": pl.String,
        "terms": TEXTS,
        "size": pl.Int64,
        "center": pl.List(pl.Float32),
        "event": pl.String,  # birth | kept
    },
    # one content's point on the 2-D map
    "map_points": {
        "generation": pl.String,
        "modality": pl.String,
        "content_id": pl.String,
        "x": pl.Float32,
        "y": pl.Float32,
    },
    # one turn of the wheel
    "turns": {
        "turn": pl.Int64,
        "state": pl.String,  # open | closed
        "trigger": pl.String,
        "reason": pl.String,
        "budget": pl.Float64,  # money the turn may spend
        "spent": pl.Float64,
        "labels_spent": pl.Int64,
        "opened_at": TIME,
        "closed_at": TIME,
        "arrivals": TEXTS,  # what had arrived when it started
        "pinned": pl.String,  # JSON: table -> version it reads
        "snapshot": pl.String,  # JSON: versions of all tables, index, encoders, spec and model at its end
        "stations": pl.String,  # JSON: station -> seconds
    },
    # one gap in a turn's report
    "gaps": {
        "turn": pl.Int64,
        "gap_id": pl.String,
        "rank": pl.Int64,  # 1 is the most valuable
        "kind": pl.String,  # data | model | hard (the model fails though labels are there: no gap)
        "predicate": pl.String,  # in words
        "expression": pl.String,  # polars SQL over a turn's corpus frame
        "size": pl.Int64,  # items in the pool it speaks of
        "labeled": pl.Int64,  # training labels inside
        "value": pl.Float64,  # data: share of labels inside; model: error rate inside
        "expected": pl.Float64,  # data: share of pool or target; model: error rate outside
        "low": pl.Float64,  # 95 % interval of value
        "high": pl.Float64,
        "p_value": pl.Float64,
        "evidence": pl.String,  # in words, with the interval
        "linked": TEXTS,  # gap ids that speak of the same items
        "advice": pl.String,  # label | collect | buy | fix labels | reweight | change the spec
        "advice_text": pl.String,
        "cost": pl.Float64,
        "expected_gain": pl.Float64,  # correct answers gained per item of the corpus, 0..1
        "examples": TEXTS,  # item ids
    },
    # one item chosen in a turn
    "batches": {
        "turn": pl.Int64,
        "item_id": pl.String,
        "content_id": pl.String,
        "position": pl.Int64,  # order of choice within its arm
        "arm": pl.String,  # chosen | random | evaluation | seed
        "strategy": pl.String,
        "gap_id": pl.String,
        "score": pl.Float64,
        "reason": pl.String,
        "prelabel": pl.String,
        "prelabel_confidence": pl.Float64,
    },
    # one decision of a person about a turn's batch
    "approvals": {
        "turn": pl.Int64,
        "batch_id": pl.String,  # digest of the batch: an approval holds for exactly what was seen
        "decision": pl.String,  # approved | rejected
        "author": pl.String,
        "note": pl.String,
        "decided_at": TIME,
    },
    # one job at a vendor
    "jobs": {
        "turn": pl.Int64,
        "job_id": pl.String,
        "vendor": pl.String,
        "idempotency_key": pl.String,
        "state": pl.String,  # intent | submitted | returned
        "tasks": pl.Int64,
        "votes": pl.Int64,
        "cost": pl.Float64,
        "native_id": pl.String,
        "created_at": TIME,
        "updated_at": TIME,
    },
    # one append-only event
    "annotation_events": {
        "event_id": pl.String,
        "annotation_uid": pl.String,
        "item_id": pl.String,
        "content_id": pl.String,
        "field": pl.String,
        "spec_version": pl.String,
        "value": pl.String,
        "action": pl.String,  # create | edit | approve | reject
        "source": pl.String,  # human | model | rule | ai | simulated
        "author": pl.String,
        "parent": pl.String,
        "seconds": pl.Float64,
        "cost": pl.Float64,
        "native_id": pl.String,
        "at": TIME,
        "origin": pl.String,  # arrival or job it came with
    },
    # one trusted answer, as it became known in a turn; the state at turn t is the latest row with turn <= t
    "labels": {
        "turn": pl.Int64,
        "content_id": pl.String,
        "field": pl.String,
        "spec_version": pl.String,
        "value": pl.String,
        "confidence": pl.Float64,
        "votes": pl.Int64,
        "agreement": pl.Float64,  # share of votes for the value
        "method": pl.String,
    },
    # one example a turn trains or evaluates with
    "training_sets": {
        "turn": pl.Int64,
        "content_id": pl.String,
        "item_id": pl.String,
        "label": pl.String,
        "weight": pl.Float64,
        "arm": pl.String,  # seed | chosen | random | evaluation
        "split": pl.String,  # train | eval
    },
    # one trained model
    "models": {
        "turn": pl.Int64,
        "arm": pl.String,  # chosen | random | deployed
        "model_id": pl.String,
        "encoder_id": pl.String,
        "classes": TEXTS,
        "examples": pl.Int64,
        "temperature": pl.Float64,
        "path": pl.String,
    },
    # one model output
    "predictions": {
        "turn": pl.Int64,
        "arm": pl.String,  # chosen | random | deployed | previous (the last deployed one)
        "model_id": pl.String,
        "content_id": pl.String,
        "predicted": pl.String,
        "confidence": pl.Float64,
        "probabilities": pl.List(pl.Float32),  # in the order of the model's classes
    },
    # one name that was erased: an object, a row of a table file, or a subject; no name stands here in plain
    "erasures": {
        "erasure_id": pl.String,
        "kind": pl.String,  # object | part | subject
        "digest": pl.String,  # of the name, under the salt
        "salt": pl.String,  # the wheel's
        "state": pl.String,  # begun | done
        "reason": pl.String,
        "author": pl.String,
        "erased_at": TIME,
        "orders": pl.String,  # JSON: batches of turns that were ordered before items were erased from them
    },
    # one metric of one model on one slice
    "evaluations": {
        "origin": pl.String,  # turn-001, or outside-<id> for a reported metric
        "turn": pl.Int64,
        "arm": pl.String,
        "model_id": pl.String,
        "slice": pl.String,  # all, class=…, gap:<id>, cluster:<id>, or outside's own word
        "predicate": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
        "baseline": pl.Float64,  # the same metric of the previous turn's deployed model, or null
    },
}

PARTITION: dict[str, str] = {
    "objects": "arrival",
    "items": "arrival",
    "quarantine": "arrival",
    "embeddings": "arrival",
    "neighbors": "modality",
    "duplicates": "modality",
    "clusters": "modality",
    "cluster_names": "modality",
    "map_points": "modality",
    "turns": "turn",
    "gaps": "turn",
    "batches": "turn",
    "approvals": "turn",
    "jobs": "turn",
    "annotation_events": "origin",
    "labels": "turn",
    "training_sets": "turn",
    "models": "turn",
    "predictions": "turn",
    "evaluations": "origin",
    "erasures": "erasure_id",
}

VOLATILE: dict[str, frozenset[str]] = {
    "objects": frozenset({"modified_at"}),
    "turns": frozenset({"opened_at", "closed_at", "pinned", "snapshot", "stations"}),
    "approvals": frozenset({"decided_at"}),
    "jobs": frozenset({"created_at", "updated_at"}),
    "annotation_events": frozenset({"at", "seconds"}),
    "erasures": frozenset({"erased_at"}),
}


def empty(table: str) -> pl.DataFrame:
    """Return `table` without rows."""
    return pl.DataFrame(schema=SCHEMAS[table])
