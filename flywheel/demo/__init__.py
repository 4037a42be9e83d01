"""The demo: real data with a planted gap, arriving in two portions, and a referee who knows the truth.

What is simulated says so: the gap is planted, and annotators answer from the data set's own labels with a stated
error rate. Everything between is the real thing.
"""

from flywheel.demo.bucket import DemoFolder as DemoFolder
from flywheel.demo.bucket import prepare_demo as prepare_demo
from flywheel.demo.planting import DEFAULT_GAPS as DEFAULT_GAPS
from flywheel.demo.referee import summarize as summarize
