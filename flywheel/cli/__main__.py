"""`python -m flywheel.cli`: the same as `flywheel`."""

from flywheel.cli import main

main()
