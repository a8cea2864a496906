"""The exit codes of commands."""

EXIT_ERROR = 2
"""Something is wrong with the input, which messages on stderr or in the output name."""

EXIT_INTERRUPTED = 130
"""The command was stopped by SIGINT: 128 + 2, as in shells."""
