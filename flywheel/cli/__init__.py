"""The `flywheel` command: reads configurations and tables for people, and starts the orchestrated application.

Heavy packages are imported inside the commands that need them, so that `flywheel --help` answers at once.
"""


def main() -> None:
    """Run the command line."""
    from flywheel.cli.app import app

    app(prog_name="flywheel")
