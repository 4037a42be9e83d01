"""The data flywheel's engine: plain functions over tables and arrays. It knows no orchestrator."""

__version__ = "0.1.0"
