"""The two partition sets: one partition per arrival and one per turn, never one per file."""

import dagster as dg

arrivals = dg.DynamicPartitionsDefinition(name="arrivals")
turns = dg.DynamicPartitionsDefinition(name="turns")
